"""The memory that results take, or will take: a node is not planned beyond it, and what frees memory goes before what fills it.

Without this, a graph of large intermediates is worked off breadth first, and all its results lie in memory at once. (Dask withholds root
tasks for the same reason.) Only large results are counted one by one; a run's small ones count when they are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from handoff.resources import SCALE
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import DONE, Run

if TYPE_CHECKING:
    from handoff.scheduler.allocator import Desk
    from handoff.scheduler.inputs import Inputs
    from handoff.scheduler.ledger import Ledger
    from handoff.scheduler.nodes import Node

LARGE_BYTES = 4 << 20     # results at least so large are looked at one by one
FULL = 0.6                # of a node's memory may hold results before tasks that add to them are held back
MEGABYTE = 1_000_000

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memory:
    """Books about large results: those that are to come (`promised`), and those that lie on nodes."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        # By run, since the end of one must not cost more for all that others have; a run of which nothing is noted is not there.
        self.promised: dict[int, dict[int, tuple[int, float]]] = {}      # per task: peer and bytes of a result that is to come
        self.kept: dict[int, dict[tuple[int, int], float]] = {}          # per task and peer: bytes that lie there
        self.freeing: dict[int, dict[int, None]] = {}                    # planned tasks that are the last to need a large result
        self.held: dict[int, float] = {}                                 # per peer: what is promised and what is kept

    # ── what becomes of results ─────────────────────────────────────────────

    def plan(self, run: Run, task: int, peer: int, nbytes: float, inputs: Inputs | None) -> None:
        """A task with a large result, or large inputs, is planned there."""
        if nbytes >= LARGE_BYTES:
            self.promised.setdefault(run.run, {})[task] = (peer, nbytes)
            self._add(peer, nbytes)
        if inputs is not None and any(self._is_last(run, each) for size, _, _, each in inputs.parts if size >= LARGE_BYTES):
            self.freeing.setdefault(run.run, {})[task] = None
        for size, home, others, each in inputs.parts if inputs is not None else ():
            if size >= LARGE_BYTES and home != peer and peer not in others:
                self._keep(run.run, each, peer, size)

    def note(self, run: Run, task: int, peer: int, inputs: Inputs | None) -> None:
        """The same for any task: of one whose result and inputs are small, nothing is noted."""
        nbytes = self.adds(run, task, inputs)
        if nbytes or (inputs is not None and inputs.total >= LARGE_BYTES):
            self.plan(run, task, peer, nbytes, inputs)

    def settle(self, run: Run, task: int, nbytes: int, is_there: bool) -> None:
        """What was promised is there, with its true size; or it will not come."""
        _take(self.freeing, run.run, task)
        promise = _take(self.promised, run.run, task)
        if promise is not None:
            self._add(promise[0], -promise[1])
        if is_there and nbytes >= LARGE_BYTES:
            self._keep(run.run, task, run.node[task], nbytes)

    def release(self, run: int, task: int, peer: int) -> None:
        """A result is dropped there."""
        self._add(peer, -(_take(self.kept, run, (task, peer)) or 0.0))

    def forget_run(self, run: int) -> None:
        """All of it is gone."""
        for peer, nbytes in self.promised.pop(run, {}).values():
            self._add(peer, -nbytes)
        self.freeing.pop(run, None)
        for (_, peer), nbytes in self.kept.pop(run, {}).items():
            self._add(peer, -nbytes)

    def forget_node(self, peer: int) -> None:
        """It is gone with all that it held."""
        for run, promised in list(self.promised.items()):
            for task in [task for task, promise in promised.items() if promise[0] == peer]:
                _take(self.promised, run, task)
        for run, kept in list(self.kept.items()):
            for key in [key for key in kept if key[1] == peer]:
                _take(self.kept, run, key)
        self.held.pop(peer, None)

    def _keep(self, run: int, task: int, peer: int, nbytes: float) -> None:
        kept = self.kept.setdefault(run, {})
        before = kept.get((task, peer), 0.0)
        kept[task, peer] = nbytes
        self._add(peer, nbytes - before)

    def _add(self, peer: int, nbytes: float) -> None:
        if nbytes and peer in self.ledger.nodes:
            self.held[peer] = max(0.0, self.held.get(peer, 0.0) + nbytes)

    # ── what may be planned ─────────────────────────────────────────────────

    def adds(self, run: Run, task: int, inputs: Inputs | None) -> float:
        """The bytes of the result that it will make; 0 for a small one."""
        nbytes = self.ledger.foresight.nbytes(run, task)
        return nbytes if nbytes >= LARGE_BYTES else 0.0

    def concerns(self, run: Run, shape: Shape, inputs: Inputs | None) -> bool:
        """Whether memory has a say in where such a task goes."""
        made = shape.function if shape.function.count else self.ledger.estimates.all
        return bool(run.told_bytes) or made.nbytes >= LARGE_BYTES or (inputs is not None and inputs.total >= LARGE_BYTES)

    def with_room(
        self, desk: Desk, run: Run, task: int, shape: Shape, inputs: Inputs | None, only: list[Node] | None,
    ) -> list[Node] | None:
        """Those of the nodes that have memory for its result and the inputs that must come.

        When there is none, nothing that is planned would free memory, and nothing that is ready has (`Desk.is_stuck`), waiting is of no
        use: idle nodes may have it, one each.
        """
        adds = self.adds(run, task, inputs)
        if not adds and (inputs is None or inputs.total < LARGE_BYTES):
            return only
        frees = self._frees(run, task)
        nodes = desk.nodes_for(shape) if only is None else only
        able = [node for node in nodes if self._fits(node, adds, inputs, frees)]
        if len(able) == len(nodes):
            return only
        if not able and not self.freeing:
            if desk.is_stuck:
                return [node for node in nodes if not node.planned]
            desk.holds_back |= any(not node.planned for node in nodes)
        return able

    def is_short(self, run: Run, task: int, node: Node, inputs: Inputs) -> bool:
        """Whether the node has no memory now for its result and the inputs that must come."""
        adds = self.adds(run, task, inputs)
        return bool(adds or inputs.total >= LARGE_BYTES) and not self._fits(node, adds, inputs, self._frees(run, task))

    def _fits(self, node: Node, adds: float, inputs: Inputs | None, frees: dict[int, float]) -> bool:
        memory = node.capacity.get("memory", 0)
        if not memory:
            return True
        comes = inputs.total - inputs.bytes_on.get(node.peer, 0.0) if inputs is not None else 0.0
        more = adds + comes - frees.get(node.peer, 0.0)
        if more <= 0.0:
            return True
        limit = memory / SCALE * MEGABYTE
        then = self.held.get(node.peer, 0.0) + more
        running = node.committed.get("memory", 0) / SCALE * MEGABYTE
        # The rest of the memory is for tasks that free more than they add, here or elsewhere.
        return then + running <= limit and (then <= FULL * limit or adds <= sum(frees.values()))

    def _frees(self, run: Run, task: int) -> dict[int, float]:
        """Per node, the bytes of large inputs that nobody else needs any more."""
        found: dict[int, float] = {}
        if run.linked:
            for each in run.inputs_of(task):
                if run.state[each] == DONE and self._is_last(run, each):
                    found[run.node[each]] = found.get(run.node[each], 0.0) + run.nbytes[each]
        return found

    @staticmethod
    def _is_last(run: Run, each: int) -> bool:
        """Whether one task alone still needs this result."""
        return run.needed[each] == 1 and not run.is_output[run.kind[each]]


def _take(book: dict[int, dict[Key, Value]], run: int, key: Key) -> Value | None:
    """What is noted of this in a run is noted no more, and the run neither when that was the last."""
    of_run = book.get(run)
    if of_run is None:
        return None
    found = of_run.pop(key, None)
    if not of_run:
        del book[run]
    return found
