"""What a planner that runs elsewhere needs to know: the nodes as they are, what was learned, and by which rules tasks are placed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from handoff.resources import Amounts
from handoff.scheduler.estimates import Codes, Estimates, is_apart
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.needs import PROCESSES
from handoff.scheduler.nodes import Node

PAIRS_MAX = 10_000   # links told one by one; a planner takes the default for the others
SETTINGS = (         # that matter for planning
    "round_trip_seconds", "horizon_round_trips", "bandwidth_bytes_per_second", "zero_cost_per_cpu", "suspect_seconds", "lost_seconds",
)


def outlook(ledger: Ledger, codes: Sequence[Codes], names: Sequence[str]) -> dict[str, Any]:
    """As plain data. `codes` and `names` are those of the kinds of a program; "functions" answers for each, in this order.

    Amounts are in steps (`resources.SCALE` to the unit), times in seconds, sizes in bytes, rates in bytes per second. The seconds of a
    function are those on a node of speed 1; a function never seen has the count 0, and the seconds that are assumed then.
    """
    settings = asdict(ledger.settings)
    return {
        "nodes": [_node(node) for node in ledger.nodes.values()],
        "functions": [function(ledger.estimates, each, name) for each, name in zip(codes, names, strict=True)],
        "links": {"default": ledger.links.default, "pairs": [list(pair) for pair in ledger.links.measured()[-PAIRS_MAX:]]},
        "cluster": dict(ledger.cluster.declared),
        "round_trip": ledger.settings.round_trip_seconds,
        "allocator": ledger.allocator,
        "settings": {name: settings[name] for name in SETTINGS},
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name, "peer": node.peer, "state": node.state, "labels": dict(node.labels), "speed": node.speed,
        "capacity": _steps(node.offers), "free": _steps(node.free),
        "running": node.running, "queued": node.queued, "planned": node.planned,
        "processes": node.capacity[PROCESSES], "gpus": [list(each) for each in node.gpus],
    }


def _steps(amounts: Amounts) -> dict[str, int]:
    return dict(amounts)


def function(estimates: Estimates, codes: Codes, name: str) -> dict[str, Any]:
    """One function. "by_input": where its time goes with the size of what it takes, [bits of the bytes taken, seconds]."""
    found = estimates.look(codes or (name.encode(errors="surrogatepass"),), name)
    sizes = sorted((bits, mean.seconds) for bits, mean in found.sizes.items() if is_apart(mean, found))
    return {
        "name": name, "count": found.count, "seconds": estimates.seconds(found), "spread": found.spread, "nbytes": estimates.nbytes(found),
        "cold": found.cold_seconds, "by_input": [list(each) for each in sizes],
    }
