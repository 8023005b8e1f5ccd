"""Handoff's side of the contest: the same works as in peers/, with the same functions as in our own benchmarks."""

from __future__ import annotations

from typing import Any

from cluster import warm_client
from many import microseconds_per_hop, milliseconds_of_one, seconds_of_tree, tasks_per_second
from stencil import seconds_of_grid


class Ours:
    """A warm cluster of two nodes with one worker each."""

    def __init__(self) -> None:
        self._cluster = warm_client()
        self._client = self._cluster.__enter__()

    def ask(self, work: str, **arguments: Any) -> float:
        """Do it once; the seconds that it took."""
        client = self._client
        match work:
            case "independent":
                return float(arguments["tasks"] / tasks_per_second(client, **arguments))
            case "tree":
                return seconds_of_tree(client, **arguments)
            case "chain":
                return float(microseconds_per_hop(client, nodes=(), **arguments) * arguments["length"] / 1e6)
            case "one":
                return milliseconds_of_one(client, **arguments) / 1e3
            case "grid":
                return seconds_of_grid(client, **arguments)
        raise ValueError(f"there is no work called {work}")

    def close(self) -> None:
        """End the cluster."""
        self._cluster.__exit__(None, None, None)
