"""One TLS connection to one peer: messages in, messages out, and nothing that this peer may not say.

A link is made by `dial` or `listen` and handed to its handler once both sides have introduced themselves. `send` never waits: what is
said in one turn of the loop leaves in one write. Who produces faster than the peer reads looks at `writable`, or awaits `drain()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, Union, cast

from handoff.errors import ConnectionLost, ProtocolError
from handoff.ids import NOBODY, PeerId
from handoff.log import log
from handoff.loop import this_turn
from handoff.messages import Alive, Bye, Chunk, Hello, Message, Welcome
from handoff.roles import AFTER, ALLOWED, LAZY
from handoff.settings import KIB, WireSettings
from handoff.wire import codec
from handoff.wire.fit import CHECKED, check_fit
from handoff.wire.frames import HEAD_BYTES, SESSION, SHORT, UNNUMBERED, Reader, head, widen
from handoff.wire.session import Session

Buffer: TypeAlias = Union[bytes, bytearray, memoryview]

OWN_WRITE_BYTES = 32 * KIB      # a buffer from this size on is written as it is; smaller ones are joined
FLUSH_BYTES = 256 * KIB         # so much is not kept for the end of the turn
SHUTDOWN_SECONDS = 1.0          # for saying goodbye to a peer that no longer answers
LAZY_SECONDS = 0.002            # what nobody waits for leaves with the next message, or after this long
DEAD_PEER_MILLISECONDS = 10_000 # unacknowledged by the other machine for so long: the connection is broken


class Handler(Protocol):
    """What a shell does with its links. Nothing here waits; messages come in the order in which they were sent.

    Two more methods are called where a handler has them: `opened(link)` when both sides have introduced themselves and nothing was
    received yet, and `turn(link)` when everything that was read at once has been handed over.
    """

    def received(self, link: Link, message: Message) -> None:
        """The peer said this."""

    def destination(self, link: Link, message: Chunk, nbytes: int) -> memoryview | None:
        """Where the body of this chunk, which is about to be read, is to be put; None: in a buffer of its own. `received` follows."""

    def lost(self, link: Link, reason: str) -> None:
        """An open link is gone. Not called for links that this side closed."""


class Link(asyncio.BufferedProtocol):
    """See the head of the file. Shells use what is public here and make none themselves."""

    def __init__(
        self, identity: Any, settings: WireSettings, handler: Handler, *,
        introduce: Callable[[Link, Message], None], gone: Callable[[Link, str], None], peer: PeerId = NOBODY,
    ) -> None:
        self.peer = peer                       # whom we talk to, where that is known
        self.role = self.name = ""             # the peer's, from its certificate
        self.local_role: str = identity.role
        self.address = ""                      # the other end, for people
        self.host = ""
        self.hello: Hello | None = None        # what the peer said of itself, when it dialled us
        self.welcome: Welcome | None = None    # what the peer answered, when we dialled it
        self.farewell: str | None = None       # the reason that the peer gave for leaving for good
        self.violation: str | None = None      # what the peer said that it may not say
        self.session: Session | None = None
        self.is_open = False                   # both sides have introduced themselves
        self.closed = False
        self._identity, self._settings, self._handler = identity, settings, handler
        self._opened: Callable[[Link], None] | None = getattr(handler, "opened", None)
        self._turn: Callable[[Link], None] | None = getattr(handler, "turn", None)
        self._introduce, self._gone = introduce, gone
        self._loop = asyncio.get_running_loop()
        self._this_turn = this_turn()
        self._transport: asyncio.Transport | None = None
        self._reader = Reader(settings, self._receive, self._place)
        self._allowed: frozenset[type] = frozenset()
        self._outgoing: list[Buffer] = []
        self._outgoing_bytes = 0
        self._has_large = False
        self._is_flushing = False              # what is said in this turn leaves at its end
        self._is_timed = False                 # what nobody waits for leaves at the latest when a timer rings
        self._is_paused = False
        self._is_ended = False                 # the transport is gone
        self._has_news = False
        self._waiting: list[asyncio.Future[None]] = []
        self._ended: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<Link to {self.role or 'stranger'} {self.name} at {self.address}{' closed' if self.closed else ''}>"

    # ── for shells ──────────────────────────────────────────────────────────

    @property
    def writable(self) -> bool:
        """Whether little enough is unwritten that more may be said without waiting."""
        return not self._is_paused and self._outgoing_bytes < self._settings.write_high_bytes

    def send(self, message: Message) -> None:
        """Say this after all that was said before. Nothing happens on a closed link, except that a session keeps it.

        Buffers of a body are not copied: leave them as they are.
        """
        kind = type(message)
        header, body = codec.encode(message, self._settings.body_bytes_max)
        body_bytes = sum(map(len, body)) if body else 0
        if len(header) > self._settings.header_bytes_max or body_bytes > self._settings.body_bytes_max:
            raise too_large(message, len(header), body_bytes, self._settings)
        session = self.session
        if session is None:
            if not self.closed:
                self._write(head(len(header), body_bytes), header, body, body_bytes, kind)
            return
        if self.closed:
            session.keep(header, body, len(header) + body_bytes)
        else:
            self._write(session.frame(header, body, body_bytes), header, body, body_bytes, kind)

    async def drain(self) -> None:
        """Wait until the link is writable. Raises ConnectionLost when it is gone."""
        self._flush()
        while not self.closed and self._is_paused:
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter
        if self.closed:
            raise ConnectionLost(f"the connection to {self.name or self.address} is closed")

    def close(self, reason: str = "", *, bye: bool = False) -> None:
        """End the link after what was said so far; with `bye`, tell the peer that this is for good, and why."""
        if self.closed:
            return
        if bye and self.is_open:
            self.send(Bye(reason))
        self._flush()
        self.closed = True
        self._wake()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the link now; what was not written is lost, and the handler is told as if the network had broken."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Return when the connection is really gone."""
        if self._transport is not None and not self._is_ended:
            waiter = self._loop.create_future()
            self._ended.append(waiter)
            await waiter

    # ── for sessions ────────────────────────────────────────────────────────

    def attach(self, session: Session, received_by_peer: int) -> None:
        """From now on this link carries the session, beginning with what the peer has not received."""
        again = session.resume(received_by_peer)
        self.session = session
        for number, _, header, body in again:
            body_bytes = sum(map(len, body))
            self._write(head(len(header), body_bytes, SESSION, number, session.said()), header, body, body_bytes)

    def acknowledge(self) -> None:
        """Tell the peer how far we are, without counting this itself as something to be acknowledged."""
        if self.session is not None and not self.closed:
            header, _ = codec.encode(Alive())
            self._write(head(len(header), 0, SESSION | UNNUMBERED, 0, self.session.said()), header, [], 0)

    # ── for dial and listen ─────────────────────────────────────────────────

    def open(self) -> None:
        """Both sides have introduced themselves."""
        self._reader.open()
        self.is_open = True
        if self._opened is not None:
            self._opened(self)

    # ── writing ─────────────────────────────────────────────────────────────

    def _write(self, start: bytes, header: bytes, body: list[Buffer] | Any, body_bytes: int, kind: type = object) -> None:
        outgoing = self._outgoing
        if not self._is_flushing:
            if kind in LAZY:
                if not self._is_timed:
                    self._is_timed = True
                    self._loop.call_later(LAZY_SECONDS, self._flush_late)
            elif kind in AFTER:
                self._is_flushing = True
                self._loop.call_soon(self._flush)
            else:
                self._is_flushing = True
                self._this_turn.at_end(self._flush)
        outgoing.append(start)
        outgoing.append(header)
        if body:
            outgoing.extend(body)
            self._has_large = self._has_large or body_bytes >= OWN_WRITE_BYTES
        self._outgoing_bytes += HEAD_BYTES + len(header) + body_bytes
        if self._outgoing_bytes >= FLUSH_BYTES:
            self._flush()

    def _flush_late(self) -> None:
        self._is_timed = False
        self._flush()

    def _flush(self) -> None:
        self._is_flushing = False
        outgoing = self._outgoing
        if not outgoing or self._transport is None or self.closed:
            return
        self._outgoing, self._outgoing_bytes = [], 0
        if not self._has_large:
            self._transport.write(b"".join(outgoing))
            return
        self._has_large = False
        small: list[Buffer] = []
        for each in outgoing:
            if len(each) < OWN_WRITE_BYTES:
                small.append(each)
                continue
            if small:
                self._transport.write(b"".join(small))
                small = []
            self._transport.write(each)
        if small:
            self._transport.write(b"".join(small))

    def pause_writing(self) -> None:
        """Called by the transport: too much is unwritten."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Called by the transport: enough was written."""
        self._is_paused = False
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    # ── reading ─────────────────────────────────────────────────────────────

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by the transport: where to read to."""
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the transport: so much was read."""
        if self.closed:
            return
        with self._this_turn:
            try:
                self._reader.advance(nbytes)
                if self._has_news:
                    self._has_news = False
                    if self._turn is not None:
                        self._turn(self)
            except ProtocolError as error:
                self._violated(str(error))
            except Exception as error:  # a bug of ours: what was said is half done, so nothing more may be believed on this link
                log.exception("link.failed", role=self.role, name=self.name, address=self.address, error=error)
                self._violated(f"it could not be handled: {type(error).__name__}: {error}")

    def _receive(self, flags: int, number: int, acknowledged: int, header: Buffer, body: Buffer) -> None:
        if self.closed:
            return
        session = self.session
        if session is not None:
            if not flags & SESSION:
                raise ProtocolError("a frame outside of the session")
            if acknowledged != session.acknowledged & SHORT:
                session.acknowledge(widen(acknowledged, session.acknowledged))
            due, nbytes = session.received + 1, len(header) + len(body)
            if number == due & SHORT and not flags & UNNUMBERED:    # as `accept` does it, for nearly all that comes
                session.received = due
                session.unsaid_bytes += nbytes
            elif flags & UNNUMBERED or not session.accept(widen(number, session.received), nbytes):
                return
        message = codec.decode(header, body)
        if not self.is_open:
            self._introduce(self, message)
            return
        kind = type(message)
        if kind not in self._allowed:
            raise ProtocolError(f"a {self.role} may not say {kind.__name__} to a {self.local_role}")
        if kind in CHECKED:
            check_fit(message, len(body))
        if type(message) is Bye:
            self.farewell = message.reason or f"{self.role} {self.name} left"
            self.close()
            self._handler.lost(self, self.farewell)
            return
        if type(message) is Chunk and type(body) is bytes and body:  # a small one: the reader did not ask where to put it
            place = self._handler.destination(self, message, len(body))
            if place is not None:
                place[:] = body
                message = Chunk(message.run, message.task, message.offset, message.total, place)
        self._has_news = True
        self._handler.received(self, message)

    def _place(self, header: Buffer, nbytes: int) -> memoryview | None:
        if self.closed or not self.is_open or Chunk not in self._allowed or not codec.may_be(Chunk, header):
            return None
        message = codec.decode(header)
        if type(message) is not Chunk:
            return None
        check_fit(message, nbytes)
        return self._handler.destination(self, message, nbytes)

    def _violated(self, reason: str) -> None:
        log.warning("link.violation", role=self.role, name=self.name, address=self.address, reason=reason)
        self.violation = reason
        was_open = self.is_open
        if not self.closed:
            self.close(f"protocol violation: {reason}", bye=True)
        if was_open:
            self._handler.lost(self, f"protocol violation: {reason}")
        else:
            self._gone(self, f"protocol violation: {reason}")

    # ── the connection ──────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport, after the TLS handshake."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop has its own
        self._transport.set_write_buffer_limits(high=self._settings.write_high_bytes, low=self._settings.write_low_bytes)
        peername = transport.get_extra_info("peername")
        if peername:
            self.host = peername[0]
            self.address = shown(peername)
        try:
            self.role, self.name = self._identity.peer_role(transport.get_extra_info("ssl_object"))
        except (ProtocolError, ValueError) as error:
            self._violated(str(error))
            return
        self._allowed = frozenset(ALLOWED.get((self.role, self.local_role), ()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport: it is over."""
        self._is_ended = True
        self._reader.close()  # a dead link may lie about until the garbage collector comes by; half a value may not
        was_closed, self.closed = self.closed, True
        self._wake()
        for waiter in self._ended:
            if not waiter.done():
                waiter.set_result(None)
        if was_closed:
            return
        reason = f"connection lost: {exc}" if exc else "connection closed by the other side"
        if self.is_open:
            self._handler.lost(self, reason)
        else:
            self._gone(self, reason)


def too_large(message: Message, header_bytes: int, body_bytes: int, settings: WireSettings) -> ProtocolError:
    """What is wrong with a message that the other side would not take."""
    return ProtocolError(
        f"{type(message).__name__} has {header_bytes} + {body_bytes} bytes (header + body), more than"
        f" {settings.header_bytes_max} + {settings.body_bytes_max}; send large values as chunks"
    )


def tune(sock: socket.socket) -> None:
    """Small messages leave at once, and a peer that vanished is noticed in seconds."""
    options = (
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 2),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", DEAD_PEER_MILLISECONDS),
    )
    for level, name, value in options:
        if hasattr(socket, name):
            with contextlib.suppress(OSError):
                sock.setsockopt(level, getattr(socket, name), value)


def shown(address: tuple[Any, ...]) -> str:
    """An address as a person writes it."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
