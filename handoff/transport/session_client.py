"""The side of a node or client of its session with the coordinator: it dials, and dials again; see `sessions.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from handoff.errors import ConnectionLost, LinkError, ProtocolError
from handoff.errors import Refused as RefusedError
from handoff.greetings import DRAINED, STOPS, Hello, Welcome
from handoff.ids import COORDINATOR, NOBODY
from handoff.log import log
from handoff.machine import Dropped, Ended, Lost, Received, Resumed
from handoff.messages import Chunk, Message
from handoff.settings import WireSettings
from handoff.transport.dial import dial
from handoff.transport.link import Link, shown
from handoff.transport.sessions import ACKNOWLEDGE_SECONDS, Emit, all_closed, keep
from handoff.wire.session import Session

UNANSWERED_TURNS = 5             # looks, one every ACKNOWLEDGE_SECONDS, in which nothing of what was said is acknowledged: worth a line
HUNG_UP_MAX = 3                  # times that nobody says why we are not welcome, before we ask once more and believe it


class SessionClient:
    """A node's or client's side of its session with the coordinator.

    Events are about COORDINATOR: Received, Dropped when the connection breaks, Resumed when it is back and nothing was lost, Ended before
    Dropped when it said that it is stopped, and Lost when it will not be back: refused, or it said goodbye to this client alone.
    `on_welcome` is called for each fresh session: the first one, and one that the coordinator began because it did not know us any more
    (what was said before is void then).
    """

    def __init__(
        self, address: tuple[str, int], identity: Any, settings: WireSettings, hello: Callable[[], Hello], emit: Emit,
        on_welcome: Callable[[Welcome], None],
    ) -> None:
        self.address = address
        self._identity, self._settings, self._hello = identity, settings, hello
        self._emit, self._on_welcome = emit, on_welcome
        self._me, self._is_over = NOBODY, False
        self._session = Session(settings.unacknowledged_bytes_max)
        self._link: Link | None = None
        self._redialling: asyncio.Task[None] | None = None
        self._acknowledging: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether a welcomed connection is there right now."""
        return self._link is not None

    @property
    def link(self) -> Link | None:
        """The connection of this moment."""
        return self._link

    @property
    def kept_bytes(self) -> int:
        """How much of what was said the coordinator is not known to have."""
        return self._session.kept_bytes

    async def connect(self, patience_seconds: float = 0.0) -> Welcome:
        """Dial for the first time, for so long, or as the settings say. Raises Refused or ConnectionLost; later breaks are mended."""
        link = await self._dial_first(replace(self._settings, handshake_seconds=max(self._settings.handshake_seconds, patience_seconds)))
        self._acknowledging = asyncio.create_task(self._acknowledge(), name="handoff-acknowledge")
        assert link.welcome is not None
        return link.welcome

    def send(self, message: Message) -> None:
        """Say this to the coordinator, now or as soon as it is back. After Lost: to nobody."""
        if self._is_over:
            return
        if self._link is not None:
            self._link.send(message)
        else:
            keep(self._session, message, self._settings)
        if self._session.is_lost:
            self._end(f"{self._session.kept_bytes} bytes are unacknowledged, more than the settings allow")

    def begin_anew(self, reason: str) -> None:
        """What was said is of no use any more: have a fresh session, as soon as there is a connection. The former one is left."""
        if self._is_over:
            return
        self._me, self._session = NOBODY, Session(self._settings.unacknowledged_bytes_max)
        link, self._link = self._link, None
        if link is not None:
            link.close(reason, bye=True)
            self._emit(Dropped(COORDINATOR))
        if self._redialling is not None:
            self._redialling.cancel()      # it may have told who we were
        self._redialling = asyncio.create_task(self._redial(), name="handoff-redial")

    async def drain(self) -> None:
        """Wait until more may be said without piling it up here."""
        if self._link is not None:
            try:
                await self._link.drain()
            except ConnectionLost:
                return  # the session keeps it

    async def close(self, reason: str = "") -> None:
        """Say goodbye and end; nothing is emitted any more."""
        self._is_over = True
        for task in (self._redialling, self._acknowledging):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close(reason, bye=True)
            await all_closed([link])

    # ── the connection ──────────────────────────────────────────────────────

    async def _dial_first(self, settings: WireSettings) -> Link:
        """Who hangs up without a word may have been ended in mid-handshake; only another look tells that from a wrong secret."""
        for _ in range(HUNG_UP_MAX):
            try:
                return await self._dial(settings)
            except RefusedError as error:
                if error.code:
                    raise
            await asyncio.sleep(settings.reconnect_seconds)
        return await self._dial(settings)

    async def _dial(self, settings: WireSettings) -> Link:
        hello = replace(self._hello(), peer=self._me, received=self._session.received)
        return await dial(self.address, self._identity, hello, self, settings, expect_role="coordinator")

    def opened(self, link: Link) -> None:
        """We are welcome: go on with the session, or begin a new one."""
        welcome = link.welcome
        assert welcome is not None
        if self._is_over or (welcome.resumed and welcome.peer != self._me):    # which was dialled before we began anew
            link.close("not needed any more", bye=True)
            return
        if welcome.resumed:
            link.attach(self._session, welcome.received)
            self._link = link
            self._emit(Resumed(COORDINATOR))
        else:
            self._me = welcome.peer
            self._session = Session(self._settings.unacknowledged_bytes_max)
            link.attach(self._session, 0)
            self._link = link
            self._on_welcome(welcome)

    def received(self, link: Link, message: Message) -> None:
        """A frame of the session, new and in order."""
        self._emit(Received(COORDINATOR, message))

    def destination(self, link: Link, message: Chunk, nbytes: int) -> None:
        """No values travel through the coordinator."""

    def turn(self, link: Link) -> None:
        """Acknowledge where much came and nothing was said."""
        if self._session.unsaid_bytes >= self._settings.acknowledge_bytes:
            link.acknowledge()

    def lost(self, link: Link, reason: str) -> None:
        """The connection broke, or the coordinator ended the session."""
        if self._is_over or link is not self._link:
            return
        self._link = None
        if link.farewell is not None or link.violation is not None:
            if link.farewell == DRAINED or (self._identity.role != "node" and link.farewell != STOPS):
                self._end(link.farewell or reason)
                return
            self._me, self._session = NOBODY, Session(self._settings.unacknowledged_bytes_max)  # who is forgotten joins anew
            if link.farewell == STOPS:
                self._emit(Ended(COORDINATOR, STOPS))
        log.info("session.dropped", reason=reason)
        self._emit(Dropped(COORDINATOR))
        if not self._is_over:
            self._redialling = asyncio.create_task(self._redial(), name="handoff-redial")

    async def _redial(self) -> None:
        pause = self._settings.reconnect_seconds
        while True:
            await asyncio.sleep(pause)
            if self._link is not None:     # a call from before we began anew was answered: we are in
                return
            pause = min(2 * pause, self._settings.reconnect_seconds_max)
            try:
                await self._dial(self._settings)
                return
            except RefusedError as error:
                if error.code:
                    self._end(str(error))
                    return
                # Nobody said why: something between us may hang up for a while, and we were welcome once.
                log.warning("session.redial", reason=str(error))
            except ProtocolError as error:
                self._end(str(error))
                return
            except LinkError as error:
                log.debug("session.redial", reason=str(error))

    def _end(self, reason: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._acknowledging is not None:
            self._acknowledging.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close(reason, bye=True)
        self._emit(Lost(COORDINATOR, reason))

    async def _acknowledge(self) -> None:
        """Tell the coordinator how far we are, and people when it does not do so itself: it may stand still with its connection intact."""
        turns = before = 0
        while True:
            await asyncio.sleep(ACKNOWLEDGE_SECONDS)
            session = self._session
            if self._link is not None and session.unsaid_bytes:
                self._link.acknowledge()
            is_waiting = self._link is not None and session.kept_bytes and session.acknowledged == before
            turns, before = turns + 1 if is_waiting else 0, session.acknowledged
            if turns == UNANSWERED_TURNS:
                log.warning("coordinator.silent", address=shown(self.address), seconds=turns * ACKNOWLEDGE_SECONDS,
                            note="connected, but it acknowledges nothing: it stands still, is very busy, or the network is slow")
