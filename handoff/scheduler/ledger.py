"""All that the scheduler knows, and the few ways in which it changes: a task becomes ready, is planned, is taken back, ends."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heappush
from typing import TYPE_CHECKING

from handoff.ids import NOBODY
from handoff.messages import RunFailed
from handoff.program import Kind
from handoff.resources import Amounts
from handoff.scheduler import relays, twins
from handoff.scheduler.apart import shun
from handoff.scheduler.clients import Client
from handoff.scheduler.codes import CodeStore
from handoff.scheduler.estimates import Estimates
from handoff.scheduler.foresight import Foresight
from handoff.scheduler.groups import Group
from handoff.scheduler.links import Links
from handoff.scheduler.memory import Memory
from handoff.scheduler.nodes import OVERHEAD_SECONDS, Node
from handoff.scheduler.outbox import Outbox
from handoff.scheduler.past import Past
from handoff.scheduler.rates import Rates
from handoff.scheduler.ready import Ready, Shape
from handoff.scheduler.runs import AHEAD, DONE, HELD, READY, WAITING, Run
from handoff.scheduler.semaphores import Semaphores
from handoff.scheduler.speeds import Speeds
from handoff.settings import SchedulerSettings

if TYPE_CHECKING:
    from handoff.scheduler.draining import Leaving

REACHED = 0.999     # of the reach of a task, when it is looked at again: by then it is surely within it, whatever is lost by rounding


class Ledger:
    """The whole state of the scheduler."""

    def __init__(self, settings: SchedulerSettings, cluster: Amounts = ()) -> None:
        self.settings = settings
        self.cluster = Semaphores(cluster)     # what no node has, but the whole cluster shares
        self.estimates = Estimates()
        self.foresight = Foresight(settings, self.estimates)
        self.speeds = Speeds()                 # of nodes, by name
        self.links = Links(settings.bandwidth_bytes_per_second)
        self.allocator = ""                    # what places tasks, for people
        self.memory = Memory(self)             # what large results take, and will take
        self.ready = Ready(self.estimates, self.foresight.is_early)
        self.codes = CodeStore()
        self.nodes: dict[int, Node] = {}
        self.by_name: dict[str, Node] = {}
        self.open_nodes: list[Node] = []       # those that take work, as of the last pass
        self.is_regrouped = True               # nodes came, went, or take work no more or again since then
        self.groups: list[Group] = []          # the same, grouped
        self.spans: list[tuple[int, int]] = [] # the least and the most memory in a group, where they differ
        self.open_version = 0                  # counts how often that list changed, or what is known of the speed of its nodes
        self.plans_all = False                 # the allocator wants every task whose inputs are planned, however long
        self.clients: dict[int, Client] = {}
        self.client_knows: dict[int, set[int]] = {}
        self.runs: dict[int, Run] = {}
        self.tasks = 0                         # in unfinished runs
        self.timers: list[tuple[float, int, str, int, int, int]] = []   # (when, sequence, what, and up to three numbers)
        self.sequence, self.sweep_at = 0, 64   # when they are so many, timers of what is over are swept out
        self.is_watching_late = False          # a timer is set to look for short tasks that are not
        self.again_at = float("inf")           # when something is to be placed anew, even if nothing happens until then
        self.out = Outbox(self.nodes, self.client_knows, self.codes, self.memory)
        self.rates = Rates(self.links, self.out.names, settings)
        self.reserved: dict[int, Shape] = {}   # nodes that the last pass kept free for a task of such a shape, for who asks why
        self.is_changed = False                # something may be placed that could not be before
        self.touched: dict[int, Run] = {}      # runs about which there may be something to say
        self.stranded: dict[tuple[int, int], None] = {}   # (run, task): planned, while an input of it came to be planned nowhere
        self.lost: dict[int, RunFailed] = {}   # runs that need a result which is nowhere any more, and may not be made again
        self.following: dict[int, Run] = {}    # runs that follow a plan
        self.leaving: dict[int, Leaving] = {}  # nodes that drain
        self.apart: dict[int, dict[int, None]] = {}   # nodes, by those that they can't have anything from
        self.past = Past()                     # for people who ask later
        self.ran: dict[int, tuple[Kind, int]] = {}   # by identity, kinds of runs of one kind that are over, and a node that ran them

    # ── clocks ──────────────────────────────────────────────────────────────

    def remind(self, when: float, what: str, *about: int) -> None:
        """Come back to this at that time."""
        self.sequence += 1
        first, second, third = (*about, 0, 0, 0)[:3]
        heappush(self.timers, (when, self.sequence, what, first, second, third))

    def look_when_near(self, run: Run, task: int, there: float, reach: float) -> None:
        """Its inputs are still far: it is looked at again when they are near, or there.

        As soon as it may be bound, or what is less urgent and has its inputs would be bound meanwhile to the room that opens with them.
        """
        run.state[task] = WAITING
        self.remind(there - REACHED * reach, "near", run.run, task)

    def touch(self, run: Run | None, is_changed: bool = True) -> None:
        """Something happened to this run."""
        if run is not None:
            self.touched[run.run] = run
            self.is_changed |= is_changed
            if run.kept_back:
                self.ready.look_again(run)

    # ── what may be planned ─────────────────────────────────────────────────

    def consider(self, run: Run, task: int) -> None:
        """The one place that decides whether a task may be planned now; if so, it is put into its queue."""
        if run.state[task] != WAITING:
            return
        shape = run.shapes[run.kind[task]]
        if run.linked:
            if run.unplanned[task]:
                return
            if run.missing[task] and not self.plans_all:
                if run.max_concurrency or shape.cluster:
                    return   # a waiting task would count as one of those that run
                if not self.foresight.reach(run, task, shape) and not self._is_next_link(run, task, shape):
                    return
            if self.apart:
                shun(self, run, task)
        run.state[task] = READY
        self.ready.push(shape, run.key(task))

    def _is_next_link(self, run: Run, task: int, shape: Shape) -> bool:
        """Whether it may be planned before its inputs exist, though its time is not well known: as the next link of a chain of short ones.

        It goes where its input is, and else that node would idle until word of the input had gone to the coordinator and back.
        """
        known = shape.function if shape.function.count else self.estimates.all
        if run.told or not known.count or known.seconds > self.foresight.short:
            return False
        nodes = {run.node[each] for each in run.inputs_of(task)}
        return len(nodes) == 1 and not run.is_serializer(task)

    def allowed(self, run: Run, task: int) -> int | None:
        """The only node that may have it; None: any. NOBODY: its node is not there."""
        pinned = run.kinds[run.kind[task]].node
        if pinned:
            node = self.by_name.get(pinned)
            return node.peer if node else NOBODY
        if run.plain:
            return self._home(run, task) if run.followed else None
        if task in run.promised:
            return run.promised[task]
        group = run.group.get(task)
        if group is not None:
            other = run.group_pins[group]
            if other:
                node = self.by_name.get(other)
                return node.peer if node else NOBODY
            if group in run.group_node:
                return run.group_node[group]
        if run.is_serializer(task):
            home = run.node[run.inputs_of(task)[0]]
            there = self.nodes.get(home)
            return None if there is not None and (there.leaves or there.fault) else home
        return self._home(run, task) if run.followed else None

    def _home(self, run: Run, task: int) -> int | None:
        """Where the plan that it follows has it, as long as that node is there."""
        peer = run.followed.get(task)
        return peer if peer in self.nodes else None

    def can_run(self, run: Run, task: int, node: Node) -> bool:
        """Whether the node, when it ran nothing else, could run it, and whatever must follow it there."""
        shapes = run.group_shapes[run.group[task]] if task in run.group else (run.shapes[run.kind[task]],)
        return all(node.can_run(shape) for shape in shapes)

    def cluster_room(self, shape: Shape, alternative: int = 0) -> int:
        """How many more tasks of this shape the amounts that the whole cluster shares allow now."""
        return self.cluster.room(shape, alternative)

    # ── planning ────────────────────────────────────────────────────────────

    def plan(self, now: float, run: Run, task: int, node: Node, held: bool, there: float = 0.0, alternative: int = 0,
             usual: float | None = None) -> None:
        """Give this task to this node, at this one of its costs; its inputs are `there` then, and it takes so many `usual` seconds."""
        peer = node.peer
        shape = run.shapes[run.kind[task]]
        run.state[task] = HELD if held else AHEAD
        attempt = run.attempt[task] = run.attempt[task] + 1
        run.node[task] = peer
        run.given_at[task] = now - run.submitted
        run.planned += 1
        if run.quota is not None:
            run.quota.add(peer, 1, 1)
        need = shape.needs[alternative]
        share = node.widths.get(need)
        if share is None:
            share = node.width(need)
        if alternative:
            run.choices[task] = alternative
        if shape.spread:
            on = run.spreads[shape.spread]
            on[peer] = on.get(peer, 0) + 1
        if shape.cluster:
            self.cluster.take(shape.cluster[alternative])
        if usual is None:
            usual = self.foresight.seconds(run, task, shape)
        if held:
            seconds = usual / node.speed
            early = node.take(shape, 1, True, alternative)
            end = node.book(seconds, share, there if there > now else now)
            node.holding[run.run, task] = (end - seconds, shape, seconds, need, early)
            run.started[task] = end - run.submitted
        else:   # as node.take does it
            seconds = (usual + OVERHEAD_SECONDS) / node.speed
            if not node.planned:
                node.moved_at = now
            node.planned += 1
            shape.ahead += 1
            shape.stake.planned += 1
            shape.stake.moved[shape.account] = None
            node.ahead[shape] = node.ahead.get(shape, 0) + 1
            node.backlog += seconds * node.share(need) if run.told else node.units.get(shape) or node.unit(shape, self.estimates)
            there = max(there, now)
            end = node.book(seconds, share, there)
            node.queue[run.run, task] = (seconds, share, there + run.early if there > now else 0.0, end - seconds, run)
            run.started[task] = end - run.submitted + run.early
            if run.told and run.told[task] >= 0.0:
                node.note_told(run, task, seconds, share, 1)
        if run.linked:
            where = run.node
            for each in run.inputs[run.starts[task] : run.starts[task + 1]]:
                if where[each] != peer:
                    others = run.copies.setdefault(each, [])
                    if peer not in others and run.ran.get(each) != peer:    # who made an output keeps it, wherever others take it from
                        others.append(peer)
                        nbytes = run.nbytes[each] or (run.told_bytes[each] if run.told_bytes else 0)
                        if nbytes > self.rates.large:
                            relays.join(self, run, each, peer, nbytes, now)
            if run.trees:
                relays.planned(run, task, peer)
            unplanned, state = run.unplanned, run.state
            for each in run.consumers[run.consumer_starts[task] : run.consumer_starts[task + 1]]:
                if state[each] >= DONE:
                    continue    # it is made again for others
                unplanned[each] -= 1
                if not unplanned[each] and state[each] == WAITING:
                    self.consider(run, each)
                elif attempt > 1 and AHEAD <= state[each] <= HELD:
                    relays.send_on(self, run, task, each)
        if not run.plain:
            if task in run.group:
                run.group_node.setdefault(run.group[task], peer)
            if run.is_object(task):
                self.out.upload(run, task)
        run.topped_up = now
        self.out.plan(node, run, (task,))

    def plan_block(self, now: float, run: Run, tasks: Sequence[int], node: Node, held: bool, more: int | None = None) -> None:
        """Give many equal tasks to this node. They are in its order, all ready, and take nothing, or all the same small results.

        `more`: where the run may have only so many at once, how many of them may execute beside what does so there; all, if not said.
        """
        count, peer = len(tasks), node.peer
        run.topped_up = now
        shape = run.shapes[run.kind[tasks[0]]]
        state, attempt, where, new = run.state, run.attempt, run.node, HELD if held else AHEAD
        first, end = tasks[0], tasks[0] + count
        if count > 1 and tasks[-1] == end - 1 and tasks == list(range(first, end)):   # one piece of the table
            state[first:end] = bytes((new,)) * count
            where[first:end] = array("I", (peer,)) * count
            attempt[first:end] = array("I", [each + 1 for each in attempt[first:end]])
            run.given_at[first:end] = array("f", (now - run.submitted,)) * count
        else:
            for task in tasks:
                state[task] = new
                where[task] = peer
                attempt[task] += 1
                run.given_at[task] = now - run.submitted
        run.planned += count
        if run.quota is not None:
            run.quota.add(peer, count, count if more is None else more)
        if not node.planned:
            node.moved_at = now
        if shape.cluster:
            self.cluster.take(shape.cluster[0], count)
        node.take(shape, count, held)
        if held:
            for task in tasks:
                seconds = self.foresight.seconds(run, task, shape) / node.speed
                node.holding[run.run, task] = (now, shape, seconds, shape.need, False)
                run.started[task] = node.book(seconds, node.width(shape.need), now) - run.submitted
        else:
            stream = count * node.unit(shape, self.estimates)
            node.backlog += stream
            node.lanes[:] = [max(now, free) + stream for free in node.lanes]
            if run.linked:
                until = node.lanes[-1] - run.submitted + run.early
                for task in tasks:
                    run.started[task] = until
        if run.linked:
            unplanned, starts, consumers = run.unplanned, run.consumer_starts, run.consumers
            for each in run.inputs_of(first):
                if where[each] != peer and peer not in (others := run.copies.setdefault(each, [])) and run.ran.get(each) != peer:
                    others.append(peer)
            for task in tasks:
                for each in consumers[starts[task] : starts[task + 1]]:
                    if state[each] >= DONE:
                        continue
                    unplanned[each] -= 1
                    if not unplanned[each] and state[each] == WAITING:
                        self.consider(run, each)
                    elif attempt[task] > 1 and AHEAD <= state[each] <= HELD:
                        relays.send_on(self, run, task, each)
        self.out.plan(node, run, tasks)

    # ── taking back ─────────────────────────────────────────────────────────

    def unplan(self, run: Run, task: int) -> None:
        """It is no longer with its node, and not done; its planned dependents stay where they are and will be redirected."""
        held = run.state[task] == HELD
        if run.trees:
            relays.left(self, run, task, run.node[task])
        self.book_off(run, task, held)
        run.unplace(task)
        for each in run.consumers_of(task):
            if run.state[each] >= DONE:
                continue
            run.unplanned[each] += 1
            if run.state[each] == READY:
                run.state[each] = WAITING   # what lies in the queue is skipped there
            elif AHEAD <= run.state[each] <= HELD:
                self.stranded[run.run, each] = None

    def take_back(self, run: Run, task: int) -> None:
        """It is to be planned anew at once; what its node may have started of it counts for limits until its end is heard."""
        if task in run.twins:
            twins.promote(self, run, task)
            return
        peer, shape = run.node[task], run.shapes[run.kind[task]]
        counted = shape.cluster[run.choices.get(task, 0)] if shape.cluster else ()
        self.out.recall(peer, run, (task,))
        is_there = peer in self.nodes
        if run.quota is not None and is_there:
            self.lay_ghost(run, peer, task)
            run.quota.keep(peer)
        self.unplan(run, task)
        if (run.quota is not None or counted) and is_there:
            self.lay_ghost(run, peer, task)
            run.ghosts[peer, task] = counted
            self.cluster.take(counted)

    def lay_ghost(self, run: Run, peer: int, task: int) -> bool:
        """What was taken back from that node has ended there, or the node is gone; whether there was such a thing."""
        counted = run.ghosts.pop((peer, task), None)
        if counted is not None and run.quota is not None:
            run.quota.remove(peer)
        if counted:
            self.cluster.give(counted)
            self.is_changed = True
        return counted is not None

    def book_off(self, run: Run, task: int, held: bool) -> None:
        """Its node has it no more."""
        node, shape = self.nodes.get(run.node[task]), run.shapes[run.kind[task]]
        alternative = run.choices.pop(task, 0) if run.choices else 0
        run.planned -= 1
        if run.kept_back:
            self.ready.look_again(run)
        if run.quota is not None:
            run.quota.remove(run.node[task])
        if shape.cluster:
            self.cluster.give(shape.cluster[alternative])
        if node is not None:
            node.give(shape, 1, held, alternative)
            if held:
                del node.holding[run.run, task]
            else:
                node.unqueue(run, task)
        if run.run in self.memory.promised or run.run in self.memory.freeing:
            self.memory.settle(run, task, 0, False)

    def release_all(self, run: Run, task: int) -> None:
        """Every node that holds this result may drop it."""
        run.trees.pop(task, None)
        self.out.release(run.node[task], run.run, task)
        for peer in run.copies.pop(task, ()):
            self.out.release(peer, run.run, task)
