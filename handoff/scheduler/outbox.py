"""What a pass has to say, gathered into as few messages as possible: one plan per node and run, columns for everything."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handoff.columns import Blobs, Body, floats, ints
from handoff.ids import NOBODY, PeerId, RunId
from handoff.machine import Close, Note, Send
from handoff.messages import (
    PRIORITY_WEIGHT,
    RANK_MAX,
    Abandon,
    Accepted,
    DropCode,
    Message,
    Peers,
    Placed,
    Plan,
    Recall,
    Redirect,
    Release,
    RunDone,
    Upload,
)
from handoff.program import Kind
from handoff.scheduler.codes import CodeStore
from handoff.scheduler.memory import Memory
from handoff.scheduler.nodes import SENT_SWEPT, Node
from handoff.scheduler.relays import relays_for
from handoff.scheduler.runs import Run

RELEASE_SECONDS = 0.02    # so long results are kept that nobody needs any more: most releases then go with the next plan;
RELEASES_MAX = 1024       # or until they are so many
GONE_MAX = 10_000         # dead nodes of which the names are known
LATER_SECONDS = 0.005     # so long may wait what nobody waits for: the words of several runs then wake their client once

# Columns of which most plans have nothing to say: made once, since a plan of one task is made in half the time without.
NONE = ints()
ONE = ints((0,))     # a copy of it is made in a third of the time that a new one takes
NO_LITERAL = Blobs(ints((0,)), b"")


class Outbox:
    """Effects, in the order in which they are to be performed."""

    def __init__(self, nodes: Mapping[int, Node], client_knows: Mapping[int, set[int]], codes: CodeStore, memory: Memory) -> None:
        self.memory = memory
        self.nodes = nodes                    # living ones
        self.client_knows = client_knows      # per client: the peers that it was told about
        self.codes = codes
        self.effects: list[Send | Close | Note] = []
        self.held: dict[PeerId, dict[RunId, list[Message]]] = {}  # per client and run: what nobody waits for
        self.say_at = float("inf")                # when that is said at the latest
        self.plans: dict[tuple[int, int], tuple[Run, list[int]]] = {}
        self.redirects: dict[tuple[int, int], dict[int, int]] = {}
        self.releases: dict[tuple[int, int], array[int]] = {}     # kept back for a moment: nobody waits for them
        self.full: dict[tuple[int, int], None] = {}                # those that are so many that they are said now
        self.release_at = float("inf")                             # when they are said at the latest
        self.recalls: dict[tuple[int, int], dict[int, int]] = {}   # per peer and run: tasks and their attempts
        self.abandons: dict[tuple[int, int], dict[int, int]] = {}  # likewise
        self.twins: list[tuple[Node, Run, int, int, int]] = []     # second attempts to be planned: the columns tell of the first
        self.uploads: dict[int, tuple[Run, list[int]]] = {}
        self.names: dict[int, tuple[str, tuple[str, int]]] = {}   # of every node, dead ones included: late peers may ask about them
        self.gone: dict[int, None] = {}           # those of them that are dead, in the order of their ends

    # ── saying something now ────────────────────────────────────────────────

    def send(self, peer: PeerId | int | None, message: Message) -> None:
        """Say this, in this order."""
        if peer is not None:
            if peer in self.held:
                self._say_held_for(PeerId(peer))
            self.effects.append(Send(PeerId(peer), message))

    def tell(self, run: Run, message: Message, at_once: bool = False) -> None:
        """Say this of a run to its client. Of a single call nobody waits for it: it comes before what else is said, or a little later.

        Most calls are over by then: that such a one has begun, where, and that it is done is one message.
        """
        if run.client is None or at_once or not run.values_only:
            self.send(run.client, message)
            return
        said = self.held.setdefault(run.client, {}).setdefault(run.run, [])
        match said:
            case [Accepted(token), Placed(_, nodes)] if isinstance(message, RunDone) and nodes == message.nodes:
                said[:] = [RunDone(message.run, nodes, message.bytes_moved, token)]
            case _:
                said.append(message)

    def _say_held(self) -> None:
        for peer in list(self.held):
            self._say_held_for(peer)
        self.say_at = float("inf")

    def _say_held_for(self, peer: PeerId) -> None:
        several = self.held.pop(peer)
        if peer in self.client_knows:   # else it is gone
            self.effects += [Send(peer, message) for messages in several.values() for message in messages]

    def close(self, peer: PeerId, reason: str) -> None:
        """Forget this peer."""
        self.effects.append(Close(peer, reason))

    def note(self, level: str, event: str, **fields: Any) -> None:
        """Have this written in the log."""
        self.effects.append(Note(level, event, tuple(fields.items())))

    # ── saying something at the end of the pass ─────────────────────────────

    def plan(self, node: Node, run: Run, tasks: Iterable[int]) -> None:
        """These go to that node."""
        key = node.peer, run.run
        entry = self.plans.get(key)
        if entry is None:
            self.plans[key] = (run, [*tasks])
        else:
            entry[1].extend(tasks)

    def redirect(self, peer: int, run: RunId, task: int, node: int) -> None:
        """That peer gets this result from another node now."""
        self.redirects.setdefault((peer, run), {})[task] = node

    def release(self, peer: int, run: RunId, task: int) -> None:
        """That peer may drop this result."""
        if run in self.memory.kept:
            self.memory.release(run, task, peer)
        column = self.releases.get((peer, run))
        if column is None:
            column = self.releases[peer, run] = ints()
        column.append(task)
        if len(column) == RELEASES_MAX:
            self.full[peer, run] = None

    def recall(self, peer: int, run: Run, tasks: Iterable[int]) -> None:
        """That peer is asked to give these back, in the attempts that it has now."""
        recalled = self.recalls.setdefault((peer, run.run), {})
        for task in tasks:
            recalled[task] = run.attempt[task]

    def abandon(self, peer: int, run: Run, task: int, attempt: int) -> None:
        """That peer's attempt is of no use any more."""
        self.abandons.setdefault((peer, run.run), {})[task] = attempt

    def twin(self, node: Node, run: Run, task: int, attempt: int, alternative: int) -> None:
        """A second attempt goes to that node, at this one of its costs."""
        self.twins.append((node, run, task, attempt, alternative))

    def upload(self, run: Run, task: int) -> None:
        """The run's client is asked to upload this object."""
        self.uploads.setdefault(run.run, (run, []))[1].append(task)

    def drop_code(self, node: Node, digests: Iterable[bytes]) -> None:
        """That node may forget this code, as far as it has it."""
        has = [digest for digest in digests if digest in node.codes]
        if has:
            node.codes.difference_update(has)
            self.send(node.peer, DropCode(tuple(has)))

    def forget_run(self, run: RunId) -> None:
        """Nothing more is to be said about it."""
        for gathered in (self.plans, self.redirects, self.releases, self.recalls, self.abandons):
            for key in [key for key in gathered if key[1] == run] if gathered else ():
                del gathered[key]
        if self.twins:
            self.twins = [twin for twin in self.twins if twin[1].run != run]
        self.uploads.pop(run, None)

    def forget_node(self, peer: int) -> None:
        """Nobody is there to listen."""
        for gathered in (self.plans, self.redirects, self.releases, self.recalls, self.abandons):
            for key in [key for key in gathered if key[0] == peer]:
                del gathered[key]
        self.twins = [twin for twin in self.twins if twin[0].peer != peer]
        self.gone[peer] = None
        if len(self.gone) > GONE_MAX:
            first = next(iter(self.gone))
            del self.gone[first]
            self.names.pop(first, None)
            for knows in (*self.client_knows.values(), *[node.knows for node in self.nodes.values()]):
                knows.discard(first)

    # ── handing it over ─────────────────────────────────────────────────────

    def flush(self, now: float) -> list[Send | Close | Note]:
        """Everything that is to be said; the outbox is empty afterwards, but for what nobody waits for."""
        if now >= self.say_at:
            self._say_held()
        if self.releases or now >= self.release_at:
            self._say_releases(now)
        # Before the plans, since a serializer that is planned anew must not be taken for the input of a consumer that has to move.
        for (peer, number), recalled in self.recalls.items():
            if peer in self.nodes:
                self.send(peer, Recall(RunId(number), ints(recalled), ints(recalled.values())))
        for node, run, task, attempt, alternative in self.twins:
            first, run.attempt[task] = run.attempt[task], attempt
            choices = run.choices
            run.choices = {task: alternative} if alternative else {}
            self._send_plan(node, run, [task])
            run.attempt[task], run.choices = first, choices
        for (peer, number), abandoned in self.abandons.items():
            if peer in self.nodes:
                self.send(peer, Abandon(RunId(number), ints(abandoned), ints(abandoned.values())))
        nodes = self.nodes
        for (peer, _), (run, tasks) in self.plans.items():
            self._send_plan(nodes[peer], run, tasks)
        for run, tasks in self.uploads.values():
            if run.client is not None:
                here = [task for task in tasks if run.is_planned(task)]
                self.introduce_to_client(run.client, [run.node[task] for task in here])
                self.send(run.client, Upload(run.run, ints(here), ints([run.node[task] for task in here])))
        for (peer, number), changes in self.redirects.items():
            if peer in self.nodes:
                self._introduce(self.nodes[peer], changes.values())
                self.send(peer, Redirect(RunId(number), ints(changes), ints(changes.values())))
        for gathered in (self.plans, self.uploads, self.redirects, self.recalls, self.abandons, self.twins):
            gathered.clear()
        if self.held and self.say_at == float("inf"):
            self.say_at = now + LATER_SECONDS
        effects, self.effects = self.effects, []
        return effects

    def _say_releases(self, now: float) -> None:
        """Those that wait long enough or are many; and, before anything else about its run, what that node may drop.

        For what is released may be planned there again in this pass, and must not be dropped when it is made.
        """
        releases = self.releases
        is_due = now >= self.release_at
        twins = [(node.peer, run.run) for node, run, *_ in self.twins]
        spoken_of = (self.full, self.plans, self.recalls, self.abandons, self.redirects, twins)
        for keys in spoken_of if not is_due else (list(releases),):    # far more wait than are spoken of: they are not all looked at
            for key in keys:
                if key in releases:
                    column = releases.pop(key)
                    if key[0] in self.nodes:
                        self.send(key[0], Release(RunId(key[1]), column))
        self.full.clear()
        if is_due or not releases:
            self.release_at = float("inf")
        elif self.release_at == float("inf"):
            self.release_at = now + RELEASE_SECONDS

    def _send_plan(self, node: Node, run: Run, tasks: list[int]) -> None:
        peer, first, count = node.peer, tasks[0], len(tasks)
        if peer not in run.nodes:
            run.nodes[peer] = None
        if peer not in run.placed and run.client is not None:
            run.placed.add(peer)
            is_news = self.introduce_to_client(run.client, (peer,))
            self.tell(run, Placed(run.run, ints((peer,))), at_once=is_news)
        if count == 1 and not (run.serializes or run.trees or run.choices or run.unbegun):
            self._send_one(node, run, first)
            return
        end = first + count
        if tasks[-1] == end - 1 and (count == 1 or tasks == list(range(first, end))):   # one piece of the table: cut it out
            starts = run.literal_starts
            numbers = ints(range(first, end))
            attempts, kind, fan_in = run.attempt[first:end], run.kind[first:end], run.fan_in[first:end]
            literals = Blobs(run.literals.sizes[first:end], run.literals.data[starts[first] : starts[end]])
            inputs = run.inputs[run.starts[first] : run.starts[end]] if run.linked else ints()
        else:
            numbers = ints(tasks)
            attempts = ints([run.attempt[task] for task in tasks])
            kind = ints([run.kind[task] for task in tasks])
            fan_in = ints([run.fan_in[task] for task in tasks])
            starts, data, sizes = run.literal_starts, run.literals.data, run.literals.sizes
            pieces = [data[starts[task] : starts[task + 1]] for task in tasks]
            literals = Blobs(ints([sizes[task] for task in tasks]), b"".join(pieces))
            inputs = ints()
            if run.linked:
                for task in tasks:
                    inputs += run.inputs[run.starts[task] : run.starts[task + 1]]
        node.note_sent(run, numbers)
        where = run.node
        sources = ints([where[each] for each in inputs])
        targets = ints()
        seen = node.kinds.setdefault(run.run, set())
        new_kinds = []
        urgency_of_kind: dict[int, float] = {}
        for index in dict.fromkeys(kind) if count > 1 else kind:
            this = run.kinds[index]
            urgency_of_kind[index] = this.priority * PRIORITY_WEIGHT
            if index not in seen:
                seen.add(index)
                new_kinds.append((index, this))
        if run.serializes:
            targets.extend([place for each in inputs if run.is_serializer(each) for place in (each, peer)])
            for task in tasks:
                if run.is_serializer(task):
                    consumers = run.consumers_of(task)
                    # A consumer that was done before this was lost, and is made again only to be complete, has a node and no promise.
                    targets.extend((task, run.promised.get(consumers[0], run.node[consumers[0]]) if consumers else NOBODY))
        relays = ints(relays_for(run, peer, list(dict.fromkeys(inputs)))) if run.trees else ints()
        choices = ints()
        for task in tasks if run.choices else ():
            if task in run.choices:
                choices.extend((task, run.choices[task] - 1))
        unbegun = ints([each for task in tasks if run.unbegun[task] for each in (task, run.unbegun[task])] if run.unbegun else ())
        if run.rank:
            rank = run.rank
            urgencies = floats([urgency_of_kind[of] + min(rank[task], RANK_MAX) for task, of in zip(tasks, kind, strict=True)])
        elif len(urgency_of_kind) == 1:
            of = kind[0]
            urgencies = floats((urgency_of_kind[of] + min(run.rank_seconds[of], RANK_MAX),)) * count
        else:
            seconds = run.rank_seconds
            urgencies = floats([urgency_of_kind[of] + min(seconds[of], RANK_MAX) for of in kind])
        codes, body = self.codes.missing(node.codes, (digest for _, this in new_kinds for digest in this.codes)) if new_kinds else ((), b"")
        knows = node.knows
        if targets or relays or (sources and any(each != peer and each not in knows for each in sources)):
            self._introduce(node, (*dict.fromkeys(sources), *targets[1::2], *relays[1::2]))
        self.send(peer, Plan(
            run.run, numbers, attempts, kind, literals, fan_in, inputs, sources, urgencies, targets, tuple(new_kinds), codes,
            NOBODY if run.client is None else run.client, choices,
            run.token if run.values_only and run.client is not None else 0, relays, unbegun,
            run.quota.share[peer] if run.quota is not None else 0, body,
        ))

    def _send_one(self, node: Node, run: Run, task: int) -> None:
        """A single task, of which there is nothing special to say: as `_send_plan` does it, without a look at what only several have.

        Long tasks go one by one, each to the node that has just become free; to say it took as long as to decide it.
        """
        of, peer, number, after = run.kind[task], node.peer, run.run, task + 1     # columns are cut out: to make one takes twice as long
        numbers = ONE[:]
        numbers[0] = task
        sent = node.sent.get(number)
        if sent is None or len(sent) > SENT_SWEPT:
            node.note_sent(run, numbers)
        else:
            sent.append(task)
        inputs = sources = NONE
        count = run.fan_in[task]
        if count:
            start, where, knows = run.starts[task], run.node, node.knows
            inputs = run.inputs[start : start + count]
            sources = inputs[:]
            unknown: list[int] = []
            for at, each in enumerate(inputs):
                home = sources[at] = where[each]
                if home not in knows and home != peer:
                    unknown.append(home)
            if unknown:
                self._introduce(node, unknown)
        literals = run.literals
        if literals.data:
            starts = run.literal_starts
            literals = Blobs(literals.sizes[task:after], literals.data[starts[task] : starts[after]])
        else:
            literals = NO_LITERAL
        kind = run.kinds[of]
        rank = run.rank[task] if run.rank else run.rank_seconds[of]
        if kind.priority or rank >= RANK_MAX or not run.rank:
            urgencies = floats((kind.priority * PRIORITY_WEIGHT + (rank if rank < RANK_MAX else RANK_MAX),))
        else:
            urgencies = run.rank[task:after]
        seen = node.kinds.get(number)
        new_kinds: tuple[tuple[int, Kind], ...] = ()
        codes: tuple[tuple[bytes, int], ...] = ()
        body: Body = b""
        if seen is None or of not in seen:
            node.kinds.setdefault(number, set()).add(of)
            new_kinds = ((of, kind),)
            codes, body = self.codes.missing(node.codes, kind.codes)
        client = run.client
        self.send(peer, Plan(
            number, numbers, run.attempt[task:after], run.kind[task:after], literals, run.fan_in[task:after], inputs, sources,
            urgencies, NONE, new_kinds, codes, NOBODY if client is None else client, NONE,
            run.token if run.values_only and client is not None else 0, NONE, NONE,
            run.quota.share[peer] if run.quota is not None else 0, body,
        ))

    def _introduce(self, node: Node, peers: Iterable[int]) -> None:
        knows, names = node.knows, self.names
        new = []
        for peer in peers:
            if peer not in knows and peer != node.peer and peer in names:
                knows.add(peer)
                new.append(peer)
        if new:
            self.send(node.peer, self._peers(new))

    def introduce_to_client(self, client: PeerId, peers: Sequence[int]) -> bool:
        """Tell a client who these are, if it does not know; whether it did not."""
        knows = self.client_knows.get(client)
        if knows is None or knows.issuperset(peers):
            return False
        new = [peer for peer in dict.fromkeys(peers) if peer not in knows and peer in self.names]
        if new:
            knows.update(new)
            self.send(client, self._peers(new))
        return bool(new)

    def _peers(self, peers: list[int]) -> Peers:
        names, addresses = zip(*map(self.names.__getitem__, peers), strict=True)
        return Peers(ints(peers), names, addresses)
