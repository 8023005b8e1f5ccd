"""Conversations with the coordinator that outlive their connections, told to brains as events of `handoff.machine`.

Here is the coordinator's side: it lets nodes and clients in, gives them their ids, and keeps what they have not acknowledged.
`session_client.py` has the side of a node or client: it dials, and dials again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, TypeAlias

from handoff.greetings import STOPS, Hello, Refused, Welcome
from handoff.ids import PeerId
from handoff.machine import Dropped, Ended, Joined, Lost, Received, Resumed
from handoff.messages import Chunk, Message
from handoff.settings import WireSettings
from handoff.transport.link import Link, too_large
from handoff.transport.listen import Listener, listen
from handoff.transport.versions import check_versions
from handoff.wire import codec
from handoff.wire.session import Session

Event: TypeAlias = Joined | Received | Dropped | Resumed | Ended | Lost
Emit: TypeAlias = Callable[[Event], None]

ACKNOWLEDGE_SECONDS = 1.0        # what came is acknowledged at least this often
PROBE_PAUSES = (0.0, 0.05, 0.2)  # between looks at a node whose connection broke; a dying process may close its port a little later
PROBE_SECONDS = 1.0              # afterwards, and the patience of each look
FLUSH_SECONDS = 2.0              # for the last words of a closing session


class _Peer:
    """What the server knows of one session."""

    __slots__ = ("hello", "host", "link", "probe", "session")

    def __init__(self, hello: Hello, session: Session) -> None:
        self.hello, self.session = hello, session
        self.host = ""                              # where it came from last
        self.link: Link | None = None               # None while dropped
        self.probe: asyncio.Task[None] | None = None


class SessionServer:
    """The coordinator's side of all sessions.

    `admit(hello)` may refuse who is new; role and name are proven by the certificate. Events go to `emit` as they happen.
    A `Lost` is emitted for whatever the peer or the network did; not for `close`, which the caller did itself.
    """

    def __init__(
        self, identity: Any, settings: WireSettings, emit: Emit, admit: Callable[[Hello], Refused | None], mine: Hello,
        heartbeat_seconds: float = 0.0,
    ) -> None:
        self._identity, self._settings, self._emit, self._admit, self._mine = identity, settings, emit, admit, mine
        self._heartbeat_seconds = heartbeat_seconds     # at most, of who is welcomed
        self._peers: dict[PeerId, _Peer] = {}
        self._last = 0
        self._listener: Listener | None = None
        self._acknowledging: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None, "listen() comes first"
        return self._listener.port

    @property
    def listens_on(self) -> str:
        """At which of this machine's addresses."""
        assert self._listener is not None, "listen() comes first"
        return self._listener.address[0]

    async def listen(self, host: str, port: int, sock: socket.socket | None = None) -> None:
        """Begin to let peers in."""
        self._listener = await listen(host, port, self._identity, "coordinator", self._welcome, self, self._settings, sock=sock)
        self._acknowledging = asyncio.create_task(self._acknowledge(), name="handoff-acknowledge")

    def send(self, peer: PeerId, message: Message) -> None:
        """Say this to that peer, now or as soon as it is back; ProtocolError when it is too large. Who is forgotten is told nothing."""
        entry = self._peers.get(peer)
        if entry is None:
            return
        if entry.link is not None:
            entry.link.send(message)
        else:
            keep(entry.session, message, self._settings)
        if entry.session.is_lost:
            self._lose(peer, f"{entry.session.kept_bytes} bytes are unacknowledged, more than the settings allow")

    def close(self, peer: PeerId, reason: str) -> None:
        """Forget this peer, and say so to it where that is possible."""
        entry = self._forget(peer)
        if entry is not None and entry.link is not None:
            entry.link.close(reason, bye=True)

    def host(self, peer: PeerId) -> str:
        """The address that a peer came from last; empty when it is not known."""
        entry = self._peers.get(peer)
        return entry.host if entry is not None else ""

    def kept_bytes(self, peer: PeerId) -> int:
        """How much of what was said a peer is not known to have."""
        entry = self._peers.get(peer)
        return entry.session.kept_bytes if entry is not None else 0

    async def close_all(self, reason: str = STOPS) -> None:
        """Say goodbye to everyone and stop listening."""
        links = [entry.link for entry in self._peers.values() if entry.link is not None]
        for peer in list(self._peers):
            self.close(peer, reason)
        if self._acknowledging is not None:
            self._acknowledging.cancel()
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
        await all_closed(links)

    # ── who comes in ────────────────────────────────────────────────────────

    def _welcome(self, link: Link, hello: Hello) -> Welcome | Refused:
        if (refusal := check_versions(self._mine, hello)) is not None:
            return refusal
        entry = self._peers.get(hello.peer)
        who = (hello.boot, hello.role, hello.name)   # nodes know the boots of others, which called them
        if entry is not None and (entry.hello.boot, entry.hello.role, entry.hello.name) == who:
            if entry.session.acknowledged <= hello.received <= entry.session.sent:
                if entry.link is not None:
                    entry.link.close("replaced by a newer connection of the same session")
                    entry.link = None
                    self._emit(Dropped(hello.peer))
                return Welcome(hello.peer, True, entry.session.received, self._mine.name)
            self._lose(hello.peer, "it lost track of its session")
        if hello.role == "node":
            self._lose_former_life(hello)
        if (refusal := self._admit(hello)) is not None:
            return refusal
        self._last += 1
        link.peer = PeerId(self._last)
        self._peers[link.peer] = _Peer(hello, Session(self._settings.unacknowledged_bytes_max))
        return Welcome(link.peer, name=self._mine.name, coordinator=self._mine.boot, heartbeat_seconds=self._heartbeat_seconds)

    def _lose_former_life(self, hello: Hello) -> None:
        """A node that begins anew ends the session it had before: its own, or that of its process before a restart."""
        for peer, entry in list(self._peers.items()):
            if entry.hello.role != "node" or entry.hello.name != hello.name:
                continue
            if entry.hello.boot == hello.boot:
                self._lose(peer, "it began a new session")
            elif entry.link is None:
                self._lose(peer, "its process was restarted")

    def opened(self, link: Link) -> None:
        """Its welcome is on the way: attach it to its session."""
        assert link.hello is not None
        entry = self._peers[link.peer]
        is_new = link.hello is entry.hello   # a peer of a former coordinator may ask for the number that it gets
        entry.link, entry.host = link, link.host
        if entry.probe is not None:
            entry.probe.cancel()
            entry.probe = None
        link.attach(entry.session, 0 if is_new else link.hello.received)
        self._emit(Joined(link.peer, link.hello) if is_new else Resumed(link.peer))

    def received(self, link: Link, message: Message) -> None:
        """A frame of the session, new and in order."""
        self._emit(Received(link.peer, message))

    def destination(self, link: Link, message: Chunk, nbytes: int) -> None:
        """No values travel through the coordinator."""

    def turn(self, link: Link) -> None:
        """Acknowledge where much came and nothing was said."""
        if link.session is not None and link.session.unsaid_bytes >= self._settings.acknowledge_bytes:
            link.acknowledge()

    def lost(self, link: Link, reason: str) -> None:
        """The connection broke, or the peer left, or said what it may not say."""
        entry = self._peers.get(link.peer)
        if entry is None or entry.link is not link:
            return
        entry.link = None
        if link.farewell is not None or link.violation is not None:
            self._lose(link.peer, reason)
            return
        self._emit(Dropped(link.peer))
        if entry.hello.role == "node" and entry.hello.address[1] and self._peers.get(link.peer) is entry:
            where = (entry.hello.address[0] or entry.host, entry.hello.address[1])
            entry.probe = asyncio.create_task(self._probe(link.peer, where), name="handoff-probe")

    # ── who goes ────────────────────────────────────────────────────────────

    async def _probe(self, peer: PeerId, where: tuple[str, int]) -> None:
        """Look whether the process is still there: a port that refuses means that it is not. Anything else means nothing."""
        looks = 0
        while True:
            await asyncio.sleep(PROBE_PAUSES[looks] if looks < len(PROBE_PAUSES) else PROBE_SECONDS)
            looks += 1
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    _, writer = await asyncio.open_connection(*where)
                writer.close()
            except ConnectionRefusedError:
                self._lose(peer, "its process is gone")
                return
            except (OSError, ValueError, OverflowError):  # also an address that is none
                continue

    def _lose(self, peer: PeerId, reason: str) -> None:
        entry = self._forget(peer)
        if entry is not None:
            if entry.link is not None:
                entry.link.close(reason, bye=True)
            self._emit(Lost(peer, reason))

    def _forget(self, peer: PeerId) -> _Peer | None:
        entry = self._peers.pop(peer, None)
        if entry is not None and entry.probe is not None:
            if entry.probe is not asyncio.current_task():
                entry.probe.cancel()
            entry.probe = None
        return entry

    async def _acknowledge(self) -> None:
        while True:
            await asyncio.sleep(ACKNOWLEDGE_SECONDS)
            for entry in self._peers.values():
                if entry.link is not None and entry.session.unsaid_bytes:
                    entry.link.acknowledge()


def keep(session: Session, message: Message, settings: WireSettings) -> None:
    """Say it when there is a connection again. Raises ProtocolError for what is too large to be said, as a link does."""
    header, body = codec.encode(message, settings.body_bytes_max)
    body_bytes = sum(map(len, body))
    if len(header) > settings.header_bytes_max or body_bytes > settings.body_bytes_max:
        raise too_large(message, len(header), body_bytes, settings)
    session.keep(header, body, len(header) + body_bytes)


async def all_closed(links: list[Link]) -> None:
    """Return when their last words are said, or are not heard in time."""
    try:
        async with asyncio.timeout(FLUSH_SECONDS):
            for link in links:
                await link.wait_closed()
    except TimeoutError:
        for link in links:
            link.abort()
