"""What the coordinator tells about nodes and runs, as a person wants to see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handoff.errors import ConfigError
from handoff.quoting import quoted
from handoff.resources import SCALE, amounts, split


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node of the cluster, as `client.nodes()` gives it. `capacity` and `free` are amounts by resource; memory is in MB."""

    name: str
    address: str
    pid: int
    capacity: Mapping[str, float]
    free: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    state: str = "ready"               # "ready", "suspect": silent for a while; "waiting": its connection broke; "draining": it leaves;
                                       # "faulty": its workers end as they start
    running: int = 0                   # functions that execute
    queued: int = 0                    # and that were given to it beside these, and wait there for inputs or room


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run of the cluster, of this client or another, as `client.runs()` gives it."""

    run: int                           # its number: for `client.attach` and `client.cancel`
    name: str                          # of its graph, or of the one function
    state: str                         # as of `RunStatus`
    done: int                          # functions, of
    total: int
    client: str = ""                   # user@host/process
    seconds: float = 0.0               # since it was submitted, or that it took
    waits_for: str = ""                # why nothing of it runs now, if nothing does
    is_call: bool = False              # a single call, of which there may be thousands


def node_info(data: Mapping[str, Any]) -> NodeInfo:
    """One entry of the answer about nodes."""
    address = data.get("address", "")
    if isinstance(address, (list, tuple)):
        address = f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return NodeInfo(
        name=data["name"], address=address, pid=data.get("pid", 0), capacity=data.get("capacity", {}), free=data.get("free", {}),
        labels=dict(data.get("labels", {})), state=data.get("state", "ready"), running=data.get("running", 0), queued=data.get("queued", 0),
    )


def run_info(data: Mapping[str, Any]) -> RunInfo:
    """One entry of the answer about runs."""
    return RunInfo(
        run=data["run"], name=data.get("name", ""), state=data.get("state", ""), done=data.get("done", 0), total=data.get("total", 0),
        client=str(data.get("client", "")), seconds=data.get("seconds", 0.0), waits_for=str(data.get("waits_for", "")),
        is_call=bool(data.get("is_call", False)),
    )


def has_room(nodes: list[NodeInfo], name: str, cost: Mapping[str, float | int | str]) -> bool:
    """Whether that node has as much free now. Raises ConfigError for a node that is not there, and for a cost that makes no sense."""
    try:
        wanted, _ = split(amounts(cost))   # what the whole cluster shares is on no node
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for node in nodes:
        if node.name == name:
            return all(round(node.free.get(resource, 0.0) * SCALE) >= steps for resource, steps in wanted)
    present = ", ".join(sorted(node.name for node in nodes)) or "none"
    raise ConfigError(f"there is no node named {quoted(name)}; nodes that are here: {present}")
