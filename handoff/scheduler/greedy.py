"""The default allocator: the most urgent task goes where it would finish first, long ones late, short ones ahead and in blocks.

After the earliest-finish-time rule of H. Topcuoglu, S. Hariri, M. Wu, "Performance-effective and low-complexity task scheduling for
heterogeneous computing", IEEE TPDS 13(3), 2002, but decided while the run goes on: what would have to wait for a busy node waits here.
"""

from __future__ import annotations

from functools import partial
from heapq import heappush
from math import inf

from handoff.scheduler import blocks, chains, following, homes, rows, starvation
from handoff.scheduler.allocator import Desk
from handoff.scheduler.blocks import UNKNOWN_AHEAD
from handoff.scheduler.bookings import Bookings
from handoff.scheduler.choices import serve_choices
from handoff.scheduler.groups import Eligible, Option, busy_rate, open_again, open_all
from handoff.scheduler.inputs import BETA, Inputs, fetch, inputs_of
from handoff.scheduler.leaning import leaning_of
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.queue import LOW
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import WAITING, Run
from handoff.scheduler.streams import Stream, stream_of
from handoff.scheduler.wishes import able_nodes, home_of_object, needs_room, wishes_nothing

PATIENCE = 64            # tasks that may wait for a certain node before the rest of a shape is looked at otherwise;
PATIENCE_MIN = 8         # so many of each shape in any case
TURN = 16                # short tasks that a shape may place before a more urgent one is looked at
HOLDERS_MAX = 3          # nodes that hold inputs and are looked at, those with the most bytes first ...
LITTLE = 0.1             # ... unless moving all would take less than this part of the task's time: then only the first
OTHERS_SECONDS = 0.05    # after which others of a crowd have their turn to be looked at, though nothing happened, while a core is free; ...
OTHERS_PART = 0.1        # ... or after this part of the time for which nothing was placed

PLACED, KEPT, FULL, GONE, BUSY = range(5)   # what became of a task: FULL if nobody has room for any like it, BUSY if all have enough to do


class Greedy:
    """Keeps nothing between passes but scratch space, and when it last placed something."""

    def __init__(self) -> None:
        self._kept = 0             # tasks that wait for a certain node, in this pass
        self._again = inf               # when the first of the busy nodes that are waited for while others have room should be free
        self._placed_at = 0.0
        self._left = 0                  # the highest priority of what was left without a place in this pass
        self._booked = Bookings()       # waits decided in this pass
        self._streams: dict[Shape, Stream] = {} # of each the last in this pass
        self._full: dict[Eligible, None] = {}   # of which no node has room in this pass: there may be a thousand runs that need the same

    def allocate(self, now: float, desk: Desk) -> None:
        """Serve the shapes in order of urgency until nothing more has room."""
        self._left, self._again = -(1 << 63), inf
        starvation.keep_for_starved(now, desk)
        self._serve_all(now, desk)
        while starvation.let_go(desk) or desk.gets_stuck():
            desk.ledger.ready.open(now, desk.portion)
            self._serve_all(now, desk)
        if desk.ledger.ready.is_cut and any(node.committed.get("cpu", 0) < node.capacity.get("cpu", 0) for node in desk.nodes):
            self._again = min(self._again, now + max(OTHERS_SECONDS, OTHERS_PART * (now - self._placed_at)))
        if self._again < desk.ledger.again_at:
            desk.ledger.again_at = max(self._again, now + desk.ledger.foresight.latency)
            desk.ledger.remind(desk.ledger.again_at, "again")

    def _serve_all(self, now: float, desk: Desk) -> None:
        for known in (self._booked, self._streams, self._full):
            known.clear()
        self._kept = 0
        while (shape := desk.next_shape()) is not None:
            if self._serve(now, desk, shape):
                desk.ledger.ready.again(shape)
        self._streams.clear()     # or a run that is over would be kept until something happens

    def _serve(self, now: float, desk: Desk, shape: Shape) -> bool:
        """Place what can be placed of it; True when it is to be offered again after more urgent ones."""
        if len(shape.needs) > 1:
            return serve_choices(now, desk, shape, self._booked)
        bound = desk.next_rank(shape)
        if shape.eligible in self._full and shape not in desk.favoured and self._waits_for_room(desk, shape, bound):
            starvation.watch(now, desk, shape, 0)
            return False
        ledger, options, placed, again = desk.ledger, desk.options_for(shape), 0, False
        aside: list[int] = []
        opened: list[Node | None] | None = None    # per option, a node with room; None: not known
        given: Node | None = None                  # to which the last one went since then
        stream, alone = self._streams.get(shape), 0    # that of the last one; so many of it go alone
        is_long = shape.function.count > 0 and shape.function.seconds > ledger.foresight.short    # no blocks, no fronts
        turn = 1 if is_long or ledger.following or not ledger.foresight.is_short(shape) else TURN
        while options and (head := desk.head(shape)) is not None:
            run, task = head
            is_full = (run.quota is not None and run.room() <= 0) or (shape.cluster and ledger.cluster_room(shape) <= 0)
            if is_full and not blocks.may_queue(ledger, run, task, shape, bound):
                break
            is_over = placed >= (turn if shape.is_tried else 1) and (
                (bound is not None and shape.head() >> 64 > bound) or (ledger.ready.is_contended and desk.is_behind(shape)))
            if is_over or (run.followed and following.stands_back(run, task)):
                shape.is_tried = again = True
                break
            if is_long and opened is None:
                opened, given = open_all(options, shape.need, desk.reserved, shape), None
                if not any(opened) and self._note_full(ledger, run, task, shape):
                    break
            if stream is None or stream.run is not run or run.followed or (run.avoid and not stream.is_avoiding):
                stream = stream_of(self._streams, ledger, run, shape)
            if stream.is_row and len(options) == 1 and not ledger.memory.taken and (count := rows.place(desk, stream, options[0], bound)):
                placed, opened = placed + count, None
                continue
            if stream.is_brief:
                if not run.fan_in[task] or blocks.takes_what_all_take(ledger, run, task, shape):
                    if blocks.is_worth_it(ledger, shape, bound):
                        alone -= alone > 0
                        opened, placed = None, placed + (count := blocks.spread(desk, run, shape, bound))
                        if not count:
                            if not desk.nodes_with_room(shape, desk.nodes_for(shape)):
                                self._full[shape.eligible] = None
                            break
                        continue
                elif not alone and shape.priority >= self._left:
                    if run.fan_in[task] == 1 and (count := chains.place(desk, run, task, shape, bound)):
                        placed, opened = placed + count, None
                        continue
                    if (run.fan_in[task] > 1 or run.is_due_link(task)) and homes.is_worth_it(ledger, run, shape):
                        count, alone, wait = homes.place(desk, run, shape, bound)
                        placed += count
                        aside += wait
                        if not (count or alone) or len(aside) >= max(PATIENCE - self._kept, PATIENCE_MIN):
                            break
                        opened = None if count else opened
                        continue
            alone -= alone > 0
            if opened is None:
                opened = open_all(options, shape.need, desk.reserved, shape)
            elif given is not None:
                opened = open_again(options, opened, given, shape.need, desk.reserved, shape)
            given = None
            if not any(opened) and self._note_full(ledger, run, task, shape):
                break
            key = shape.pop()
            is_in_turn = not run.followed or following.is_in_turn(now, ledger, run, task)
            became = self._place(now, desk, stream, task, options, opened) if is_in_turn else FULL
            if became == PLACED:
                placed, given = placed + 1, ledger.nodes[run.node[task]]
            elif became != GONE:
                aside.append(key)
                if run.followed and is_in_turn:
                    following.wait(now, ledger, run, task)
                if became == FULL or (became == BUSY and stream.is_plain and homes.fare_alike(run, shape)):
                    break
                if len(aside) >= max(PATIENCE - self._kept, PATIENCE_MIN):
                    self._spill(now, desk, shape, options)
                    break
        self._kept += len(aside)
        for key in aside:
            heappush(shape.heap, key)
            self._left = max(self._left, shape.priority)
        if placed:
            shape.is_tried, self._placed_at = True, now
        if not again and not len(shape):
            ledger.ready.run_out(shape)
        elif not placed and shape.crowd.is_mixed and desk.is_idle_for(shape):
            ledger.ready.pass_by(shape)
        starvation.watch(now, desk, shape, placed)
        return again

    # ── one task ────────────────────────────────────────────────────────────

    def _waits_for_room(self, desk: Desk, shape: Shape, bound: int | None) -> bool:
        """Whether nothing of it can be placed where no node has room: as `_serve` would find out."""
        head, ledger = desk.head(shape), desk.ledger
        if head is None:
            return False
        run, task = head
        if self._note_full(ledger, run, task, shape):
            return True
        return wishes_nothing(run, shape) and not run.fan_in[task] and blocks.is_worth_it(ledger, shape, bound)

    def _note_full(self, ledger: Ledger, run: Run, task: int, shape: Shape) -> bool:
        """Nobody has room for it; whether that is needed for any like it."""
        if not needs_room(ledger, run, task, shape):
            return False
        self._left = max(self._left, shape.priority)
        self._full[shape.eligible] = None
        return True

    def _place(self, now: float, desk: Desk, stream: Stream, task: int, options: list[Option], opened: list[Node | None]) -> int:
        """Place it, or say why not."""
        ledger, run, shape = desk.ledger, stream.run, stream.shape
        if not run.plain and not desk.settle_consumer(run, task):
            return KEPT
        waits = run.linked and run.missing[task] > 0
        reach = stream.reach if stream.reach is not None and not (waits and run.nearly) else ledger.foresight.reach(run, task, shape)
        if waits and (run.max_concurrency or (not reach and shape.function.count and not stream.is_short)):
            run.state[task] = WAITING       # it turned out to be long since it was queued: it comes back when its inputs exist
            return GONE
        inputs = stream.inputs(ledger, task, now)
        is_large = stream.is_large or (inputs is not None and inputs.total >= ledger.memory.large)
        only = None if stream.is_free and not is_large else able_nodes(desk, run, task, shape, inputs)
        if only is not None and stream.is_free and waits:
            return KEPT     # for want of memory: there may be some where its inputs will be, once they exist
        if only is not None and not only:
            return FULL if stream.is_free and inputs is None and not run.told_bytes else KEPT   # those like it make as much
        if not run.plain and run.is_object(task):
            able = only or desk.nodes_for(shape)
            if not able:
                return KEPT
            ledger.plan(now, run, task, home_of_object(desk, run, task, able), held=True)
            return PLACED
        seconds = stream.seconds(ledger, task, inputs, waits)
        if shape.priority < self._left:
            reach = 0.0                     # what is more urgent waits for room: nothing is bound to room that is not there yet
        if waits and not reach and shape.priority < self._left:
            became = KEPT
        elif (waits and not reach) or (reach and seconds <= ledger.foresight.short):
            became = self._ahead(now, desk, stream, task, options, only, inputs, reach, seconds)
        else:
            became = self._late(now, desk, stream, task, options, opened, only, inputs, reach, seconds)
        if became == PLACED:
            if is_large:
                ledger.memory.note(run, task, run.node[task], inputs)
            stream.placed(inputs, run.node[task])
        elif run.attempt[task] and run.blocks_planned(task):
            # Tasks that are planned already wait for it, maybe those that take up all the room: it must not wait for them.
            chosen = min(only or desk.nodes_for(shape), key=lambda node: (node.backlog, node.planned, node.peer), default=None)
            if chosen is not None:
                ledger.plan(now, run, task, chosen, held=False)
                return PLACED
        if became == FULL and only is not None and (not run.plain or task in run.avoid):
            return KEPT     # the few nodes that it may have are full: others of its kind may have more
        return became

    def _late(self, now: float, desk: Desk, stream: Stream, task: int, options: list[Option], opened: list[Node | None],
              only: list[Node] | None, inputs: Inputs | None, reach: float, seconds: float, ahead: float = 0.0) -> int:
        """Where a long task would be done first, if that node has room for it now; else it had better wait.

        `opened` are, per option, a node with room now; `ahead` seconds that a busy node still needs for more urgent tasks that wait here.
        """
        ledger, run, shape, need, booked = desk.ledger, stream.run, stream.shape, stream.shape.need, self._booked
        hearing = 0.0 if reach else ledger.foresight.round_trip     # what is not bound early starts when word of the room has come and gone
        behind = ahead + hearing
        lean = leaning_of(desk, run, task, shape, seconds) if stream.may_lean(ledger, seconds) else None
        best: Node | None = None
        best_score, best_start, has_room = inf, now, False
        is_heavy = inputs is not None and inputs.total > ledger.rates.large and bool(ledger.links.pairs)
        is_choosy = bool(ledger.memory.taken) and ledger.memory.leaves_choice(need, inputs, opened if only is None else only)
        if only is None:
            for at, option in enumerate(options):
                node = opened[at]
                spent = seconds / option.group.speed * option.penalty
                if node is not None:
                    has_room = True
                    if is_choosy and node.is_tight(need):
                        continue
                    if is_heavy and inputs is not None:
                        node = option.near_node(need, desk.reserved, shape, partial(inputs.when, ledger)) or node
                    if inputs is None and lean is None and len(options) == 1 and not node.queue:
                        option.turn(node, shape if shape.function.count or run.told else (), need)
                        ledger.plan(now, run, task, node, held=True, usual=seconds)
                        return PLACED
                    start = node.start_at(need, now) if node.queue else now
                elif stream.is_known:
                    node = option.group.least()
                    if node.lanes[0] + behind + spent >= best_score or desk.reserved.get(node.peer, shape) is not shape:
                        continue
                    start = booked.room_at(node, need, now) + behind
                else:
                    continue
                score = start + spent
                if score >= best_score:
                    continue
                if inputs is not None:
                    score = inputs.finish(ledger, node, start, spent)
                score += lean.against(node, spent) if lean is not None else 0.0
                if score < best_score:
                    best, best_score, best_start = node, score, start
        # The nodes that hold inputs: one is enough where moving all of them is nothing beside the task.
        is_little = inputs is not None and (1.0 + BETA) * inputs.total < LITTLE * seconds * ledger.rates.usual
        peers = ledger.memory.among(desk, run, task, inputs, lean.peers) if lean is not None else ()
        option_of, looked_at = shape.eligible.option_of, only
        if looked_at is None:
            looked_at = desk.holders(shape, inputs, peers, 1 if is_little else HOLDERS_MAX) if inputs is not None or peers else []
        for node in looked_at:
            if node is best:
                continue
            room = node.has_room(need)
            has_room |= room
            spent = seconds / node.speed * (1.0 if only is not None else option_of[node.group].penalty)
            if room and is_choosy and node.is_tight(need):
                continue
            if room:
                start = node.start_at(need, now) if node.queue else now
            elif node.lanes[0] + behind + spent >= best_score:
                continue
            else:
                start = booked.room_at(node, need, now) + behind
            score = start + spent
            if score >= best_score and lean is None:
                continue
            if inputs is not None:
                score = inputs.finish(ledger, node, start, spent)
            score += lean.against(node, spent) if lean is not None else 0.0
            if score < best_score:
                best, best_score, best_start = node, score, start
        if best is None:
            return FULL
        if lean and only is not None and (until := lean.waits_until(now, desk, run, task, shape, only, seconds, best_score)):
            self._again = min(self._again, until + 0.5 * seconds)
            return KEPT
        if run.linked and run.missing[task]:
            there = inputs.there if inputs is not None else now
            if there > now + reach:
                ledger.look_when_near(run, task, there, reach)
                return GONE
            best_start = max(best_start, there)
        if best_start <= now + reach or (best_start <= now + ledger.foresight.horizon and best.has_room(need)):
            if inputs is not None:
                fetch(ledger, best, inputs, now)
            if best.group in option_of:
                option_of[best.group].turn(best, shape if shape.function.count or run.told else (), need)
            ledger.plan(now, run, task, best, held=True, there=best_start, usual=seconds)
            return PLACED
        if has_room:    # it waits for that node, though others have room: the next one that thinks of waiting there sees it
            if not ahead:
                booked.add(best, best_start + seconds / best.speed, need)
            # If it takes longer, another one may be better.
            self._again = min(self._again, best_start + ledger.foresight.round_trip - hearing)
        return KEPT if has_room else FULL

    def _spill(self, now: float, desk: Desk, shape: Shape, options: list[Option]) -> None:
        """So many wait for better nodes that the last of them had better take what is free: begin with the least urgent."""
        ledger = desk.ledger
        rate = busy_rate(options, shape.need, desk.reserved, shape)
        while rate and len(shape):
            key = shape.pop_last()
            run, task = ledger.runs.get(key >> 32 & LOW), key & LOW
            if run is None or not desk.is_offered(run, task, shape):
                continue
            seconds = ledger.foresight.seconds(run, task, shape)
            ahead = len(shape) * seconds / rate
            is_tied = run.avoid or shape.spread or shape.node or run.max_concurrency or (run.linked and run.missing[task])
            opened = open_all(options, shape.need, desk.reserved, shape)
            inputs = inputs_of(ledger, run, task, now) if run.linked else None
            is_free = run.plain and not is_tied and not ledger.memory.concerns(run, shape, inputs)
            of = stream_of(self._streams, ledger, run, shape)
            if is_free and self._late(now, desk, of, task, options, opened, None, inputs, 0.0, seconds, ahead) == PLACED:
                continue
            heappush(shape.heap, key)
            return

    def _ahead(self, now: float, desk: Desk, stream: Stream, task: int, options: list[Option], only: list[Node] | None,
               inputs: Inputs | None, reach: float, seconds: float) -> int:
        """Where it would be done first, though inputs or room are still to come; it waits when every node has enough work for now."""
        ledger, run, shape, need, foresight = desk.ledger, stream.run, stream.shape, stream.shape.need, desk.ledger.foresight
        soon = max(now + foresight.latency, inputs.there if inputs is not None else now)
        limit = now + foresight.mark(now, run, shape, reach or foresight.horizon)
        waits = run.linked and run.missing[task] > 0
        is_link = waits and only is None and not run.told and stream.is_short
        if is_link and inputs is not None and len(inputs.bytes_on) == 1 and (inputs.there > limit or not reach) and (
            inputs.there <= now + foresight.mark(now, run, shape, foresight.horizon)
        ):
            # The next link of a chain stays where the chain is: to know that early costs nothing. So does one of several that has its turn.
            home = [node for node in desk.holders(shape, inputs) if inputs.is_all_on(node)]
            if not home:
                return KEPT
            if run.is_next_link(task) or home[0].ahead_at(shape, now, ledger.estimates) <= soon + foresight.round_trip:
                return self._ahead(now, desk, stream, task, options, home, inputs, foresight.horizon, seconds)
        if inputs is not None and inputs.there > limit and reach and only is None:
            ledger.look_when_near(run, task, inputs.there, limit - now)
            return GONE
        lean = leaning_of(desk, run, task, shape, seconds) if stream.may_lean(ledger, seconds) else None
        best: Node | None = None
        best_score, best_start, is_busy = inf, now, reach > 0.0 and only is None
        peers = ledger.memory.among(desk, run, task, inputs, lean.peers) if lean is not None and only is None else ()
        looked_at = only if only is not None else desk.holders(shape, inputs, peers)
        for option in options if only is None else ():
            looked_at += [node for node in option.soon_free(need, desk.reserved, shape, limit, reach > 0.0) if node not in looked_at]
        for node in looked_at:
            is_home = inputs is None or inputs.is_all_on(node)
            # Beside inputs that are still being made, room is not asked for: it will be theirs when they are done.
            has_room = node.has_room(need) or (is_home and waits)
            most = int(1.0 / (node.share(need) or 1.0)) + UNKNOWN_AHEAD
            if not reach and not (has_room and is_home and node.planned - len(node.holding) < most):
                continue
            start = node.ahead_at(shape, now, ledger.estimates) if node.queue or not node.has_room(need) else now
            is_busy &= start > limit
            if not has_room:
                start = max(start, self._booked.room_at(node, need, now))
            start = max(start, soon)
            spent = seconds / node.speed
            score = start + spent if is_home or inputs is None else inputs.finish(ledger, node, start, spent)
            score += lean.against(node, spent) if lean is not None else 0.0
            if score < best_score:
                best, best_score, best_start = node, score, start
        if best is None or best_start > limit:
            return FULL if inputs is None and only is None else BUSY if is_busy else KEPT
        if inputs is not None and not inputs.is_all_on(best):
            soon = max(soon, inputs.arrival(ledger, best)[0])
            fetch(ledger, best, inputs, now)
        ledger.plan(now, run, task, best, held=False, there=soon, usual=seconds)
        return PLACED
