"""The coordinator's shell: sessions with nodes and clients around the scheduler brain. It sees no user code and no user value."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from handoff.address import is_loopback
from handoff.coordinator.runlog import RunLog
from handoff.coordinator.shortened import shortened
from handoff.errors import HandoffError, InvariantViolation, ProtocolError
from handoff.greetings import STOPS
from handoff.ids import PeerId
from handoff.log import log
from handoff.loop import Driver
from handoff.machine import Close, Dropped, Joined, Lost, Note, Received, Resumed, Send, Tick, Unsaid
from handoff.messages import PROTOCOL, Forget, Hello, Message, Output, Refused, Submit
from handoff.resources import Amounts, describe
from handoff.scheduler import learned
from handoff.scheduler.allocator import Allocator
from handoff.scheduler.scheduler import Scheduler
from handoff.settings import Settings
from handoff.transport.lines import Lines
from handoff.transport.link import shown
from handoff.transport.sessions import SessionServer
from handoff.trust.certificates import Identity
from handoff.trust.secret import Secret
from handoff.version import VERSION

if TYPE_CHECKING:
    from handoff.coordinator.memory import Memory

T = TypeVar("T")
ROWS_AT_ONCE = 2000   # functions of which rows are made in one turn of the loop: a few milliseconds
HEARTBEATS = 3        # due from a node before it is suspected, whatever its own settings say: one may be late, and another one lost in it


class Coordinator:
    """One per cluster: `start`, then `wait` until somebody calls `stop`."""

    def __init__(
        self,
        settings: Settings,
        secret: Secret,
        host: str,
        port: int,
        sock: socket.socket | None = None,
        allocator: Allocator | None = None,
        cluster: Amounts = (),
        state: Path | None = None,
        is_embedded: bool = False,
    ) -> None:
        self._settings, self._secret = settings, secret
        self._host, self._port, self._sock = host, port, sock
        self._farewell = "its cluster ends with the program that it was for" if is_embedded else STOPS
        self._scheduler = Scheduler(settings.scheduler, allocator, cluster=cluster)
        self._state = state                   # the directory in which what was learned is kept; None: nowhere
        self._memory: Memory | None = None
        self._disk = ThreadPoolExecutor(1, "handoff-memory")   # no thread before it is used
        self._remembering: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._failure: Exception | None = None
        self._here: dict[PeerId, Hello] = {}  # who is in
        self._lines: dict[PeerId, Lines] = {} # what functions print, on its way to clients
        self._runs = RunLog()

    async def start(self) -> None:
        """Listen. Raises ConfigError when the port is taken or the address is not ours."""
        identity = Identity(self._secret, "coordinator", "coordinator")
        mine = Hello(
            protocol=PROTOCOL,
            version=VERSION,
            python=".".join(platform.python_version_tuple()[:2]),
            role="coordinator",
            name="coordinator",
            boot=os.urandom(16),
            pid=os.getpid(),
        )
        recalled = await self._recall()
        self._driver = Driver(self._scheduler, self._perform, Tick(), self._failed)
        self._sessions = SessionServer(
            identity, self._settings.wire, emit=self._happened, admit=self._admit, mine=mine,
            heartbeat_seconds=self._settings.scheduler.suspect_seconds / HEARTBEATS,
        )
        await self._sessions.listen(self._host, self._port, sock=self._sock)
        log.info("coordinator.listening", host=self._host, port=self.port, cluster=identity.cluster_id, version=VERSION)
        if self._memory is not None:
            if recalled:
                log.info("memory.recalled", path=self._memory.path, **recalled)
            self._remembering = asyncio.create_task(self._remember(), name="handoff-remember")

    @property
    def port(self) -> int:
        """Where it listens, also when port 0 was asked for."""
        return self._sessions.port

    async def wait(self) -> None:
        """Until `stop`; then everything is closed. Raises InvariantViolation when it ended because of a bug of its own."""
        await self._stopped.wait()
        self._driver.stop()
        await self._sessions.close_all(self._farewell)
        await self._end_memory()
        log.info("coordinator.stopped")
        if self._failure is not None:
            raise InvariantViolation(f"the coordinator can't go on: {type(self._failure).__name__}: {self._failure}") from self._failure

    def drain(self) -> bool:
        """Nobody could take over from it."""
        return False

    def stop(self) -> None:
        """End `wait`."""
        self._stopped.set()

    # ── what is kept between runs ───────────────────────────────────────────

    async def _recall(self) -> dict[str, int]:
        """Begin with what was kept: how much of what."""
        if self._state is None:
            return {}
        from handoff.coordinator.memory import Memory  # imports sqlite3, which embedded clusters do without

        self._memory = Memory(self._state)
        rows = await self._on_disk(self._memory.load)
        learned.recall(self._scheduler.ledger, rows)
        return {table: len(several) for table, several in rows.items()}

    async def _remember(self) -> None:
        while True:
            await asyncio.sleep(self._settings.scheduler.remember_seconds)
            await self._save(ROWS_AT_ONCE)

    async def _save(self, most: int) -> None:
        rows = learned.remembered(self._scheduler.ledger, most)
        if rows and self._memory is not None:
            await self._on_disk(self._memory.save, rows)

    async def _end_memory(self) -> None:
        if self._remembering is None or self._memory is None:
            return
        self._remembering.cancel()
        await asyncio.wait([self._remembering])
        if self._failure is None:   # a brain that is half changed may have learned nonsense
            await self._save(sys.maxsize)
        await self._on_disk(self._memory.close)
        self._disk.shutdown(wait=False)

    async def _on_disk(self, what: Callable[..., T], *about: Any) -> T:
        """The loop never waits for the disk; the disk's work is done one by one."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, what, *about)

    def _failed(self, error: Exception) -> None:
        self._failure = error
        log.exception("coordinator.failed", error=error)
        self.stop()

    def _admit(self, hello: Hello) -> Refused | None:
        """A name is a node's identity for pins and people, so two living nodes may not share one."""
        if hello.role == "node":
            for other in self._here.values():
                if other.role == "node" and other.name == hello.name:
                    place = f"process {other.pid} at {shown(other.address)}"
                    text = f"a node named {hello.name!r} is already here ({place}); choose another with --name"
                    return Refused("Refused", text)
            if is_loopback(hello.address[0]) and not is_loopback(self._sessions.listens_on):
                text = (
                    f"node {hello.name!r} listens on {hello.address[0]} alone, where the cluster's other machines can't reach it;"
                    " start it with --host 0.0.0.0"
                )
                return Refused("Refused", text)
        return None

    def _happened(self, event: Any) -> None:
        """From the sessions to the brain; what a person would want to know goes to the log on the way."""
        match event:
            case Received(peer, message):     # by far the most usual
                if type(message) is Submit:
                    self._runs.asked(peer, message, self._here[peer].name if peer in self._here else "")
                elif type(message) is Forget:
                    self._runs.forgotten((message.run, *message.others))
            case Joined(peer, hello):
                hello = replace(hello, address=(hello.address[0] or self._sessions.host(peer), hello.address[1]))
                self._here[peer] = hello
                event = Joined(peer, hello)
                if hello.role == "node":
                    address = f"{hello.address[0]}:{hello.address[1]}"
                    log.info("node.joined", name=hello.name, peer=peer, address=address, offers=describe(hello.capacity))
                else:
                    self._lines[peer] = Lines(self._settings.wire.unacknowledged_bytes_max)
                    log.info("client.joined", name=hello.name, peer=peer)
            case Lost(peer, reason):
                log.info("peer.left", peer=peer, name=self._leave(peer), reason=reason)
            case Dropped(peer):
                log.warning("peer.dropped", peer=peer, name=self._here[peer].name)
            case Resumed(peer):
                log.info("peer.resumed", peer=peer, name=self._here[peer].name)
        self._driver.post(event)

    def _perform(self, effect: Any) -> None:
        match effect:
            case Send(peer, message):
                if type(message) in RunLog.TOLD:
                    self._runs.said(peer, message)
                for each in self._admitted(peer, message) if type(message) is Output else (message,):
                    try:
                        self._sessions.send(peer, each)
                    except (ProtocolError, OverflowError) as error:   # such as the timeline of millions of tasks, or a name of megabytes
                        self._say_less(peer, each, str(error))
            case Close(peer, reason):
                log.warning("peer.forgotten", peer=peer, name=self._leave(peer), reason=reason)
                self._sessions.close(peer, reason)
            case Note(level, event, fields):
                getattr(log, level)(event, **dict(fields))
            case _:
                raise HandoffError(f"the scheduler asked for {effect!r}, which the coordinator can't do")

    def _admitted(self, peer: PeerId, output: Output) -> list[Output]:
        """What a client is told now of what functions print."""
        lines = self._lines.get(peer)
        return lines.admit(output, self._sessions.kept_bytes(peer)) if lines is not None else []    # else it left

    def _say_less(self, peer: PeerId, message: Message, why: str) -> None:
        """What is too large to be said, for this reason, is shortened, or the brain is told."""
        name = self._here[peer].name if peer in self._here else ""
        log.warning("message.too_large", peer=peer, name=name, reason=why)
        instead = shortened(message, why)
        if instead is not None:
            self._sessions.send(peer, instead)
        else:
            self._driver.post(Unsaid(peer, message, why))

    def _leave(self, peer: PeerId) -> str:
        """The name of who is not in any more; it is free for another."""
        hello = self._here.pop(peer, None)
        self._runs.left(peer)
        self._lines.pop(peer, None)
        return hello.name if hello is not None else ""
