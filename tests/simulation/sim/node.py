"""A simulated node: the real node brain, with a store, workers, links and a session that are simulated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Close, Note, Received, Send
from handoff.messages import PROTOCOL, Abandon, Drain, DropCode, EndRun, Hello, Peers, Plan, Unreachable, Welcome
from handoff.node.brain import NodeBrain
from handoff.node.events import CancelTask, Deliver, Drop, DropRun, Execute, HandBack, Kill, Look, Spawn, Stream, Welcomed
from handoff.resources import Amounts
from sim.exchange import Exchange
from sim.process import Process
from sim.sessions import SessionClient
from sim.stage import Stage
from sim.watch import Bug
from sim.workers import Workers


class Node(Process):
    """One `handoff-node` process, from its start to its end."""

    def __init__(self, stage: Stage, name: str, capacity: Amounts, left: Callable[[Node], None]) -> None:
        settings = stage.options.settings
        super().__init__(stage, name, NodeBrain(settings.node, capacity, settings.scheduler.zero_cost_per_cpu))
        self.capacity = capacity
        self.store: dict[tuple[RunId, int], bytes] = {}
        self.codes: dict[bytes, bytes] = {}
        self.me: PeerId = NOBODY
        self.met = b""                           # the boot of the coordinator that let it in
        self.ended: dict[RunId, float] = {}
        self.abandoned: dict[tuple[RunId, int, int], float] = {}
        self.slow_until = 0.0                    # what begins here before then takes longer
        self.full_until = 0.0                    # until then it has no room for one more large value
        self.returns_after = 1.0                 # when it has left in order
        self._left = left
        self._is_draining = False
        self.hello = Hello(PROTOCOL, "0", "3", "node", name, stage.boot(), address=(name, 1), capacity=capacity)
        self.workers = Workers(self)
        self.exchange = self.acceptor = Exchange(self, self._greeting, self.store, lambda: self.clock.now < self.full_until)
        self.session = SessionClient(self, self.hello, self._heard, self._welcomed, self._drained)
        stage.network.listen(self)
        self.start()
        self.session.connect()

    def _greeting(self) -> Hello:
        return Hello(PROTOCOL, "0", "3", "node", self.host, self.hello.boot, peer=self.me, address=(self.host, 1), coordinator=self.met)

    def _welcomed(self, welcome: Welcome) -> None:
        me = welcome.peer
        self.me, self.met = me, welcome.coordinator
        self.exchange.start_anew()
        self.oracles.node_is(self, me)
        self.post(Welcomed(me))
        if self._is_draining:
            self.drain()

    def drain(self) -> None:
        """SIGTERM: it asks to be let go, now or when it is let in."""
        self._is_draining = True
        if self.me != NOBODY:
            self.session.send(Drain(seconds=self.options.settings.scheduler.drain_seconds))

    def _drained(self) -> None:
        """The coordinator says that nobody needs it: the process ends."""
        self.kill()
        self._left(self)

    def _heard(self, event: Any) -> None:
        if isinstance(event, Received):
            match event.message:
                case Plan() as plan:
                    at = 0
                    for digest, size in plan.codes:
                        self.codes[digest] = bytes(plan.body[at : at + size])
                        at += size
                    self.oracles.planned(self, plan)
                case Peers() as peers:
                    self.exchange.learn(peers)
                    self.oracles.learn(peers)
                case DropCode(digests):
                    for digest in digests:
                        self.codes.pop(digest, None)
                case Abandon(run, tasks, attempts):
                    self.abandoned.update(dict.fromkeys(((run, *each) for each in zip(tasks, attempts, strict=True)), self.clock.now))
                case EndRun(run):
                    self.ended[run] = self.clock.now
                case _:
                    pass
        self.post(event)

    def perform(self, effect: Any) -> None:
        """As the daemon does."""
        match effect:
            case Execute():
                self.workers.execute(effect)
            case Send(peer, message):
                if peer == COORDINATOR:
                    if isinstance(message, Unreachable):
                        self.oracles.unreachable(message.run)
                    self.session.send(message)
                else:
                    self.exchange.send(peer, message)
            case Deliver():
                self.exchange.deliver(effect)
            case Stream():
                self.exchange.stream(effect)
            case Drop(run, tasks):
                for task in tasks:
                    self.store.pop((run, task), None)
            case DropRun(run):
                self.exchange.drop_run(run)
                for key in [key for key in self.store if key[0] == run]:
                    del self.store[key]
            case Spawn(worker):
                self.workers.spawn(worker)
            case Kill(worker, reason):
                self.workers.kill(worker, reason)
            case HandBack(worker):
                self.workers.hand_back(worker)
            case Look(worker):
                self.workers.look(worker)
            case CancelTask():
                self.workers.cancel(effect)
            case Close(peer, _) if peer == COORDINATOR:
                self.session.begin_anew()
            case Note():
                pass  # for people
            case Close(peer, _):
                raise Bug(f"{self.host}: nobody to close: {peer}")
            case _:
                raise Bug(f"{self.host}: unknown effect {effect!r}")

    def kill(self, silently: bool = False) -> None:
        """The daemon dies, and its workers with it."""
        super().kill(silently)
        self.workers.all_gone()
