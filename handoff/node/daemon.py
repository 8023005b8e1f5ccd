"""The node's shell: `handoff-node`. Joins a coordinator, listens for peers, and drives the node brain and its worker processes."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from handoff.address import is_loopback, seen_from_here
from handoff.columns import floats, ints, longs
from handoff.errors import ConnectionLost, HandoffError
from handoff.greetings import DRAINED
from handoff.ids import COORDINATOR, NOBODY, RunId
from handoff.log import log
from handoff.loop import Driver
from handoff.machine import Close, Dropped, Lost, Note, Received, Resumed, Send, Tick
from handoff.messages import PROTOCOL, Alive, Drain, DropCode, Hello, Message, Output, Peers, Plan, Welcome
from handoff.node.brain import NodeBrain
from handoff.node.events import (
    CancelTask,
    Deliver,
    Drop,
    DropRun,
    Execute,
    Finished,
    HandBack,
    Kill,
    Look,
    Spawn,
    Stream,
    Welcomed,
    WorkerGone,
)
from handoff.node.exchange import Exchange
from handoff.node.gpus import Gpu, gpus_of
from handoff.node.memory import Memory
from handoff.node.pool import WorkerPool
from handoff.node.probe import MB
from handoff.node.store import ResultStore
from handoff.node.tracker import ResourceTracker
from handoff.resources import SCALE, Amounts, describe
from handoff.settings import Settings
from handoff.transport.lines import Lines
from handoff.transport.link import shown
from handoff.transport.listen import listen
from handoff.transport.session_client import SessionClient
from handoff.trust.certificates import Identity
from handoff.trust.secret import Secret
from handoff.version import VERSION

DRAIN_SECONDS = 30.0             # from SIGTERM to the end, while somebody still needs what is here
DRAIN_GRACE_SECONDS = 2.0        # the coordinator ends a drain; without a word from it so long after its end, or without it, we do
AWAITED_SECONDS = 5.0            # one line in the log this often, while the coordinator is not there yet


class Daemon:
    """One per machine: `start`, then `wait` until somebody calls `stop`, or the coordinator refuses us."""

    def __init__(
        self,
        settings: Settings,
        secret: Secret,
        coordinator: tuple[str, int],
        name: str,
        capacity: Amounts,
        labels: Mapping[str, str] | None = None,
        host: str = "",
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        gpus: Sequence[Gpu] | None = None,
        tracker: ResourceTracker | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._settings, self._name, self._capacity = settings, name, capacity
        self._coordinator, self._host, self._port = coordinator, host or _default_host(coordinator[0]), port
        self._labels = tuple(sorted((labels or {}).items()))
        self._identity = Identity(secret, "node", name)
        self._boot = os.urandom(16)
        self._me, self._met = NOBODY, b""        # our number, and the boot of the coordinator that gave it
        self._codes: dict[bytes, bytes] = {}
        self._lines = Lines(settings.wire.unacknowledged_bytes_max)
        self._store = ResultStore(dict(capacity).get("memory", 0) // SCALE * MB or None)
        self._gpus = gpus_of(capacity) if gpus is None else tuple(gpus)
        self._brain = NodeBrain(settings.node, capacity, settings.scheduler.zero_cost_per_cpu, self._gpus, tracker)
        self._environment = dict(environment) if environment is not None else None
        self._stopped = asyncio.Event()
        self._refusal: str | None = None
        self._drain_seconds = drain_seconds
        self._is_heard = False                   # a connection with the coordinator stands
        self._is_draining = False

    async def start(self) -> None:
        """Warm the workers, listen for peers, join a coordinator, as soon as there is one. Raises Refused when it does not want us."""
        self._driver = Driver(self._brain, self._perform, Tick(), self._failed)
        self._pool = WorkerPool(
            store=self._store,
            codes=self._codes,
            emit=self._happened,
            output=self._printed,
            name_of=lambda peer: self._name if peer == self._me else self._exchange.name(peer),
            here=self._name,
            devices=[gpu.device for gpu in self._gpus],
            settings=self._settings.node,
            memory=Memory(self._store, self._capacity),
            environment=self._environment,
        )
        self._exchange = Exchange(self._identity, self._settings.wire, self._hello, self._store, self._driver.post)
        self._driver.start()
        self._listener = await listen(
            self._host, self._port, self._identity, "node", self._exchange.welcome, self._exchange, self._settings.wire,
            bulk=self._exchange.greet,
        )
        self._port = self._listener.port
        self._session = SessionClient(
            self._coordinator, self._identity, self._settings.wire, self._hello, emit=self._happened, on_welcome=self._welcomed
        )
        await self._join()

    async def _join(self) -> None:
        """Wait for a coordinator that is not there yet: machines boot in any order."""
        pause, told = self._settings.wire.reconnect_seconds, 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._session.connect()
                return
            except ConnectionLost as error:
                if loop.time() >= told:
                    told = loop.time() + AWAITED_SECONDS
                    log.warning("coordinator.awaited", address=shown(self._coordinator), reason=str(error), note="trying again")
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._settings.wire.reconnect_seconds_max)

    @property
    def port(self) -> int:
        """Where it listens for peers."""
        return self._port

    async def wait(self) -> None:
        """Until `stop`; then every worker is gone. Raises HandoffError when the coordinator refused to have us back."""
        await self._stopped.wait()
        await self.close()
        if self._refusal is not None:
            raise HandoffError(self._refusal)

    async def close(self) -> None:
        """Leave: say goodbye, end the workers, free everything."""
        self._driver.stop()
        await self._session.close("the node stops")
        self._exchange.close()
        self._listener.close()
        await self._pool.close()
        log.info("node.stopped", name=self._name)

    def drain(self) -> bool:
        """Ask the coordinator to let us go: it says when nobody needs us any more. False when there is no coordinator to ask."""
        if not self._is_heard or self._drain_seconds <= 0:
            return False
        log.info("node.draining", name=self._name, seconds=self._drain_seconds)
        self._is_draining = True
        self._session.send(Drain(seconds=self._drain_seconds))
        late = self._drain_seconds + DRAIN_GRACE_SECONDS
        asyncio.get_running_loop().call_later(late, self.stop, f"the coordinator did not let it go within {late:g} s")
        return True

    def _see_whether_alone(self) -> None:
        if not self._is_heard:
            self.stop("it drains, and the coordinator is gone")

    def stop(self, reason: str = "") -> None:
        """End `wait`."""
        log.info("node.stopping", name=self._name, reason=reason)
        self._stopped.set()

    def _failed(self, error: Exception) -> None:
        log.exception("node.failed", error=error)
        self._refusal = f"the node {self._name!r} can't go on, because of a bug in Handoff: {type(error).__name__}: {error}"
        self.stop("it failed")

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            version=VERSION,
            python=".".join(platform.python_version_tuple()[:2]),
            role="node",
            name=self._name,
            boot=self._boot,
            pid=os.getpid(),
            peer=self._me,
            address=("" if self._host in ("0.0.0.0", "::") else self._host, self._port),
            capacity=self._capacity,
            labels=self._labels,
            coordinator=self._met,
            processes=self._brain.processes,
            gpus=tuple((gpu.kind, gpu.memory) for gpu in self._gpus or ()),
        )

    # ── what happens ────────────────────────────────────────────────────────

    def _welcomed(self, welcome: Welcome) -> None:
        self._me, self._met, self._is_heard = welcome.peer, welcome.coordinator, True
        self._exchange.start_anew()
        self._codes.clear()      # nobody knows any more that it is here
        self._lines = Lines(self._settings.wire.unacknowledged_bytes_max)
        log.info("node.joined", name=self._name, peer=welcome.peer, port=self._port, offers=describe(self._capacity))
        self._driver.post(Welcomed(welcome.peer, welcome.heartbeat_seconds))
        if self._is_draining:   # we were forgotten meanwhile, and so was that
            self._session.send(Drain(seconds=self._drain_seconds))

    def _happened(self, event: Any) -> None:
        match event:
            case Finished():   # of most that happens nothing more is to be done
                pass
            case Received(_, message):
                self._heard(message)
            case WorkerGone(worker, reason, running):
                log.info("worker.gone", worker=worker, reason=reason, running=[f"{run}/{task}" for run, task in running])
            case Dropped():
                self._is_heard = False
                if self._is_draining:
                    asyncio.get_running_loop().call_later(DRAIN_GRACE_SECONDS, self._see_whether_alone)
                log.warning("coordinator.dropped", note="working on; trying to reach it again")
            case Resumed():
                self._is_heard = True
                log.info("coordinator.resumed")
            case Lost(peer, reason) if peer == COORDINATOR and reason == DRAINED:
                self.stop("nobody needs it any more, or its time to drain is over")
            case Lost(peer, reason) if peer == COORDINATOR:
                self._refusal = reason
                self.stop(reason)
        self._driver.post(event)

    def _heard(self, message: Message) -> None:
        """Keep what is raw or merely known beside the brain: code, and where peers are."""
        match message:
            case Plan() if message.codes:
                body, at = memoryview(message.body), 0  # type: ignore[arg-type]  # a received body is one buffer
                for digest, size in message.codes:
                    self._codes[digest] = bytes(body[at : at + size])
                    at += size
            case Peers():
                here = tuple(seen_from_here(address, self._coordinator[0]) for address in message.addresses)
                self._exchange.learn(replace(message, addresses=here))
            case DropCode(digests):
                for digest in digests:
                    self._codes.pop(digest, None)
            case _:
                pass

    def _printed(self, run: RunId, tasks: list[int], streams: list[str], texts: list[str]) -> None:
        for output in self._lines.admit(Output(run, ints(tasks), tuple(streams), tuple(texts)), self._session.kept_bytes):
            self._session.send(output)

    def _with_what_moved(self, alive: Alive) -> Alive:
        """A heartbeat, with what the brain does not know: how much lies here, and how fast large values came."""
        moved = self._exchange.moved()
        if not moved:
            return replace(alive, resident_bytes=self._store.resident_bytes)
        sources, nbytes, seconds = zip(*moved, strict=True)
        return replace(
            alive, resident_bytes=self._store.resident_bytes,
            sources=ints(sources), moved_bytes=longs(nbytes), moved_seconds=floats(seconds),
        )

    # ── what the brain asks for ─────────────────────────────────────────────

    def _perform(self, effect: Any) -> None:
        match effect:
            case Execute():
                self._pool.execute(effect)
            case Send(peer, message):
                if peer != COORDINATOR:
                    self._exchange.send(peer, message)
                elif isinstance(message, Alive):
                    self._session.send(self._with_what_moved(message))
                else:
                    self._session.send(message)
            case Deliver():
                self._exchange.deliver(effect)
            case Stream():
                self._exchange.stream(effect)
            case Drop(run, tasks):
                self._exchange.drop(run, tasks)
                self._store.drop(run, tasks)
            case DropRun(run):
                self._exchange.drop_run(run)
                self._store.drop_run(run)
            case Spawn(worker):
                self._pool.spawn(worker)
            case Kill(worker, reason):
                self._pool.kill(worker, reason)
            case HandBack(worker):
                self._pool.hand_back(worker)
            case Look(worker):
                self._pool.look(worker)
            case CancelTask():
                self._pool.cancel(effect)
            case Note(level, event, fields):
                getattr(log, level)(event, **dict(fields))
            case Close(peer, reason) if peer == COORDINATOR:
                log.warning("node.orphaned", reason=reason, note="joining anew, as soon as it can be reached")
                self._session.begin_anew(reason)
            case _:
                raise HandoffError(f"the node's brain asked for {effect!r}, which the daemon can't do")


def _default_host(coordinator: str) -> str:
    """Peers must reach us: everywhere, unless the whole cluster lives on this machine's loopback."""
    return "127.0.0.1" if is_loopback(coordinator) else "0.0.0.0"


