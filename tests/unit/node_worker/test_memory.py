"""What is said of a node's memory where a worker was killed."""

from __future__ import annotations

from pathlib import Path

from handoff.ids import RunId
from handoff.node.memory import Memory
from handoff.node.store import ResultStore
from handoff.resources import amounts

HELP = 'Say what functions need (cost={"memory": ...}), let go of results that nobody needs, or add nodes'


def test_it_says_what_there_is_what_results_hold_and_what_helps(tmp_path: Path) -> None:
    """And that the kernel ended something, where its count has grown since the last look."""
    store, count = ResultStore(), tmp_path / "proc/vmstat"
    count.parent.mkdir()
    count.write_text("pgfault 5\noom_kill 2\n")
    memory = Memory(store, amounts({"memory": 500}), tmp_path)
    assert memory.after_kill() == f"this node offers 500 MB of memory, and 0 results hold 0 MB of it. {HELP}"

    store.put_many(RunId(1), (0, 1), (bytes(3_000_000), bytes(4_000_000)))
    count.write_text("pgfault 9\noom_kill 3\n")
    told = f"this node offers 500 MB of memory, and 2 results hold 7 MB of it. {HELP}"
    assert memory.after_kill() == f"the kernel ended a process here since memory ran out; {told}"
    assert memory.after_kill() == told

    store.drop(RunId(1), [0])
    assert Memory(store, (), tmp_path).told() == f"on this node 1 result holds 4 MB. {HELP}"
