"""What the nodes of a cluster on this machine offer: options that make no sense are refused, and the machine is shared out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from handoff.errors import ConfigError
from handoff.ids import NODE_NAME_MAX, is_node_name
from handoff.quoting import quoted
from handoff.resources import CLUSTER, GPU, SCALE, offered, shown

OPTIONS = ("name", "cpus", "memory", "gpus", "resources", "labels", "tracker")
TEXT_MAX = 1000                      # characters of a label, its value, or a name: each is an option of a process
NODES_MAX = 1000                     # processes on one machine; more are a slip of the pen
_AMOUNTS = {"cpus": "cpu", "memory": "memory", "gpus": "gpu"}   # options that are amounts: of what


def specs_of(nodes: int | Iterable[Mapping[str, Any]], common: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each node offers, with this machine shared out among those that do not say. Raises ConfigError for what makes no sense."""
    wrong = ConfigError(f"nodes={quoted(nodes)}: how many nodes, or a list of dicts with what each offers, such as [{{'cpus': 2}}]")
    if isinstance(nodes, (bool, str, bytes, Mapping)) or not isinstance(nodes, (int, Iterable)) or (isinstance(nodes, int) and nodes < 0):
        raise wrong
    if isinstance(nodes, int) and nodes > NODES_MAX:
        raise ConfigError(f"nodes={quoted(nodes)} is absurd; a cluster on one machine has at most {NODES_MAX:,}, each of them a process")
    said = [{} for _ in range(nodes)] if isinstance(nodes, int) else list(nodes)
    if not all(isinstance(node, Mapping) for node in said):
        raise wrong
    checked(common)
    specs = [checked({**common, **node}) for node in said]
    names = [spec["name"] for spec in specs if "name" in spec]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two nodes are named {quoted(name)}; every node needs a name of its own")
    if len(specs) > 1:
        share = _share(len(specs)) if any("cpus" not in spec or "memory" not in spec for spec in specs) else {}
        specs = [{**share, **spec} for spec in specs]
        for spec in specs:
            if "gpus" in share and spec["gpus"] == 0 and any(name.startswith("gpu:") for name in spec.get("resources") or ()):
                del spec["gpus"]   # those of the kinds that are said
    return specs


def _share(count: int) -> dict[str, Any]:
    """This machine's cores, memory and no GPUs, for each of several nodes."""
    from handoff.node.probe import detect

    capacity = dict(detect().capacity)
    cpus = max(1, capacity.get("cpu", SCALE) // SCALE // count)
    return {"cpus": cpus, "memory": capacity.get("memory", 1024 * SCALE) / SCALE // count, "gpus": 0}


# ── one node ────────────────────────────────────────────────────────────────


def checked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one node without those that say nothing (None). Raises ConfigError that names the first that makes no sense."""
    for option in spec:
        if option not in OPTIONS:
            raise ConfigError(f"a node has no option {quoted(option)}; there are: {', '.join(OPTIONS)}")
    said = {option: value for option, value in spec.items() if value is not None}
    for option, resource in _AMOUNTS.items():
        if option in said:
            steps = _offered(option, {resource: said[option]})[resource]
            if resource == GPU and steps % SCALE:
                raise ConfigError(f"gpus={quoted(said[option])}: a node has whole GPUs, of which functions may ask for parts")
    resources, labels = said.get("resources", {}), said.get("labels", {})
    _offered("resources", resources)
    shared = next((name for name in resources if name.startswith(CLUSTER)), None)
    if shared is not None:
        raise ConfigError(f"resources={quoted(resources)}: what the whole cluster shares is on no node; "
                          f"say LocalCluster(shared={{{quoted(shared.removeprefix(CLUSTER))}: {quoted(resources[shared])}}})")
    if not isinstance(labels, Mapping) or not all(_is_label(*label) for label in labels.items()):
        raise ConfigError(f'labels={quoted(labels)} is not a dict from labels to their values, both strings, such as {{"zone": "a"}}; '
                          f"both can be printed, have no space around them and at most {TEXT_MAX:,} characters, and no = in the label")
    name, tracker = said.get("name"), said.get("tracker")
    if name is not None and not (isinstance(name, str) and is_node_name(name)):
        raise ConfigError(f"name={quoted(name)} is not the name of a node: 1 to {NODE_NAME_MAX} printable characters")
    if name == "coordinator":
        raise ConfigError("name='coordinator' is taken by the coordinator of the cluster; call the node something else")
    if tracker is not None and not (isinstance(tracker, str) and ":" in tracker and _is_printable(tracker)):
        raise ConfigError(f'tracker={quoted(tracker)} is not "MODULE:CLASS" of a resource tracker, which the node imports')
    return said


def _offered(option: str, amounts: Any) -> dict[str, int]:
    """Exact amounts by name; those of an option that is one amount go by that option's name in an error."""
    if not isinstance(amounts, Mapping):
        raise ConfigError(f'{option}={quoted(amounts)} is not a dict from names to amounts, such as {{"license": 2}}')
    for name in amounts:
        if isinstance(name, str) and (name != name.strip() or "=" in name or "\0" in name or len(name) > TEXT_MAX):
            raise ConfigError(f"{option}: {quoted(name)} can't be the name of a resource: it has no = in it, no space around it, and at "
                              f"most {TEXT_MAX:,} characters")
    try:
        return {**dict.fromkeys(amounts, 0), **dict(offered(amounts))}
    except ValueError as error:
        resource = _AMOUNTS.get(option)
        raise ConfigError(option + str(error).removeprefix(resource) if resource else f"{option}: {error}") from None


def _is_label(key: Any, value: Any) -> bool:
    return (isinstance(key, str) and key == key.strip() != "" and "=" not in key and _is_printable(key)
            and isinstance(value, str) and value == value.strip() and _is_printable(value))


def _is_printable(text: str) -> bool:
    """Whether it can be an option of a process, and stand in a line for people."""
    return text.isprintable() and len(text) <= TEXT_MAX


def node_arguments(spec: Mapping[str, Any]) -> list[str]:
    """Options of its daemon."""
    arguments = [f"--{option}={spec[option]}" for option in ("cpus", "memory", "gpus", "tracker") if option in spec]
    arguments += _resources("resources", spec.get("resources", {}))
    return arguments + [f"--label={name}={text}" for name, text in spec.get("labels", {}).items()]


def _resources(option: str, amounts: Any) -> list[str]:
    return [f"--resource={name}={shown(steps)}" for name, steps in _offered(option, amounts).items()]


# ── the coordinator ─────────────────────────────────────────────────────────


def coordinator_arguments(shared: Mapping[str, Any] | None, allocator: Any, state: Any) -> list[str]:
    """Options of its daemon. Raises ConfigError for what makes no sense."""
    arguments = _resources("shared", {} if shared is None else shared)
    if allocator is not None and not isinstance(allocator, str):
        raise ConfigError(f'allocator={quoted(allocator)} is neither the name of an allocator nor "MODULE:CLASS" of one, which '
                          'the coordinator '
                          "imports")
    arguments += [f"--allocator={allocator}"] if allocator is not None else []
    if state is not None and not isinstance(state, (str, Path)):
        raise ConfigError(f"state={quoted(state)} is not the path of a directory")
    return arguments + ([f"--state={Path(state).absolute() if state != '' else ''}"] if state is not None else [])   # "": nothing is kept
