"""What must be true of a cluster whatever happens, watched from outside: from what the brains hear and say, never from their insides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from handoff.client.events import Failure, RunOver
from handoff.ids import NOBODY, PeerId, RunId, WorkerId
from handoff.messages import Accepted, EndRun, Hello, Message, Missing, Peers, Plan, Progress, Report
from handoff.program import HIDDEN, Flag
from handoff.roles import ALLOWED
from sim.attempts import Attempts
from sim.claims import Claims
from sim.clock import Clock
from sim.departures import Departures
from sim.faulty import Faulty
from sim.watch import Bug, Watch, fate, sure
from sim.workload import MARK, Job, code_of

if TYPE_CHECKING:
    from sim.client import Client
    from sim.node import Node
    from sim.options import Options
    from sim.workers import Work

LATE_SECONDS = 0.01  # before a timeout, at which it is seen that it will not be kept
KILL_SECONDS = 0.05  # from the end of a run to the death of what still executed of it


class Oracles:
    """Sees everything; says nothing until something is wrong."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.options, self.clock = options, clock
        self.watches: dict[RunId, Watch] = {}
        self.names: dict[int, str] = {}
        self.lost: dict[int, float] = {}                     # peers that the coordinator has forgotten, and when
        self.node_peers: dict[int, None] = {}
        self.ended: dict[RunId, None] = {}                   # runs of which the coordinator knows nothing any more
        self.nodes: dict[int, Node] = {}
        self.jobs: dict[tuple[str, int], tuple[Client, Job]] = {}
        self.claims = Claims()
        self.departures = Departures(self)
        self.faulty = Faulty(self)
        self.attempts = Attempts(lambda run, task: bool(self.watches[run].job.kind(task).flags & Flag.IDEMPOTENT))
        self.moved_at = 0.0                                  # when something last moved: a run that stands still will not end
        self.executions = 0
        self.relayed = 0      # values that a node was told to ask of another than their maker
        self.repeated = 0

    # ── who is there ────────────────────────────────────────────────────────

    def joined(self, peer: PeerId, hello: Hello) -> None:
        """The coordinator let somebody in."""
        sure(peer not in self.names, f"peer {peer} was given twice")
        self.names[peer] = hello.name
        if hello.role == "node":
            self.node_peers[peer] = None
            self.departures.joined()

    def learn(self, peers: Peers) -> None:
        """A node was told of others."""
        for peer, name in zip(peers.peers, peers.names, strict=True):
            sure(self.names.get(peer) == name, f"peer {peer} is {self.names.get(peer)!r}, but nodes are told {name!r}")

    def node_is(self, node: Node, me: PeerId) -> None:
        """A node process was let in under this number; all that it did before is void."""
        self.nodes[me] = node

    def forgotten(self, peer: PeerId) -> None:
        """The coordinator does not count on that peer any more."""
        self.attempts.upset()
        if peer in self.lost or peer not in self.node_peers:
            return
        self.lost[peer] = self.clock.now
        for watch in self.watches.values():
            watch.losses += 1

    def all_forgotten(self) -> None:
        """The coordinator has ended: whatever it counted on is void."""
        for peer in self.node_peers:
            self.forgotten(peer)
        self.ended.update(dict.fromkeys(self.watches))

    def heard(self, peer: PeerId, message: Message) -> None:
        """The coordinator was told of attempts."""
        self.attempts.heard(message)
        self.departures.heard(peer, message)

    def says(self, speaker: str, listener: str, message: Message) -> None:
        """One part says something to another."""
        sure(type(message) in ALLOWED[speaker, listener], f"a {speaker} says to a {listener}: {message}")

    # ── runs ────────────────────────────────────────────────────────────────

    def submitted(self, client: Client, job: Job) -> None:
        """A user started a run."""
        self.jobs[client.host, job.submit.token] = (client, job)

    def attached(self, client: Client, token: int, job: Job) -> None:
        """A user takes over a run: all that its former client got comes again."""
        self.jobs[client.host, token] = (client, job)
        watch = self.watches[RunId(job.run)]
        watch.may_be_unknown = RunId(job.run) in self.ended or "restarts" in self.options.faults
        watch.received, watch.over = {}, None
        self.attempts.upset()   # what was lost with its node is made again for the heir, though the first one may have got it,
        watch.losses += any(peer in self.lost for peer in self.node_peers)   # ... and what that takes

    def accepted(self, client: Client, token: int, run: RunId) -> None:
        """It has an id."""
        sure(self.watches[run].job is self.jobs[client.host, token][1], f"run {run} is another one's")

    def coordinator_said(self, peer: PeerId, message: Message) -> None:
        """The coordinator's words, as it says them: a run may begin before its client hears of it."""
        if isinstance(message, Accepted):
            self._began(peer, message.token, message.run)
        elif isinstance(message, Plan) and message.token:   # the node will say it to the client
            self._began(message.collector, message.token, message.run)
        if isinstance(message, EndRun):
            self.ended[message.run] = None
        self.departures.said(peer, message)
        self.faulty.said(peer, message)
        self.attempts.said(self.names.get(peer, "?"), message)

    def _began(self, peer: PeerId, token: int, run: RunId) -> None:
        client, job = self.jobs[self.names[peer], token]
        if run in self.watches:
            sure(self.watches[run].job is job, f"run {run} was given twice")
            return
        job.run = run
        self.watches[run] = Watch(job, client)

    def planned(self, node: Node, plan: Plan) -> None:
        """A plan arrived at a node."""
        for digest, size in plan.codes:
            sure(node.codes[digest] == code_of(digest) and size == len(code_of(digest)), f"{node.host} was sent wrong code")
        column = list(plan.inputs)
        sure(len(column) == sum(plan.fan_in) == len(plan.sources), f"the inputs of a plan for {node.host} do not add up")
        self.relayed += len(plan.relays) // 2

    def reported(self, peer: PeerId, report: Report) -> None:
        """A node said what is done."""
        columns = (report.attempts, report.nbytes, report.seconds, report.ages)
        sure(all(len(column) == len(report.tasks) for column in columns), "a report's columns differ")
        self.attempts.heard(report)

    def progressed(self, token: int, progress: Progress) -> None:
        """The coordinator counted: functions, not what carries values to them."""
        job = self.watches[progress.run].job
        sure(0 <= progress.done <= progress.done + progress.running <= progress.total, f"progress {progress}")
        sure(progress.total == sum(not job.kind(task).flags & HIDDEN for task in range(len(job.seconds))), f"progress {progress}")

    def sent_missing(self, message: Missing) -> None:
        """A client asks for outputs again."""
        if message.run in self.watches:
            watch = self.watches[message.run]
            again = dict.fromkeys(message.tasks)
            for task in range(len(watch.job.seconds) - 1, -1, -1):   # what they take may have been let go of, and is made again for them
                if task in again:
                    again.update(dict.fromkeys(watch.job.inputs[task]))
            watch.missing.update(list(again))

    def unreachable(self, run: RunId) -> None:
        """A node could not have an input from where it was sent to."""
        if run in self.watches:
            self.watches[run].losses += 1

    # ── workers ─────────────────────────────────────────────────────────────

    def given(self, node: Node, worker: WorkerId, work: Work) -> None:
        """A task is handed to a worker: its claim begins here at the latest."""
        sure(work.run in self.watches, f"{node.host} executes run {work.run}, which nobody submitted")
        job = (watch := self.watches[work.run]).job
        where = f"{node.host}: task {work.run}/{work.task}#{work.attempt}"
        kind = job.kind(work.task)
        alone = bool(work.kind.flags & Flag.ALONE)
        sure(replace(work.kind, flags=work.kind.flags & ~Flag.ALONE) == kind, f"{where} runs as {work.kind}, not as {kind}")
        crashes = watch.crashes[work.task]
        # A crash may be lost with its node, before that has told of it; or another attempt lived, and it did not count.
        unsaid = watch.losses or self.attempts.is_doubled(work.run, work.task)
        known = alone == (crashes >= 2) or (not alone and unsaid)
        sure(known, f"{where} runs {'' if alone else 'not '}alone after {crashes} crashes")
        sure(work.inputs == job.inputs[work.task], f"{where} has inputs {work.inputs}, not {job.inputs[work.task]}")
        sure(bytes(work.literal) == job.program.literals[work.task], f"{where} has the literal {work.literal!r}")
        sure(not kind.flags & Flag.OBJECT, f"{where} is an object: there is nothing to execute")
        sure(kind.node in ("", node.host), f"{where} is pinned to {kind.node!r}")
        for digest in kind.codes:
            sure(digest in node.codes, f"{where}: its code is not here")
        if kind.flags & Flag.SERIALIZER:
            sure(work.target != NOBODY and work.target in self.names, f"{where} is a serializer without a target")
        sure(work.cost in (kind.cost, *kind.alternatives), f"{where} is granted {work.cost}, which was not asked for")
        self.claims.take(node, worker, work)

    def began(self, node: Node, worker: WorkerId, work: Work, lacking: list[int], values: dict[int, bytes]) -> tuple[str, float]:
        """An execution begins: how will it end, and when?"""
        watch = self.watches[work.run]
        job, task = watch.job, work.task
        where = f"{node.host}: task {work.run}/{task}#{work.attempt}"
        sure(not lacking, f"{where} starts without its inputs {lacking}")
        for source, home in zip_longest(job.inputs[task], work.sources):
            value = values[source]
            if job.kind(source).flags & Flag.SERIALIZER:
                value, target, maker = value.rsplit(b"@", 2)
                sure(target.decode() == node.host, f"{where}: its serializer {source} was told that it would run on {target.decode()}")
                told = maker.decode() if home is None else self.names[home]
                sure(told == maker.decode(), f"{where} is told that its serializer {source} ran on {told}; it did on {maker.decode()}")
            value = job.bare(value)
            sure(value == job.values[source], f"{where}: its input {source} is wrong: {value[:20]!r}")
        ended = node.ended.get(work.run)
        sure(ended is None or node.frozen or node.clock.now < ended + KILL_SECONDS, f"{where} starts although its run is over")
        self._not_abandoned(node, work, where)
        watch.begun[task] += 1
        self.executions += 1
        self.moved_at = self.clock.now
        self._not_elsewhere(node, work, where)
        self.claims.began(node, worker, work)
        if node.me not in self.lost and node.me != NOBODY:
            limit, now = job.submit.max_concurrency, self.claims.executing(work.run, self.lost)
            sure(not limit or now <= limit, f"{where}: {now} tasks of its run at once; at most {limit} may")
        allowed = 1 + watch.losses + watch.missing[task] + watch.failures[task] + watch.stopped[task]
        allowed += self.attempts.is_doubled(work.run, task)
        if not (job.kind(task).max_retries or job.kind(task).flags & Flag.SERIALIZER):
            allowed = 1   # what has begun never begins again, whatever is lost
        sure(watch.begun[task] <= allowed, f"{where} begins for the {watch.begun[task]}th time; {allowed} would do")
        return fate(self.options, node, watch, task)

    def _not_elsewhere(self, node: Node, work: Work, where: str) -> None:
        """Nothing executes twice at once, unless nobody could know: a node was lost, or the first attempt out of reach."""
        if node.me in self.lost or self.attempts.is_beside(work.run, work.task):
            return
        there = self.claims.others(node, work.run, work.task, self.lost)
        sure(not there, f"{where} begins, while it executes elsewhere: {there}")

    def _not_abandoned(self, node: Node, work: Work, where: str) -> None:
        """What another attempt has won ends at once; a coroutine may take its time."""
        when = node.abandoned.get((work.run, work.task, work.attempt), node.clock.now)
        is_slow = node.frozen or work.kind.flags & Flag.ASYNC
        sure(is_slow or node.clock.now < when + KILL_SECONDS, f"{where} goes on although it was abandoned at {when}")

    def value(self, node: Node, work: Work) -> bytes:
        """What a right execution gives."""
        job = self.watches[work.run].job
        value = job.values[work.task]
        if job.is_fickle:
            value += MARK + b"." * (7 * work.attempt + len(self.names) + node.me)
        if job.kind(work.task).flags & Flag.SERIALIZER:
            return value + f"@{self.names[work.target]}@{node.host}".encode()
        return value

    def made(self, node: Node, work: Work, nbytes: int) -> None:
        """An execution ended well, and its daemon heard of it."""
        self.attempts.made(work.run, work.task, work.attempt, node.host, nbytes)

    def told(self, run: RunId, timeline: dict[str, list[Any]]) -> None:
        """What the coordinator would tell of a run, now that it is done."""
        self.attempts.told(run, dict.fromkeys(self.watches[run].job.program.object_tasks), timeline)

    def over(self, node: Node, worker: WorkerId, work: Work, cause: str) -> None:
        """The daemon hears that a task ended in its worker."""
        self.claims.give_back(node, worker, work)
        self.moved_at = self.clock.now
        watch, task = self.watches[work.run], work.task
        self._not_abandoned(node, work, f"{node.host}: task {work.run}/{task}#{work.attempt}")
        if cause == "ok":
            watch.ended_well[task] += 1
            watch.made_on.setdefault(task, {})[node.host] = None
            self._no_waste(work.run, watch, task)
        elif cause != "skipped":
            self.stopped(work, blamed=cause in ("exception", "unpicklable"))

    def handed_back(self, node: Node, worker: WorkerId, works: list[Work]) -> None:
        """A worker has not begun these, and will not."""
        for work in works:
            self.claims.give_back(node, worker, work)

    def worker_gone(
        self, node: Node, worker: WorkerId, reason: str, running: list[Work], unsaid: list[Work], suspect: Sequence[Work] = (),
    ) -> None:
        """A worker ended, and all that it was doing. Of `suspect` nobody knows whether it began: what may not run again is not."""
        self.claims.gone(node, worker)
        crashed = reason.startswith("killed by") and node.alive
        for work in running:
            if crashed:
                self.watches[work.run].crashes[work.task] += 1
            self.stopped(work, blamed=crashed)
        for work in unsaid:
            self.stopped(work, ended=True)
        for work in (*unsaid, *suspect) if suspect else ():
            self.watches[work.run].failures[work.task] += not work.kind.max_retries

    def stopped(self, work: Work, blamed: bool = False, ended: bool = False) -> None:
        """It ended badly, or nobody counts on its end: its worker is to be ended. One that hangs is to blame too."""
        if work.is_stopped:
            return
        work.is_stopped = True
        watch, task = self.watches[work.run], work.task
        mishap = watch.job.mishaps.get(task, [])[watch.mishaps[task]:][:1] if not ended else []
        timeout = work.kind.timeout    # its worker stood still, or it hangs
        is_late = 0 < timeout <= self.clock.now - work.began + LATE_SECONDS and work.began > 0 and not ended
        if blamed or is_late or mishap == ["hang"]:
            watch.mishaps[task] += 1
            watch.failures[task] += 1
        else:
            watch.stopped[task] += 1

    def _no_waste(self, run: RunId, watch: Watch, task: int) -> None:
        allowed = 1 + watch.losses + watch.missing[task] + self.attempts.is_doubled(run, task)
        sure(
            watch.ended_well[task] <= allowed,
            f"task {run}/{task} was executed {watch.ended_well[task]} times with success; {allowed} would do ({watch.losses} losses)",
        )
        if watch.ended_well[task] > 1:
            self.repeated += 1

    # ── what the user sees ──────────────────────────────────────────────────

    def received(self, client: Client, token: int, task: int, value: bytes) -> None:
        """A value reached the user."""
        job = self.jobs[client.host, token][1]
        watch = self.watches[RunId(job.run)]
        sure(task in set(job.outputs), f"{client.host} received task {job.run}/{task}, which is no output")
        value = job.bare(value)
        sure(value == job.values[task], f"{client.host} received a wrong value for task {job.run}/{task}: {value[:20]!r}")
        sure(task not in watch.received, f"{client.host} was handed task {job.run}/{task} twice")
        watch.received[task] = value
        self.moved_at = self.clock.now

    def unfetched(self, client: Client, token: int, task: int, failure: Failure) -> None:
        """A value that existed can't be had."""
        job, over = self.jobs[client.host, token][1], client.over.get(token)
        ended = job.cancel_after is not None or token in client.forgotten or (over is not None and over.failure is not None)
        sure(self.options.has_losses or ended, f"task {task} of {token} can't be fetched: {failure}")

    def run_over(self, client: Client, over: RunOver) -> None:
        """A run ended for its user."""
        job = self.jobs[client.host, over.token][1]
        if over.run not in self.watches:
            self.refused(client, job, over)
            return
        watch = self.watches[over.run]
        sure(watch.over is None, f"run {over.run} was over twice")
        watch.over, self.moved_at = over, self.clock.now
        if over.failure is not None:
            self._true_failure(over.run, watch, over.failure)
            return
        sure(not (job.doomed or job.absent_pin or job.impossible), f"run {over.run} succeeds although it can't: {job.doomed}")
        assert over.done is not None
        nodes = list(over.done.nodes)
        sure(len(nodes) == len(job.seconds), f"run {over.run}: {len(nodes)} places for {len(job.seconds)} tasks")
        for task, peer in enumerate(nodes):
            if job.kind(task).flags & Flag.OBJECT:
                continue
            sure(peer in self.names, f"run {over.run}: task {task} ran on peer {peer}, which never was")
            sure(self.names[peer] in watch.made_on.get(task, {}), f"run {over.run}: task {task} did not run on {self.names[peer]}")
        if not (watch.losses or self.departures.draining or self.faulty.has_been):
            for group in job.program.groups:
                places = [nodes[task] for task in group]
                sure(len(set(places)) == 1, f"run {over.run}: the group {list(group)} ran on {places}")

    def refused(self, client: Client, job: Job, over: RunOver) -> None:
        """A run that never was."""
        assert over.failure is not None
        allowed = {"AllocationError"} if job.impossible else {"NodeTimeout"} if job.absent_pin else set()
        if self.options.has_losses:
            allowed.add("ConnectionLost")
            if not job.submit.wait_for_nodes:
                allowed.add("AllocationError")   # the one node that could may be away just then
        sure(over.failure.code in allowed, f"{client.host}: {job.submit.name} was refused without need: {over.failure}")

    def _true_failure(self, run: RunId, watch: Watch, failure: Failure) -> None:
        job, task, code = watch.job, failure.task, failure.code
        text = f"run {run} failed without need: {failure.code} {failure.text!r} task {failure.task}"
        match code:
            case "FunctionFailed":
                sure(task < len(job.seconds), text)
                kind = job.kind(task)
                failures = watch.failures[task]
                limit = self.options.settings.scheduler.crash_limit
                hopeless = "unpicklable" in job.mishaps.get(task, ()) and failures > 0
                sure(failures > kind.max_retries or watch.crashes[task] >= limit or hopeless, f"{text}: {failures} failures")
            case "RunCancelled":
                sure(job.cancel_after is not None or self.options.has_losses, text)
            case "NodeLost":
                sure(watch.losses and job.kind(task).max_retries == 0, text)
            case "RunTimeout":
                sure(job.submit.timeout > 0, text)
            case "NodeTimeout":
                sure(job.absent_pin or self.options.has_losses, text)
            case "AllocationError":
                sure(job.impossible or (self.departures.draining and not job.submit.wait_for_nodes), text)
            case "ConnectionLost":
                sure(self.options.has_losses, text)
            case "ResultLost":   # who began it has it, and is gone
                sure(watch.may_be_unknown is not None and len(job.program.object_tasks) and self.options.has_losses, text)
            case "ExecutionError":
                sure(watch.may_be_unknown or job.cancel_after is not None, text)   # cancelled, before somebody else asked for it
            case _:
                raise Bug(text)
