"""What an allocator is, and the desk at which it works: it sees what is ready and what is free, and every answer is checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop
from typing import Protocol

from handoff.address import is_same_machine
from handoff.errors import InvariantViolation
from handoff.ids import NOBODY, RunId
from handoff.resources import GPU_MEMORY, SCALE, Amounts, describe, is_gpu
from handoff.scheduler.groups import Group, Option, groups_of, spans_of
from handoff.scheduler.inputs import Inputs
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.memory import MEGABYTE
from handoff.scheduler.needs import OURS
from handoff.scheduler.nodes import Node
from handoff.scheduler.queue import LOW
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import DONE, READY, WAITING, Run
from handoff.scheduler.wishes import preferred

SCARCITY = 0.5           # what it costs to leave a scarce resource of a node unused, ...
SPARED = 0.02            # ... and while nothing that is to run needs it: somebody may, some day
NAMES = 16               # scarce resources of a node that are added up for each shape; of more, what it uses is taken from the sum


class Allocator(Protocol):
    """Decides which node gets which task: a class without arguments, named to the coordinator as MODULE:CLASS.

    When: `allocate` is called in the coordinator's turn, once for all that came in, whenever a task has become ready or ended, a node
    has come, gone or made room, or work was taken back. `now` is in seconds of a clock of its own. It must not wait: everything else
    does, meanwhile.

    What is offered: `desk.offers()` yields tasks whose inputs exist, the most urgent first (priority, then the length of what depends
    on it), none that a limit (`max_concurrency`, what the whole cluster shares) keeps back. Not placing one is an answer: none like it
    is offered again in the same call, all are in the next. `desk.nodes` are the nodes that take work now. Nothing need be remembered
    between calls, and nothing may be counted on: a placed task can come back when its node is lost.

    What is checked: `desk.fits(offer, node)` tells whether the node has room now, and may have it (pin, labels, collocation, results
    that it has to lie beside; while others could have it, not where it failed, nor beside more of its like). `desk.place(offer,
    node)` raises InvariantViolation for a task that is not being offered, a node that takes no work, or one that may never run it; a node
    without room now is allowed, and the task waits there. Nodes admit by what is really free, so nothing that is placed can over-commit
    one.

    Errors: when `allocate` raises, what it placed stands, the error goes to the coordinator's log ("allocator.failed"), and the default
    allocator places the rest of that call. The next call is made as usual. `scripts/examples/allocator` has an example that runs;
    `handoff.scheduler.simulate` tries one out on paper. With a class attribute `plans_all = True` tasks are offered as soon as their
    inputs are planned, to `desk.next_shape` alone.
    """

    def allocate(self, now: float, desk: Desk) -> None:
        """Place what should be placed now, with `desk.place`."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A task that may be placed now, as an allocator of one's own sees it."""

    run: RunId
    task: int
    name: str
    cost: Amounts
    priority: int
    seconds: float                             # how long it will run, as far as known
    inputs: tuple[tuple[tuple[str, ...], int], ...]  # per input: the names of the nodes that hold it, and its bytes
    alternatives: tuple[Amounts, ...] = ()     # other costs that would do; `fits` and `place` take the first that has room
    where: tuple[tuple[str, str], ...] = ()    # labels that its node must have; `fits` knows


class Desk:
    """One pass: the open nodes, the ready tasks in order of urgency, and the way to place them."""

    def __init__(self, now: float, ledger: Ledger) -> None:
        self.now = now
        self.ledger = ledger
        claims, ledger.ready.claims = ledger.ready.claims, []
        ledger.is_regrouped |= bool(claims) and any(low < claim <= high for low, high in ledger.spans for claim in claims)
        if ledger.is_regrouped or any(group.is_apart for group in ledger.groups):
            ledger.is_regrouped = False
            ledger.open_nodes = [node for node in ledger.nodes.values() if node.state == "ready"]
            ledger.open_version += 1
            for node in ledger.nodes.values():
                node.group = None
            ledger.groups = groups_of(ledger.open_nodes, ledger.ready.all_claims())
            ledger.spans = spans_of(ledger.groups)
            ledger.memory.all_bytes = sum([node.capacity.get("memory", 0) for node in ledger.open_nodes]) / SCALE * MEGABYTE
        self.nodes = ledger.open_nodes
        ledger.memory.begin()
        ledger.rates.refresh()
        for peer in ledger.memory.stays:
            if ledger.nodes[peer].is_open:
                ledger.nodes[peer].close()
        for group in ledger.groups:
            for node in group.stale:
                node.work_out(now, ledger.estimates)
                group.list(node)
            group.stale.clear()
            group.trim()
        # Nodes kept free for a task that has waited long for so much room.
        self.reserved: dict[int, Shape] = {}
        ledger.reserved = self.reserved
        ledger.cluster.kept.clear()
        self.are_alike = False      # all that wait need the same
        self.holds_back = False     # something waits for memory, and nothing is known that would free any
        self.is_stuck = False       # that is so though everything else has been offered
        self.favoured: dict[Shape, None] = {}       # those for which a node is kept free
        self._offered_by_all: dict[str, int] = {}
        self._offered: tuple[Run, int, Shape] | None = None
        ledger.ready.open(self.now, self.portion)

    # ── for allocators of one's own ─────────────────────────────────────────

    def offers(self, only_pinned: bool = False) -> Iterator[Offer]:
        """The tasks whose inputs exist, the most urgent first. When one is not placed, none like it is offered again in the same call.

        With `only_pinned` those alone that may run on one named node.
        """
        self.ledger.ready.open(self.now, self.portion)
        while (shape := self.next_shape()) is not None:
            if only_pinned and not shape.node:
                continue
            while (head := self.head(shape)) is not None:
                run, task = head
                if run.linked and run.missing[task]:
                    shape.pop()
                    run.state[task] = WAITING   # planned ahead it would hold room while it waits; it comes back when its inputs exist
                    continue
                if self.is_full(run) or not any(self.ledger.cluster_room(shape, each) for each in range(len(shape.needs))):
                    break
                self._offered = (run, task, shape)
                yield self._offer(run, task, shape)
                if self._offered is not None:
                    break
        self._offered = None

    def fits(self, offer: Offer, node: Node) -> bool:
        """Whether the node has room for it now, and may have it."""
        run, task = self.ledger.runs[offer.run], offer.task
        shape = run.shapes[run.kind[task]]
        if not self.may_have(run, task, node):
            return False
        is_choosy = shape.spread or task in run.avoid
        if is_choosy and self.ledger.allowed(run, task) is None and node not in preferred(self, run, task, shape):
            return False
        # What planned tasks wait for must not wait for the room that they take up.
        return self.choice(shape, node, is_waiting=run.attempt[task] > 0 and run.blocks_planned(task)) is not None

    def is_home(self, number: RunId, node: Node) -> bool:
        """Whether the node is on the machine of the client that submitted this run."""
        run = self.ledger.runs[number]
        client = self.ledger.clients.get(run.client) if run.client is not None else None
        return client is not None and is_same_machine(client.host, node.address[0])

    def place(self, offer: Offer, node: Node) -> None:
        """Give the task that is being offered to this node; InvariantViolation when that can't be."""
        run, task = self.ledger.runs.get(offer.run), offer.task
        if self._offered is None or run is None or self._offered[:2] != (run, task) or run.state[task] != READY:
            raise InvariantViolation(f"the allocator placed task {task} of run {offer.run}, which was not being offered")
        if self.ledger.nodes.get(node.peer) is not node or node.state != "ready":
            raise InvariantViolation(f"the allocator placed {offer.name!r} on node {node.name!r}, which takes no work")
        shape = self._offered[2]
        alternative, can_start = self.choice(shape, node, is_waiting=True), self.choice(shape, node)
        if alternative is None or not self.may_have(run, task, node):
            cost = describe(offer.cost)
            raise InvariantViolation(f"the allocator placed {offer.name!r} ({cost}) on node {node.name!r}, which may never run it")
        shape.pop()
        if can_start is not None:
            self.ledger.plan(self.now, run, task, node, held=True, alternative=can_start)
        else:
            self.ledger.plan(self.now, run, task, node, held=False, alternative=alternative)
        self._offered = None

    def may_have(self, run: Run, task: int, node: Node) -> bool:
        """Whether the node is one that it may run on, and could when it ran nothing else."""
        allowed = self.ledger.allowed(run, task) if self.settle_consumer(run, task) else NOBODY
        return (allowed is None or allowed == node.peer) and self.ledger.can_run(run, task, node)

    def choice(self, shape: Shape, node: Node, is_waiting: bool = False) -> int | None:
        """The first of its costs for which there is room now, on the node and in what the cluster shares; None: for none.

        With `is_waiting` it is enough that the node could ever hold it.
        """
        for alternative, need in enumerate(shape.needs):
            if (node.can_hold(need) if is_waiting else node.can_commit(need)) and self.ledger.cluster_room(shape, alternative) > 0:
                return alternative
        return None

    def _offer(self, run: Run, task: int, shape: Shape) -> Offer:
        nodes = self.ledger.nodes
        inputs = []
        for each in dict.fromkeys(run.inputs_of(task)):
            holders = (run.node[each], *run.copies.get(each, ()))
            inputs.append((tuple(nodes[peer].name for peer in holders if peer in nodes), run.nbytes[each]))
        seconds = self.ledger.estimates.seconds(shape.function)
        kind = run.kinds[run.kind[task]]
        return Offer(run.run, task, kind.name, shape.cost, shape.priority, seconds, tuple(inputs), kind.alternatives, kind.where)

    # ── for the default one, which works shape by shape ─────────────────────

    def next_shape(self) -> Shape | None:
        """The shape with the most urgent task among those not yet served."""
        heads = self.ledger.ready.heads
        while heads:
            shape = heappop(heads)[4]
            if shape.stack or shape.heap:
                return shape
            self.ledger.ready.run_out(shape)
        return None

    def next_rank(self, shape: Shape) -> int | None:
        """The rank (as in keys) of the most urgent task of the same priority elsewhere: up to there this shape goes first."""
        heads = self.ledger.ready.heads
        return heads[0][2] >> 64 if heads and heads[0][0] == -shape.priority else None

    def is_behind(self, shape: Shape) -> bool:
        """Whether another account, whose tasks wait as urgently, has less of the cluster by now."""
        ready = self.ledger.ready
        return ready.is_contended and bool(ready.heads) and ready.heads[0][:2] < (-shape.priority, shape.account.level(self.now))

    def head(self, shape: Shape) -> tuple[Run, int] | None:
        """Its most urgent task that still is ready; what is stale is thrown away."""
        runs = self.ledger.runs
        while (key := shape.head()) >= 0:
            run, task = runs.get(key >> 32 & LOW), key & LOW
            if run is not None and run.state[task] == READY and run.shapes[run.kind[task]] is shape:
                return run, task
            shape.pop()
        return None

    def gets_stuck(self) -> bool:
        """All was offered, and something waits for memory that nothing will free: now nodes that do nothing have it all the same."""
        was_stuck = self.is_stuck
        self.is_stuck |= self.holds_back and not self.ledger.memory.freeing
        is_stuck = self.is_stuck and not was_stuck
        if is_stuck or self.ledger.memory.shuts_out_any(self):
            opened = [node.open() for node in self.nodes if not node.planned]
            is_stuck |= any(opened)
        return is_stuck

    def is_idle_for(self, shape: Shape) -> bool:
        """Whether a node that could hold it has room for it now, and nothing ahead, and what the whole cluster shares is left, too."""
        if shape.cluster and self.ledger.cluster_room(shape) <= 0:
            return False
        nodes = (option.open_node(shape.need, self.reserved, shape) for option in self.options_for(shape))
        return any(node is not None and not node.queue and node.lanes[0] <= self.now for node in nodes)

    def is_full(self, run: Run) -> bool:
        """Whether it has as many tasks on nodes as it may have at once."""
        return bool(run.max_concurrency) and run.room() <= 0

    def nodes_for(self, shape: Shape) -> list[Node]:
        """The open nodes that could ever hold it and may have it, as far as its shape tells; without those kept free for others."""
        able = self.able_for(shape)
        return [node for node in able if self.reserved.get(node.peer, shape) is shape] if self.reserved else able

    def able_for(self, shape: Shape) -> list[Node]:
        """The same with those that are kept free for others now."""
        eligible = shape.eligible
        if eligible.able_of != self.ledger.open_version:
            eligible.able = [node for node in self._named(shape) if node.can_run(shape)]
            eligible.able_of = self.ledger.open_version
            eligible.full = {}
        return eligible.able

    def portion(self, needs: tuple[Amounts, ...]) -> float:
        """The largest part of any resource of the open nodes that one such task takes, at that of its costs of which this is least."""
        found = 1.0
        for need in needs:
            if all(self.offered_by_all(name) for name, _ in need):
                found = min(found, max([amount / self.offered_by_all(name) for name, amount in need], default=0.0))
        return found

    def options_for(self, shape: Shape) -> list[Option]:
        """The groups of nodes that could ever hold it and may have it."""
        eligible = shape.eligible
        if eligible.options_of != self.ledger.open_version:
            able = dict.fromkeys([node for node in self._named(shape) if node.matches(shape.where) and node.can_hold(shape.need)])
            groups = self.ledger.groups
            if shape.node:
                groups = [Group([node], listed=False) for node in able]
            eligible.options = [Option(group, self._penalty(group, shape)) for group in groups if group.members[0] in able]
            eligible.options.sort(key=lambda option: -option.group.speed)     # the likely best first: the others are then soon ruled out
            eligible.option_of = {option.group.members[0].group: option for option in eligible.options}
            eligible.options_of = self.ledger.open_version
            eligible.wants = self.ledger.ready.wants
        elif eligible.wants != self.ledger.ready.wants:
            eligible.wants = self.ledger.ready.wants
            for option in eligible.options:
                option.penalty = self._penalty(option.group, shape)
        return eligible.options

    def option_of(self, shape: Shape) -> dict[Group | None, Option]:
        """The same by group."""
        eligible = shape.eligible
        if eligible.options_of != self.ledger.open_version or eligible.wants != self.ledger.ready.wants:
            self.options_for(shape)
        return eligible.option_of

    def penalty_of(self, shape: Shape, node: Node) -> float:
        """What it costs, as a factor of the time, that the node's scarce resources are left unused."""
        option = self.option_of(shape).get(node.group)
        return option.penalty if option is not None else 1.0

    def holders(self, shape: Shape, inputs: Inputs | None, also: Collection[int] = (), most: int = 3) -> list[Node]:
        """The nodes that hold most of the inputs, and these, as far as they may have the task."""
        nodes, found, option_of, reserved = self.ledger.nodes, [], self.option_of(shape), self.reserved
        first = inputs.most_on(most) if inputs is not None else ()
        for peer in dict.fromkeys((*first, *sorted(also))) if also else first:
            node = nodes.get(peer)
            if node is None or node.state != "ready" or node.group not in option_of or (shape.node and node.name != shape.node):
                continue
            if not reserved or reserved.get(peer, shape) is shape:
                found.append(node)
        return found

    def is_offered(self, run: Run, task: int, shape: Shape) -> bool:
        """Whether a key that lies in its queue still means anything."""
        return run.state[task] == READY and run.shapes[run.kind[task]] is shape

    def _named(self, shape: Shape) -> list[Node]:
        """The open nodes; of what is pinned its own, if that is open."""
        if not shape.node:
            return self.nodes
        node = self.ledger.by_name.get(shape.node)
        return [node] if node is not None and node.state == "ready" else []

    def _penalty(self, group: Group, shape: Shape) -> float:
        """Above 1 for nodes whose scarce resources the task would leave unused."""
        used, penalty, of_gpus = {name for name, _ in shape.need}, 1.0, 0.0
        parts, parts_of_gpus = self._spare(group)
        if len(parts) <= NAMES:
            for name, part in parts.items():
                if name not in used:
                    penalty += part
        else:
            penalty = round(1.0 + group.spared - sum([parts.get(name, 0.0) for name in used]), 12)
        for name, part in parts_of_gpus.items():
            if name not in used:
                of_gpus = max(of_gpus, part)      # the same devices, by whatever name: they are left unused once
        return penalty + of_gpus

    def _spare(self, group: Group) -> tuple[dict[str, float], dict[str, float]]:
        """What it costs to leave each of its scarce resources unused, of GPUs apart; worked out anew when what is needed has changed."""
        if group.wants != self.ledger.ready.wants:
            group.wants, wanted = self.ledger.ready.wants, self.ledger.ready.wanted
            group.parts, group.parts_of_gpus = {}, {}
            for name, amount in group.members[0].capacity.items():
                if name not in ("cpu", "memory", *OURS):
                    parts = group.parts_of_gpus if name == GPU_MEMORY or is_gpu(name) else group.parts
                    parts[name] = (SCARCITY if wanted.get(name) else SPARED) * amount / max(1, self.offered_by_all(name))
            group.spared = sum(group.parts.values())
        return group.parts, group.parts_of_gpus

    def nodes_with_room(self, shape: Shape, nodes: Sequence[Node]) -> list[Node]:
        """Those that have room for it now; one that had none is not asked again before it has freed something."""
        full, found = shape.eligible.full, []
        for node in nodes:
            if full.get(node.peer) == node.freed:
                continue
            if node.has_room(shape.need):
                found.append(node)
            else:
                full[node.peer] = node.freed
        return found

    def offered_by_all(self, name: str) -> int:
        """How much of this resource the open nodes have together."""
        known = self._offered_by_all.get(name)
        if known is None:
            several = [group.members[0].capacity.get(name, 0) * len(group.members) for group in self.ledger.groups]
            known = self._offered_by_all[name] = sum(several)
        return known

    def settle_consumer(self, run: Run, task: int) -> bool:
        """Before a serializer is planned, its consumer's node is chosen, and kept to; False while there is none to choose."""
        if run.plain or not run.is_serializer(task):
            return True
        consumers = run.consumers_of(task)
        if not consumers or consumers[0] in run.promised or run.state[consumers[0]] >= DONE:
            return True
        consumer = consumers[0]
        peer = self.ledger.allowed(run, consumer)
        if peer is None or peer not in self.ledger.nodes or peer in self.ledger.leaving:
            shunned = run.avoid.get(consumer, ())
            able = [node for node in self.nodes if self.ledger.can_run(run, consumer, node)]
            able = [node for node in able if node.peer not in shunned] or able
            if peer is not None or not able:
                return False
            home = run.node[run.inputs_of(task)[0]]
            peer = min(able, key=lambda node: (node.backlog + node.planned * 1e-3, node.peer != home, node.peer)).peer
        run.promised[consumer] = peer
        if consumer in run.group:
            run.group_node.setdefault(run.group[consumer], peer)
        return True
