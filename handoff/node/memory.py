"""What is said where memory ran out, or may have: whether it did, how much this node has, what of it results hold, and what helps."""

from __future__ import annotations

from pathlib import Path

from handoff.node.probe import MB, out_of_memory_kills
from handoff.node.store import ResultStore
from handoff.resources import SCALE, Amounts


class Memory:
    """Of one node, which offers this much."""

    def __init__(self, store: ResultStore, capacity: Amounts, root: Path = Path("/")) -> None:
        self._store, self._offered, self._root = store, dict(capacity).get("memory", 0) // SCALE, root
        self._kills = out_of_memory_kills(root)

    def after_kill(self) -> str:
        """A worker was killed, by nobody here. What the kernel counts is compared with the last look: it may have killed a child of it."""
        before, self._kills = self._kills, out_of_memory_kills(self._root)
        return f"{'the kernel ended a process here since memory ran out; ' if self._kills > before else ''}{self.told()}"

    def told(self) -> str:
        """How things are, and what helps."""
        held, count = self._store.resident_bytes, self._store.count
        holds = f"{count:,} result{'s hold' if count != 1 else ' holds'} {held / MB:,.0f} MB"
        has = f"this node offers {self._offered:,} MB of memory, and {holds} of it" if self._offered else f"on this node {holds}"
        return f"{has}. Say what functions need (cost={{\"memory\": ...}}), let go of results that nobody needs, or add nodes"
