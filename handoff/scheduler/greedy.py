"""The default allocator: the most urgent task goes where it would finish first, long ones late, short ones ahead and in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from handoff.resources import Amounts
from handoff.scheduler.allocator import Desk
from handoff.scheduler.choices import serve_choices
from handoff.scheduler.ledger import STEADY_RUNS
from handoff.scheduler.nodes import OVERHEAD_SECONDS, Node
from handoff.scheduler.ready import LOW, Shape
from handoff.scheduler.runs import DONE, READY, WAITING, Run
from handoff.scheduler.shares import share_out

BETA = 2.0               # what a transfer costs the others on the same links, in transfers
SCARCITY = 0.5           # what it costs to leave a scarce resource of a node unused
PATIENCE = 64            # tasks of a shape that may wait for a certain node before the rest of the shape is not looked at
HOLDERS_MAX = 3          # nodes that hold inputs and are looked at, those with the most bytes first
INPUTS_MAX = 16          # inputs that are looked at for it
TURN = 16                # tasks that a shape may place before a more urgent one is looked at
STARVED_SECONDS = 1.0    # a task that has not found room for so long gets a node cleared for it
LOWEST_AGAIN = 32        # chain links placed before the least backlog of all nodes is looked up again
UNKNOWN_AHEAD = 2        # tasks of a function never seen that a node gets beyond its room, when work is short in general


class Greedy:
    """Keeps nothing between passes but scratch space."""

    def __init__(self) -> None:
        self._open: dict[int, list[tuple[float, int, Node]]] = {}         # per shape: nodes with room, the emptiest first
        self._least: dict[int, tuple[float, Node]] = {}                   # per shape: the node with the least backlog, and how much it was
        self._booked: dict[int, list[tuple[float, Amounts]]] = {}         # waits decided in this pass, per node
        self._penalties: dict[tuple[int, int], float] = {}
        self._lowest = 0.0                                                # the least backlog of any node, not long ago

    def allocate(self, now: float, desk: Desk) -> None:
        """Serve the shapes in order of urgency until nothing more has room."""
        self._open.clear()
        self._least.clear()
        self._booked.clear()
        self._penalties.clear()
        self._lowest = min((node.backlog for node in desk.nodes), default=0.0)
        while (shape := desk.next_shape()) is not None:
            if self._serve(now, desk, shape):
                desk.ledger.ready.again(shape)

    def _serve(self, now: float, desk: Desk, shape: Shape) -> bool:
        """Place what can be placed of it; True when it is to be offered again after more urgent ones."""
        if len(shape.needs) > 1:
            serve_choices(now, desk, shape)
            return False
        nodes = desk.nodes_for(shape)
        aside: list[int] = []
        bound = desk.next_rank(shape)
        placed, again = 0, False
        ledger = desk.ledger
        is_chain = ledger.is_short(shape) and not shape.node and not shape.where and not desk.reserved
        count = shape.function.count
        horizon, hop = ledger.horizon * count / (count + STEADY_RUNS), ledger.settings.round_trip_seconds / 2
        while nodes and len(aside) < PATIENCE and (head := desk.head(shape)) is not None:
            run, task = head
            if (run.max_concurrency and run.room() <= 0) or (shape.cluster and ledger.cluster_room(shape) <= 0):
                break
            if placed >= TURN and bound is not None and shape.head() >> 64 > bound:
                again = True
                break
            if run.plain and not run.fan_in[task] and task not in run.avoid:
                count = self._spread(desk, run, shape, nodes, bound)
                placed += count
                if not count:
                    break
                continue
            if is_chain and run.fan_in[task] == 1 and run.plain and not run.avoid:
                # The next link of a chain, the usual case: it stays where its input is, unless another node has much less to do.
                source = run.inputs[run.starts[task]]
                near = ledger.nodes.get(run.node[source])
                if near is not None and near.backlog < horizon and near.state == "ready" and near.has_room(shape.need):
                    there = run.started[source] + run.submitted - now if run.missing[task] else 0.0
                    if near.backlog <= max(there, self._lowest) + hop:
                        shape.pop()
                        ledger.plan(now, run, task, near, held=False)
                        placed += 1
                        if not placed % LOWEST_AGAIN:
                            self._lowest = min([node.backlog for node in desk.nodes])
                        continue
            key = shape.pop()
            if self._place(desk, run, task, shape, nodes):
                placed += 1
            else:
                aside.append(key)
        for key in aside:
            heappush(shape.heap, key)
        if not len(shape):
            shape.listed = False
        if placed or not len(shape):
            shape.blocked_since = None
            ledger.cluster.served(shape)
        elif shape.blocked_since is None:
            shape.blocked_since = now
        elif shape.cluster and now - shape.blocked_since > STARVED_SECONDS and ledger.cluster_room(shape) <= 0:
            ledger.cluster.keep(shape)
        elif nodes and now - shape.blocked_since > STARVED_SECONDS and not any(node.has_room(shape.need) for node in nodes):
            # Small tasks would take every gap for ever: the node that is free first takes nothing else until this one has run.
            first = min(nodes, key=lambda node: (node.room_at(shape.need, now, desk.ledger.estimates), node.peer))
            desk.reserved.setdefault(first.peer, shape)
        return again

    # ── many equal tasks without inputs: in blocks ──────────────────────────

    def _spread(self, desk: Desk, run: Run, shape: Shape, nodes: Sequence[Node], bound: int | None) -> int:
        """Share the head of the queue out over the nodes, so that they are done at about the same time; how many were placed."""
        now, ledger, need = desk.now, desk.ledger, shape.need
        function = shape.function
        is_short = ledger.is_short(shape)
        nodes = desk.nodes_with_room(shape, nodes)
        levels, units, rooms, slots = [], [], [], []
        if is_short:
            horizon = ledger.horizon * function.count / (function.count + STEADY_RUNS)
            each = function.seconds + OVERHEAD_SECONDS
            for node in nodes:
                unit = each * node.share(need) / node.speed
                levels.append(node.backlog)
                units.append(unit)
                rooms.append(int((horizon - node.backlog) / unit) + 1 if node.backlog < horizon else 0)
        else:
            all_short = ledger.estimates.all.count and ledger.estimates.all.seconds <= ledger.short
            extra = UNKNOWN_AHEAD if not function.count and all_short else 0
            for node in nodes:
                share = node.share(need)
                fit = node.slots(need)
                slots.append(fit)
                load = max((node.committed[name] / node.capacity[name] for name, _ in need), default=0.0)
                levels.append(load + node.backlog / ledger.horizon + self._penalty(desk, node, shape) - node.speed)
                units.append(share)
                rooms.append(max(0, fit + extra - node.ahead.get(shape, 0)))
        wanted = min(len(shape), sum(rooms))
        if run.max_concurrency:
            wanted = min(wanted, run.room())
        if shape.cluster:
            wanted = min(wanted, ledger.cluster_room(shape))
        if wanted <= 0:
            return 0
        tasks = self._take_block(run, shape, wanted, bound)
        counts = share_out(len(tasks), levels, units, rooms)
        at = 0
        for index, count in enumerate(counts):
            if not count:
                continue
            part = tasks[at : at + count]
            at += count
            if is_short:
                ledger.plan_block(now, run, part, nodes[index], held=False)
                continue
            here = min(count, slots[index])
            if here:
                ledger.plan_block(now, run, part[:here], nodes[index], held=True)
            if here < count:
                ledger.plan_block(now, run, part[here:], nodes[index], held=False)
        return len(tasks)

    @staticmethod
    def _take_block(run: Run, shape: Shape, wanted: int, bound: int | None) -> list[int]:
        """The next tasks of this run in this shape, all ready and without inputs; at least the one at the head."""
        keys = shape.pop_many(wanted)
        state, number = run.state, run.run
        last = keys[-1]
        if not run.linked and not run.avoid and last - keys[0] == len(keys) - 1 and (bound is None or last >> 64 <= bound):
            first = keys[0] & LOW
            if last >> 32 == keys[0] >> 32 and state[first : first + len(keys)] == bytes((READY,)) * len(keys) and len(run.shapes) == 1:
                return list(range(first, first + len(keys)))   # the usual case of many: one piece of the table, nothing stale
        tasks: list[int] = []
        before = -1
        for place, key in enumerate(keys):
            task = key & LOW
            if key >> 32 & LOW != number or (bound is not None and place >= TURN and key >> 64 > bound):
                shape.put_back(keys[place:])
                break
            if state[task] != READY or key == before or run.shapes[run.kind[task]] is not shape:
                continue
            if run.fan_in[task] or task in run.avoid:
                shape.put_back(keys[place:])
                break
            before = key
            tasks.append(task)
        return tasks

    # ── one task, with regard to where its inputs are ───────────────────────

    def _place(self, desk: Desk, run: Run, task: int, shape: Shape, nodes: Sequence[Node]) -> bool:
        """Place it; False when it had better wait."""
        now, ledger = desk.now, desk.ledger
        if not run.plain and not desk.settle_consumer(run, task):
            return False
        waits = run.linked and run.missing[task] > 0
        is_short = ledger.is_short(shape)
        if waits and (run.max_concurrency or (not is_short and shape.function.count)):
            run.state[task] = WAITING       # it turned out to be long since it was queued: it comes back when its inputs exist
            return True
        allowed = ledger.allowed(run, task)
        shunned = run.avoid.get(task)
        candidates = nodes
        if allowed is not None:
            only = ledger.nodes.get(allowed)
            if only is None or only.state != "ready" or not only.matches(shape.where):
                return False
            candidates = (only,)
        elif not run.plain or shunned:
            candidates = [node for node in nodes if ledger.can_run(run, task, node)]
            candidates = [node for node in candidates if not shunned or node.peer not in shunned] or candidates
            if not candidates:
                return False
        if not run.plain and run.is_object(task):
            node = self._home_of_object(desk, run, task, candidates)
            ledger.plan(now, run, task, node, held=True)
            return True
        choose = self._ahead if is_short or waits else self._late
        chosen = choose(desk, run, task, shape, candidates)
        if chosen is not None:
            ledger.plan(now, run, task, chosen, held=not (is_short or waits))
            return True
        if run.attempt[task] and run.blocks_planned(task):
            # Tasks that are planned already wait for it, maybe those that take up all the room: it must not wait for them.
            ledger.plan(now, run, task, min(candidates, key=lambda node: (node.backlog, node.planned, node.peer)), held=False)
            return True
        return False

    def _ahead(self, desk: Desk, run: Run, task: int, shape: Shape, candidates: Sequence[Node]) -> Node | None:
        """Where a short task would be done first; None when every node has enough work for now."""
        now, ledger, need = desk.now, desk.ledger, shape.need
        is_short, count = ledger.is_short(shape), shape.function.count
        there = 0.0            # when its inputs should be there
        waits = run.linked and run.missing[task] > 0
        if waits:
            ends = [run.started[each] for each in run.inputs_of(task) if run.state[each] != DONE]
            there = max(ends) + run.submitted - now
        horizon = ledger.horizon * count / (count + STEADY_RUNS) if count else ledger.horizon
        nbytes, total = self._bytes_by_node(desk, run, task)
        round_trip = ledger.settings.round_trip_seconds
        rate = (1.0 + BETA) / ledger.settings.bandwidth_bytes_per_second
        seconds = ledger.estimates.seconds(shape.function)
        best, best_score = None, 0.0
        for node in self._worth_a_look(desk, shape, candidates, nbytes):
            away = total - nbytes.get(node.peer, 0.0)
            is_home = away < 0.5
            # Beside inputs that are still being made, room is not asked for: it will be theirs when they are done.
            if node.backlog >= horizon or not (node.has_room(need) or (is_home and waits)):
                continue
            if not is_short and (not is_home or node.planned - len(node.holding) >= int(1.0 / (node.share(need) or 1.0)) + UNKNOWN_AHEAD):
                continue
            score = max(node.backlog, there) + seconds / node.speed
            if not is_home:
                score = max(score, there + round_trip / 2 + seconds / node.speed) + round_trip / 2 + away * rate
            if best is None or score < best_score:
                best, best_score = node, score
        return best

    def _worth_a_look(self, desk: Desk, shape: Shape, candidates: Sequence[Node], nbytes: dict[int, float]) -> list[Node]:
        """The nodes that hold most of the inputs, and the one with the least to do."""
        if len(candidates) <= HOLDERS_MAX:
            return list(candidates)
        known = self._least.get(shape.number)
        if known is None or known[1].backlog > known[0] + desk.ledger.settings.round_trip_seconds / 2 or not known[1].has_room(shape.need):
            able = [node for node in candidates if node.has_room(shape.need)] or candidates
            least = min(able, key=lambda node: node.backlog)
            known = self._least[shape.number] = (least.backlog, least)
        found = self._holders(desk, shape, candidates, nbytes)
        if known[1] not in found:
            found.append(known[1])
        return found

    @staticmethod
    def _holders(desk: Desk, shape: Shape, candidates: Sequence[Node], nbytes: dict[int, float]) -> list[Node]:
        nodes = desk.ledger.nodes
        peers = sorted(nbytes, key=lambda peer: (-nbytes[peer], peer))[:HOLDERS_MAX] if len(nbytes) > 1 else list(nbytes)
        return [
            node for peer in peers
            if (node := nodes.get(peer)) is not None and node in candidates]

    def _late(self, desk: Desk, run: Run, task: int, shape: Shape, candidates: Sequence[Node]) -> Node | None:
        """Where a long task would be done first, if that node has room for it now; None when waiting is better, or there is no room."""
        now, ledger, need = desk.now, desk.ledger, shape.need
        nbytes, total = self._bytes_by_node(desk, run, task)
        rate = 1.0 / ledger.settings.bandwidth_bytes_per_second
        seconds = ledger.estimates.seconds(shape.function)
        open_node = self._emptiest(desk, shape, candidates)
        looked_at = self._holders(desk, shape, candidates, nbytes) if nbytes else []
        if open_node is not None and open_node not in looked_at:
            looked_at.append(open_node)
        fastest = max(candidates, key=lambda node: node.speed) if shape.function.count and len(candidates) <= PATIENCE else None
        if fastest is not None and fastest not in looked_at and (open_node is None or fastest.speed > 1.25 * open_node.speed):
            looked_at.append(fastest)
        best, best_score, best_start = None, 0.0, now
        for node in looked_at:
            start = now
            if not node.has_room(need):
                start = node.room_at(need, now, ledger.estimates, self._booked.get(node.peer, ()))
            transfer = (total - nbytes.get(node.peer, 0.0)) * rate
            score = start + node.backlog + seconds / node.speed * self._penalty(desk, node, shape) + (1.0 + BETA) * transfer
            if best is None or score < best_score or (score == best_score and start < best_start):
                best, best_score, best_start = node, score, start
        if best is None:
            return None
        if best.has_room(need):
            return best
        # It waits for that node: the next one that thinks of waiting there sees it.
        self._booked.setdefault(best.peer, []).append((best_start + seconds / best.speed, need))
        return None

    def _emptiest(self, desk: Desk, shape: Shape, candidates: Sequence[Node]) -> Node | None:
        """The node with the most room for this; nodes without room are not asked twice in a pass."""
        need = shape.need
        if candidates is not desk.nodes_for(shape):
            able = [node for node in candidates if node.has_room(need)]
            return min(able, key=lambda node: (self._load(desk, node, shape), node.peer)) if able else None
        heap = self._open.get(shape.number)
        if heap is None:
            able = desk.nodes_with_room(shape, candidates)
            heap = self._open[shape.number] = [(self._load(desk, node, shape), node.peer, node) for node in able]
            heapify(heap)
        while heap:
            load, peer, node = heap[0]
            if node.has_room(need):
                now = self._load(desk, node, shape)
                if now <= load:
                    return node
                heappop(heap)
                heappush(heap, (now, peer, node))
            else:
                heappop(heap)
        return None

    def _load(self, desk: Desk, node: Node, shape: Shape) -> float:
        used = max((node.committed[name] / node.capacity[name] for name, _ in shape.need), default=0.0)
        return used + node.backlog / desk.ledger.horizon + self._penalty(desk, node, shape) - node.speed

    def _penalty(self, desk: Desk, node: Node, shape: Shape) -> float:
        """Above 1 for a node whose scarce resources the task would leave unused."""
        known = self._penalties.get((node.peer, shape.number))
        if known is None:
            used = {name for name, _ in shape.need}
            known = 1.0
            for name, amount in node.capacity.items():
                if name and name not in used and name not in ("cpu", "memory"):
                    known += SCARCITY * amount / max(1, desk.offered_by_all(name))
            self._penalties[node.peer, shape.number] = known
        return known

    @staticmethod
    def _bytes_by_node(desk: Desk, run: Run, task: int) -> tuple[dict[int, float], float]:
        """How many bytes of its inputs each node holds or will hold; and all of them."""
        found: dict[int, float] = {}
        if not run.linked:
            return found, 0.0
        total = 0.0
        state, where, copies = run.state, run.node, run.copies
        for each in run.inputs[run.starts[task] : min(run.starts[task + 1], run.starts[task] + INPUTS_MAX)]:
            if state[each] == DONE:
                size = run.nbytes[each] + 1.0
            else:
                size = desk.ledger.estimates.nbytes(run.shapes[run.kind[each]].function) + 1.0
            total += size
            peer = where[each]
            found[peer] = found.get(peer, 0.0) + size
            if copies and each in copies:
                for peer in copies[each]:
                    found[peer] = found.get(peer, 0.0) + size
        return found, total

    @staticmethod
    def _home_of_object(desk: Desk, run: Run, task: int, candidates: Sequence[Node]) -> Node:
        """An object goes where its first consumer must run, else to the node with the least to do."""
        for consumer in run.consumers_of(task)[:1]:
            allowed = desk.ledger.allowed(run, consumer)
            for node in candidates:
                if node.peer == allowed:
                    return node
        return min(candidates, key=lambda node: (node.backlog, node.planned, node.peer))
