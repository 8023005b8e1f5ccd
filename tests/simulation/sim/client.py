"""A simulated client: the real client brain, links and a session that are simulated, and a user who starts, cancels and fetches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handoff.client import events
from handoff.client.brain import ClientBrain
from handoff.columns import ints, longs
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Close, Received, Send
from handoff.messages import PROTOCOL, Ask, Chunk, Drain, Hello, Missing, Peers, Results, Welcome
from sim.exchange import Exchange
from sim.process import Process
from sim.sessions import SessionClient
from sim.stage import Stage
from sim.watch import Bug
from sim.workload import Job

UPLOAD_INLINE_BYTES = 300
HEIR_TOKENS = 500_000       # of runs that are taken over, above those that were begun
DRAIN_TOKEN = 1_000_000     # above those of runs
QUESTION_TOKEN = 2_000_000  # above that one


class Client(Process):
    """One user's process."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(stage, name, ClientBrain(stage.options.settings.client))
        self.me: PeerId = NOBODY
        self.met = b""                # the boot of the coordinator that let it in
        self.jobs: dict[int, Job] = {}
        self.over: dict[int, events.RunOver] = {}
        self.has_been_away = False    # so long that the coordinator took it for gone
        self.forgotten: dict[int, None] = {}
        self.waiting: list[tuple[Callable[[Job], None], Job]] = []   # what the user wants, as soon as there is a connection
        self.unanswered: dict[int, str] = {}
        self._asked = 0
        self._whole: dict[tuple[PeerId, int, int], bytes] = {}
        self._pieces: dict[tuple[PeerId, int, int], bytearray] = {}
        self._hello = Hello(PROTOCOL, "0", "3", "client", name, stage.boot())
        self.exchange = Exchange(self, self._greeting, None)
        self.session = SessionClient(self, self._hello, self._heard, self._welcomed)
        self.start()
        self.session.connect()

    def submit(self, job: Job) -> None:
        """The user starts a run, as soon as there is a connection."""
        if self.me == NOBODY:
            self.waiting.append((self.submit, job))
            return
        self.jobs[job.submit.token] = job
        self.oracles.submitted(self, job)
        self.post(events.Start(job.submit))
        if job.cancel_after is not None:
            self.clock.after(job.cancel_after, self.run, self.post, events.CancelRun(job.submit.token, "the user changed their mind"))
        if job.forget_after is not None:
            self.clock.after(job.forget_after, self.run, self.forget, job.submit.token)

    def attach(self, job: Job) -> None:
        """The user takes over the detached run of a client that is gone."""
        if self.me == NOBODY:
            self.waiting.append((self.attach, job))
            return
        token = HEIR_TOKENS + job.submit.token
        self.jobs[token] = job
        self.oracles.attached(self, token, job)
        self.post(events.Attach(token, RunId(job.run)))

    def forget(self, token: int) -> None:
        """The user lets go of the results."""
        self.forgotten[token] = None
        self.post(events.ForgetRun(token))

    def drain(self, name: str) -> None:
        """The user has a node leave."""
        self.post(events.Question(Drain(name, DRAIN_TOKEN)))

    def ask(self, topic: str, about: Job) -> None:
        """The user wants to know something; only what was theirs once may be asked to be theirs again."""
        kinds = about.program.kinds
        if topic == "attach":
            topic = "run"
        self._asked += 1
        token = QUESTION_TOKEN + self._asked
        task = self.lots.randrange(len(about.seconds) + 1)
        self.unanswered[token] = topic
        self.post(events.Question(Ask(
            token, topic, RunId(about.run), task, tuple(kind.codes for kind in kinds), tuple(kind.name for kind in kinds))))

    def leave(self) -> None:
        """The user's program ends, in order."""
        self.session.close()
        self.kill()

    def _greeting(self) -> Hello:
        return Hello(PROTOCOL, "0", "3", "client", self.host, self._hello.boot, peer=self.me, coordinator=self.met)

    def _welcomed(self, welcome: Welcome) -> None:
        self.has_been_away |= self.me != NOBODY
        self.me, self.met = welcome.peer, welcome.coordinator
        self.exchange.start_anew()
        self.post(events.Welcomed(welcome.peer))
        waiting, self.waiting = self.waiting, []
        for ask, job in waiting:
            ask(job)

    def _heard(self, event: Any) -> None:
        if isinstance(event, Received) and isinstance(event.message, Peers):
            self.exchange.learn(event.message)
        self.post(event)

    def post(self, event: Any) -> None:
        """Chunks are put together beside the brain."""
        if isinstance(event, Received) and isinstance(event.message, Chunk):
            chunk = event.message
            key = (event.peer, chunk.run, chunk.task)
            if chunk.offset == 0:
                self._pieces[key] = bytearray()
            pieces = self._pieces.get(key)
            if pieces is None or len(pieces) != chunk.offset:
                return
            pieces += bytes(chunk.body)
            if len(pieces) == chunk.total:
                self._whole[key] = bytes(self._pieces.pop(key))  # another stream of the same value may begin before the brain's turn
        super().post(event)

    def perform(self, effect: Any) -> None:
        """As the client's shell does."""
        match effect:
            case Send(peer, message):
                if peer == COORDINATOR:
                    if isinstance(message, Missing):
                        self.oracles.sent_missing(message)
                    self.session.send(message)
                else:
                    self.exchange.send(peer, message)
            case events.RunAccepted(token, run):
                self.oracles.accepted(self, token, run)
            case events.Arrived(token, tasks, sizes, body):
                at = 0
                for task, size in zip(tasks, sizes, strict=True):
                    self.oracles.received(self, token, task, bytes(body[at : at + size]))
                    at += size
            case events.Assembled(token, peer, task, _):
                run = RunId(self.jobs[token].run)
                self.oracles.received(self, token, task, self._whole.pop((peer, run, task)))
            case events.Available(token, tasks):
                for task in tasks:
                    self.clock.after(self.lots.choice((0.0, 0.1, 5.0)), self.run, self.post, events.Fetch(token, task))
            case Close():
                self.session.begin_anew()
            case events.UploadValue(peer, token, run, tasks):
                if token >= HEIR_TOKENS:   # only who began it has them
                    self.post(events.CancelRun(token, "a value that was uploaded is lost"))
                else:
                    self._upload(peer, self.jobs[token], run, list(tasks))
            case events.RunOver(token):
                self.over[token] = effect
                self.oracles.run_over(self, effect)
            case events.Progressed(token, progress):
                self.oracles.progressed(token, progress)
            case events.Answered(token) | events.Unanswered(token):
                self.unanswered.pop(token, None)
            case events.Printed() | events.Attached():
                pass
            case events.Unfetched(token, task, failure):
                self.oracles.unfetched(self, token, task, failure)
            case _:
                raise Bug(f"{self.host}: unknown effect {effect!r}")

    def _upload(self, peer: PeerId, job: Job, run: Any, tasks: list[int]) -> None:
        small = [task for task in tasks if len(job.values[task]) <= UPLOAD_INLINE_BYTES]
        if small:
            values = [job.values[task] for task in small]
            self.exchange.send(peer, Results(run, ints(small), longs(map(len, values)), tuple(values)))
        for task in tasks:
            value = job.values[task]
            if len(value) > UPLOAD_INLINE_BYTES:
                for offset in range(0, len(value), UPLOAD_INLINE_BYTES):
                    self.exchange.send(peer, Chunk(run, task, offset, len(value), value[offset : offset + UPLOAD_INLINE_BYTES]))
