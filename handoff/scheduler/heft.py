"""The classic static schedule: everything is decided when a run begins, by what is known of durations then. For comparison, and for runs
whose durations are known.

Source: H. Topcuoglu, S. Hariri, M. Wu, "Performance-effective and low-complexity task scheduling for heterogeneous computing", IEEE TPDS
13(3), 2002: tasks by upward rank, each inserted where it would finish first, transfers as long as if the network were theirs alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from handoff.ids import NOBODY
from handoff.scheduler.allocator import Desk
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import Run


class Heft:
    """Follows the plan that it made for each run. When a node of it is gone, the tasks planned there go where they fit first."""

    plans_all = True     # wants every task whose inputs are planned: its nodes know all from the start

    def __init__(self) -> None:
        self._plans: dict[int, list[int]] = {}

    def allocate(self, now: float, desk: Desk) -> None:
        """Place all that may be planned, where the plan says."""
        ledger = desk.ledger
        if not desk.nodes:
            return
        for number in [number for number in self._plans if number not in ledger.runs]:
            del self._plans[number]
        while (shape := desk.next_shape()) is not None:
            aside = []
            while (head := desk.head(shape)) is not None and not desk.is_full(head[0]):
                run, task = head
                plan = self._plans.get(run.run)
                if plan is None:
                    plan = self._plans[run.run] = schedule(ledger, run, desk.nodes, now)
                node = self._node(desk, run, task, plan)
                alternative = None if node is None else desk.choice(shape, node, is_waiting=True)
                if node is None or alternative is None:
                    aside.append(shape.pop())
                    continue
                shape.pop()
                ledger.plan(now, run, task, node, held=False, alternative=alternative)
            shape.put_back(aside)

    @staticmethod
    def _node(desk: Desk, run: Run, task: int, plan: list[int]) -> Node | None:
        ledger = desk.ledger
        if not desk.settle_consumer(run, task):
            return None
        allowed = ledger.allowed(run, task)
        node = ledger.nodes.get(plan[task] if allowed is None else allowed)
        shunned = run.avoid.get(task, ())
        is_fit = node is not None and node.state == "ready" and ledger.can_run(run, task, node)
        if is_fit and node is not None and (allowed is not None or node.peer not in shunned):
            return node
        if allowed is not None:
            return None
        able = [each for each in desk.nodes_for(run.shapes[run.kind[task]]) if ledger.can_run(run, task, each)]
        able = [each for each in able if each.peer not in shunned] or able
        return min(able, key=lambda each: (each.backlog, each.planned, each.peer)) if able else None


class Profile:
    """What is free on one node over time, in steps: a task is inserted into the first gap that holds it."""

    def __init__(self, node: Node) -> None:
        self.names = [name for name, _ in sorted(node.capacity.items())]
        self.times = [0.0]
        self.free = [[node.capacity[name] for name in self.names]]

    def first(self, need: list[int], ready: float, seconds: float) -> float:
        """The earliest start from `ready` on at which so much is free for so long."""
        times, free = self.times, self.free
        place = bisect_right(times, ready) - 1
        start, end = ready, ready + seconds
        while True:
            if any(has < wants for has, wants in zip(free[place], need, strict=True)):
                place += 1
                start = times[place]     # the last step is everything: it always fits in the end
                end = start + seconds
                continue
            after = place + 1
            while after < len(times) and times[after] < end:
                if any(has < wants for has, wants in zip(free[after], need, strict=True)):
                    break
                after += 1
            else:
                return start
            place = after

    def take(self, need: list[int], start: float, end: float) -> None:
        """It is taken from then until then."""
        first, last = self._step(start), self._step(end)
        for place in range(first, last):
            self.free[place] = [has - wants for has, wants in zip(self.free[place], need, strict=True)]

    def _step(self, at: float) -> int:
        place = bisect_left(self.times, at)
        if place == len(self.times) or self.times[place] != at:
            self.times.insert(place, at)
            self.free.insert(place, list(self.free[place - 1]))
        return place


def schedule(ledger: Ledger, run: Run, nodes: list[Node], now: float) -> list[int]:
    """Per task, the peer of its node; NOBODY where none could hold it."""
    profiles = {node.peer: Profile(node) for node in nodes}
    ends = [0.0] * run.total
    chosen: list[int] = [NOBODY] * run.total
    rank = run.rank if run.rank else [ledger.foresight.seconds(run, task, run.shapes[run.kind[task]]) for task in range(run.total)]
    for task in sorted(range(run.total), key=lambda each: (-rank[each], each)):
        shape = run.shapes[run.kind[task]]
        seconds = ledger.foresight.seconds(run, task, shape)
        allowed = ledger.allowed(run, task)
        best: tuple[float, float, Node, list[int]] | None = None
        for node in nodes:
            if not ledger.can_run(run, task, node) or (shape.node and node.name != shape.node) or allowed not in (None, node.peer):
                continue
            ready = 0.0
            for each in run.inputs_of(task):
                there = ends[each]
                if chosen[each] != node.peer:
                    there += 2 * ledger.foresight.latency + ledger.foresight.nbytes(run, each) / ledger.rates.of(chosen[each], node.peer)
                ready = max(ready, there)
            wanted = dict(next(need for need in shape.needs if node.can_hold(need)))
            profile = profiles[node.peer]
            need = [wanted.get(name, 0) for name in profile.names]
            start = profile.first(need, ready, seconds / node.speed)
            if best is None or start + seconds / node.speed < best[1]:
                best = (start, start + seconds / node.speed, node, need)
        if best is not None:
            start, end, node, need = best
            profiles[node.peer].take(need, start, end)
            chosen[task], ends[task] = node.peer, end
            if task in run.group:
                run.group_node.setdefault(run.group[task], node.peer)
    return chosen
