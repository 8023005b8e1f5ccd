"""The memory that results take, or will take: a node is not planned beyond it, and what frees memory goes before what fills it.

Without this, a graph of large intermediates is worked off breadth first, and all its results lie in memory at once. (Dask withholds root
tasks for the same reason.) Only large results are counted: how large that is depends on how many there may be (`begin`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, TypeVar

from handoff.resources import SCALE, Amounts
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import DONE, Run

if TYPE_CHECKING:
    from handoff.scheduler.allocator import Desk
    from handoff.scheduler.inputs import Inputs
    from handoff.scheduler.ledger import Ledger
    from handoff.scheduler.nodes import Node

LARGE_BYTES = 4 << 20     # results at least so large are looked at one by one; ...
MANY = 0.3                # ... smaller ones, too, of which one for each unfinished task would take this part of all memory, ...
SMALL_BYTES = 64 << 10    # ... but none below this: what is so small is placed in blocks
FULL = 0.6                # of a node's memory may hold results before tasks that add to them are held back
NODES_MAX = 64            # of more nodes only those are looked at that the task may get: ...
LOOKED_AT = 16            # ... so many of each group that have room, who is free first, and who holds its inputs
MEGABYTE = 1_000_000

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memory:
    """Books about large results: those that are to come (`promised`), and those that lie on nodes."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.all_bytes = 0.0                 # of the nodes that take work
        self.large = float(LARGE_BYTES)      # what is large in this pass
        # By run, since the end of one must not cost more for all that others have; a run of which nothing is noted is not there.
        # Planned tasks with large results or inputs: peer, bytes of the result that is to come, and what the task takes beside its claim
        # and what lies there: less than nothing where the claim is for inputs that are there, too.
        self.promised: dict[int, dict[int, tuple[int, float, float]]] = {}
        self.kept: dict[int, dict[tuple[int, int], tuple[float, float]]] = {}   # per task and peer: bytes that lie there, and will stay
        self.freeing: dict[int, dict[int, None]] = {}                    # planned tasks that are the last to need a large result
        self.waits: dict[int, dict[int, float]] = {}                     # since when tasks wait, or waited, beside another's result
        self.held: dict[int, float] = {}                                 # per peer: what is promised and what is kept
        self.taken: dict[int, float] = {}                                # per peer: what is taken beside the claims of what runs
        self.stays: dict[int, float] = {}                                # per peer: outputs, which lie there until their run is forgotten

    def begin(self) -> None:
        """A pass begins. What is large depends on what there is: of a few megabytes each, ten thousand results fill a small cluster."""
        if self.all_bytes:
            self.large = min(LARGE_BYTES, max(SMALL_BYTES, MANY * self.all_bytes / max(1, self.ledger.tasks)))

    # ── what becomes of results ─────────────────────────────────────────────

    def plan(self, run: Run, task: int, peer: int, nbytes: float, inputs: Inputs | None) -> None:
        """A task with a large result, or large inputs, is planned there."""
        made = nbytes if nbytes >= self.large else 0.0
        takes = sum([size for size, _, _, _ in inputs.parts if size >= self.large]) if inputs is not None else 0.0
        beside = max(-takes, made - self._claimed(run, task, peer))
        if made or beside:
            self.promised.setdefault(run.run, {})[task] = (peer, made, beside)
            self._add(peer, made, beside)
        if inputs is not None and any(self._is_last(run, each) for size, _, _, each in inputs.parts if size >= self.large):
            self.freeing.setdefault(run.run, {})[task] = None
        for size, home, others, each in inputs.parts if inputs is not None else ():
            if size >= self.large and home != peer and peer not in others:
                self._keep(run.run, each, peer, size, 0.0)

    def note(self, run: Run, task: int, peer: int, inputs: Inputs | None) -> None:
        """The same for any task: of one whose result and inputs are small, nothing is noted."""
        nbytes = self.adds(run, task, inputs)
        if nbytes or (inputs is not None and inputs.total >= self.large):
            self.plan(run, task, peer, nbytes, inputs)

    def settle(self, run: Run, task: int, nbytes: int, is_there: bool) -> None:
        """What was promised is there, with its true size; or it will not come."""
        _take(self.freeing, run.run, task)
        promise = _take(self.promised, run.run, task)
        if promise is not None:
            self._add(promise[0], -promise[1], -promise[2])
        if is_there and nbytes >= self.large:
            self._keep(run.run, task, run.node[task], nbytes, nbytes if run.is_output[run.kind[task]] else 0.0)

    def release(self, run: int, task: int, peer: int) -> None:
        """A result is dropped there."""
        nbytes, stays = _take(self.kept, run, (task, peer)) or (0.0, 0.0)
        self._add(peer, -nbytes, -nbytes, -stays)

    def forget_run(self, run: int) -> None:
        """All of it is gone."""
        for peer, nbytes, beside in self.promised.pop(run, {}).values():
            self._add(peer, -nbytes, -beside)
        self.freeing.pop(run, None)
        self.waits.pop(run, None)
        for (_, peer), (nbytes, stays) in self.kept.pop(run, {}).items():
            self._add(peer, -nbytes, -nbytes, -stays)

    def forget_node(self, peer: int) -> None:
        """It is gone with all that it held."""
        for run, promised in list(self.promised.items()):
            for task in [task for task, promise in promised.items() if promise[0] == peer]:
                _take(self.promised, run, task)
        for run, kept in list(self.kept.items()):
            for key in [key for key in kept if key[1] == peer]:
                _take(self.kept, run, key)
        for book in (self.held, self.taken, self.stays):
            book.pop(peer, None)

    def _keep(self, run: int, task: int, peer: int, nbytes: float, stays: float) -> None:
        kept = self.kept.setdefault(run, {})
        before, stayed = kept.get((task, peer), (0.0, 0.0))
        kept[task, peer] = (nbytes, stays)
        self._add(peer, nbytes - before, nbytes - before, stays - stayed)

    def _add(self, peer: int, nbytes: float, beside: float, stays: float = 0.0) -> None:
        node = self.ledger.nodes.get(peer)
        if node is None:
            return
        for book, more in ((self.held, nbytes), (self.taken, beside), (self.stays, stays)):
            if more:
                book[peer] = book.get(peer, 0.0) + more
        if beside or stays:
            node.count_results(_steps(self.taken.get(peer, 0.0)), _steps(self.stays.get(peer, 0.0)))

    def _claimed(self, run: Run, task: int, peer: int) -> float:
        """The bytes that it claims there while it runs; planned ahead it has claimed nothing yet."""
        held = self.ledger.nodes[peer].holding.get((run.run, task))
        return dict(held[3]).get("memory", 0) / SCALE * MEGABYTE if held is not None else 0.0

    # ── what may be planned ─────────────────────────────────────────────────

    def adds(self, run: Run, task: int, inputs: Inputs | None) -> float:
        """The bytes of the result that it will make; 0 for a small one."""
        nbytes = self.ledger.foresight.nbytes(run, task)
        return nbytes if nbytes >= self.large else 0.0

    def concerns(self, run: Run, shape: Shape, inputs: Inputs | None) -> bool:
        """Whether memory has a say in where such a task goes."""
        made = shape.function if shape.function.count else self.ledger.estimates.all
        return bool(run.told_bytes) or made.nbytes >= self.large or (inputs is not None and inputs.total >= self.large)

    def with_room(
        self, desk: Desk, run: Run, task: int, shape: Shape, inputs: Inputs | None, only: list[Node] | None,
    ) -> list[Node] | None:
        """Those of the nodes that have memory for its result and the inputs that must come.

        When there is none, nothing that is planned would free memory, and nothing that is ready has (`Desk.is_stuck`), waiting is of no
        use: idle nodes may have it, one each.
        """
        adds = self.adds(run, task, inputs)
        if not adds and (inputs is None or inputs.total < self.large):
            return only
        frees = self._frees(run, task)
        if only is None and len(desk.nodes) > NODES_MAX and len(shape.needs) == 1:
            some = _some(desk, shape, inputs)
            able = [node for node in some if self._fits(node, adds, inputs, frees)]
            if any(node.has_room(shape.need) for node in able):
                return only if len(able) == len(some) else able
        nodes = desk.nodes_for(shape) if only is None else only
        able = [node for node in nodes if self._fits(node, adds, inputs, frees)]
        if len(able) == len(nodes):
            return only
        if not able and not self.freeing:
            if desk.is_stuck:
                return [node for node in nodes if not node.planned]
            desk.holds_back |= any(not node.planned for node in nodes)
        return able

    def among(self, desk: Desk, run: Run, task: int, inputs: Inputs | None, peers: Collection[int]) -> Collection[int]:
        """Those of these nodes that have memory for it, where `with_room` did not look at all."""
        if len(desk.nodes) <= NODES_MAX or not self.held:
            return peers
        adds, frees, nodes = self.adds(run, task, inputs), self._frees(run, task), self.ledger.nodes
        return [peer for peer in peers if peer in nodes and self._fits(nodes[peer], adds, inputs, frees)]

    def leaves_choice(self, need: Amounts, inputs: Inputs | None, nodes: Iterable[Node | None]) -> bool:
        """Whether results leave enough memory for such a task on one of these, so that those where they do not are none for it.

        What takes large results goes where these are: its claim is for them, too.
        """
        if not self.taken or (inputs is not None and inputs.total >= self.large):
            return False
        return any(node is not None and node.has_room(need) and not node.is_tight(need) for node in nodes)

    def shuts_out_any(self, desk: Desk) -> bool:
        """Whether something that is ready has no room on an idle node for what stays there alone, and will have none elsewhere."""
        if not any(self.stays.values()):
            return False
        for shape in self.ledger.ready.offered:
            head = desk.head(shape) if any(name == "memory" for need in shape.needs for name, _ in need) else None
            if head is not None and not desk.is_full(head[0]) and self._shuts_out(desk, head[0], shape):
                return True
        return False

    def _shuts_out(self, desk: Desk, run: Run, shape: Shape) -> bool:
        is_bound = not run.plain or bool(run.avoid) or bool(shape.spread)    # then who has room may be none of those that may have it
        is_idle = False
        for node in desk.able_for(shape):
            if all(node.is_shut(need) for need in shape.needs if node.can_hold(need)):
                is_idle |= not node.planned
            elif not is_bound:
                return False    # it has room when what runs there has ended
        return is_idle

    def is_short(self, run: Run, task: int, node: Node, inputs: Inputs) -> bool:
        """Whether the node has no memory now for its result and the inputs that must come."""
        adds = self.adds(run, task, inputs)
        return bool(adds or inputs.total >= self.large) and not self._fits(node, adds, inputs, self._frees(run, task))

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


def _some(desk: Desk, shape: Shape, inputs: Inputs | None) -> list[Node]:
    """The nodes that such a task may get, as far as they are looked at one by one."""
    found = dict.fromkeys(desk.holders(shape, inputs))
    for option in desk.options_for(shape):
        first = option.group.least()
        if desk.reserved.get(first.peer, shape) is shape:
            found[first] = None
        found.update(dict.fromkeys(option.open_nodes(shape.need, desk.reserved, shape, LOOKED_AT)))
    return list(found)


def _steps(nbytes: float) -> int:
    return round(nbytes / MEGABYTE * SCALE)


def _take(book: dict[int, dict[Key, Value]], run: int, key: Key) -> Value | None:
    """What is noted of this in a run is noted no more, and the run neither when that was the last."""
    of_run = book.get(run)
    if of_run is None:
        return None
    found = of_run.pop(key, None)
    if not of_run:
        del book[run]
    return found
