"""Lets peers in: TLS first, then `Hello`, then whatever the owner decides. Strangers get nothing, and one line in the log says why."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from handoff.errors import ConfigError, ProtocolError
from handoff.log import log
from handoff.messages import Hello, Message, Refused, Welcome
from handoff.roles import ALLOWED
from handoff.settings import WireSettings
from handoff.transport.link import SHUTDOWN_SECONDS, Handler, Link, shown, tune
from handoff.transport.records import MAGIC
from handoff.wire.fit import check_fit

BACKLOG = 1024
ACCEPT_PAUSE_SECONDS = 1.0       # after running out of file descriptors
SAME_ADDRESS_SECONDS = 1.0       # at most one line in the log per address, reason and this long
ADDRESSES_MAX = 1024             # remembered for that

Answer = Callable[[Link, Hello], "Welcome | Refused"]
Bulk = Callable[[socket.socket], Awaitable[None]]


async def listen(
    host: str, port: int, identity: Any, role: str, welcome: Answer, handler: Handler, settings: WireSettings, *,
    sock: socket.socket | None = None, bulk: Bulk | None = None,
) -> Listener:
    """Accept links as `role` on this address (port 0: any free one), or on a socket that listens already.

    `welcome(link, hello)` decides: role and name are proven, the rest of `hello` is only said. After a Welcome the handler's `opened`
    is called and messages flow; a Refused is passed on to the peer. `bulk` takes connections that begin as bulk connections do, instead of
    TLS, and raises ProtocolError for those that do not prove themselves. Raises ConfigError when the port is in use.
    """
    if sock is None:
        sock = _bound(host, port)
    sock.setblocking(False)
    return Listener(sock, identity, role, welcome=welcome, handler=handler, settings=settings, bulk=bulk)


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"can't listen on {host!r}: {error}; give an address of this machine with --host") from None
    family, kind, protocol, _, where = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} on {host or 'any address'} is in use: another process listens there;"
                              " choose another with --port") from None
        raise ConfigError(f"can't listen on {shown((host, port))}: {error.strerror}; choose an address of this machine with --host, "
                          "and a port above 1023 with --port") from None
    return sock


class Listener:
    """Accepts until it is closed. Links that are open stay."""

    def __init__(
        self, sock: socket.socket, identity: Any, role: str, *, welcome: Answer, handler: Handler, settings: WireSettings,
        bulk: Bulk | None,
    ) -> None:
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self.port: int = self.address[1]
        self._sock, self._identity, self._role = sock, identity, role
        self._welcome, self._handler, self._settings, self._bulk = welcome, handler, settings, bulk
        self._refusals: dict[tuple[str, str], float] = {}  # address, reason -> when that was logged last
        self._room = asyncio.Semaphore(settings.half_open_max)
        self._strangers: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept(), name="handoff-accept")
        self._accepting.add_done_callback(lambda _: sock.close())

    def close(self) -> None:
        """Accept no more, and hang up on who has not been let in yet."""
        self._accepting.cancel()
        for task in list(self._strangers):
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when nothing of a closed listener is left."""
        await asyncio.gather(self._accepting, *self._strangers, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()  # at the cap: the kernel's backlog waits for us
            try:
                sock, where = await loop.sock_accept(self._sock)
            except OSError as error:
                self._room.release()
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("listener.exhausted", reason=str(error), pause_seconds=ACCEPT_PAUSE_SECONDS)
                    await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                elif error.errno == errno.EBADF:
                    return
                continue
            except BaseException:
                self._room.release()
                raise
            task = asyncio.create_task(self._let_in(sock, where), name="handoff-handshake")
            self._strangers.add(task)
            task.add_done_callback(self._no_stranger)

    def _no_stranger(self, task: asyncio.Task[None]) -> None:
        self._strangers.discard(task)
        self._room.release()

    async def _let_in(self, sock: socket.socket, where: tuple[Any, ...]) -> None:
        loop = asyncio.get_running_loop()
        address = shown(where)
        decided: asyncio.Future[str] = loop.create_future()  # empty: let in; else why not

        def gone(link: Link, reason: str) -> None:
            if not decided.done():
                decided.set_result(reason)

        tune(sock)
        link = Link(self._identity, self._settings, self._handler, introduce=partial(self._introduce, decided), gone=gone)
        reason, is_taken = "", False
        try:
            async with asyncio.timeout(self._settings.handshake_seconds):
                first = await _first_byte(sock)
                if not first:   # a coordinator that looks whether we are there, or whoever else does
                    log.debug("link.probed", address=address)
                    return
                if self._bulk is not None and first == MAGIC[:1]:
                    await self._bulk(sock)
                    is_taken = True
                    return
                is_taken = True
                await loop.connect_accepted_socket(
                    lambda: link, sock, ssl=self._identity.server_context(),
                    ssl_handshake_timeout=self._settings.handshake_seconds, ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                )
                reason = await decided
        except TimeoutError:
            reason = f"said nothing useful within {self._settings.handshake_seconds:g} s"
        except OSError as error:
            reason = _explained(error)
        except ProtocolError as error:   # on a bulk connection; those of a link are said to `gone`
            reason = str(error)
        finally:
            if not link.is_open:
                link.close()
            if not is_taken:
                sock.close()
        if reason:
            self._refused(address, where[0], reason, link)

    def _introduce(self, decided: asyncio.Future[str], link: Link, message: Message) -> None:
        """The first message came."""
        if decided.done():
            raise ProtocolError("a second introduction")
        if not isinstance(message, Hello):
            raise ProtocolError(f"{type(message).__name__} instead of an introduction")
        link.hello = message
        link.peer = message.peer
        answer = self._answer(link, message)
        link.send(answer)
        if isinstance(answer, Refused):
            link.close()
            decided.set_result(answer.text)
        else:
            link.open()
            decided.set_result("")

    def _answer(self, link: Link, hello: Hello) -> Welcome | Refused:
        try:
            check_fit(hello, 0)
        except ProtocolError as error:
            return Refused("ProtocolError", str(error))
        if link.role == "coordinator" or (link.role, self._role) not in ALLOWED:  # a coordinator is called, it does not call
            return Refused("Refused", f"a {link.role} has nothing to say to a {self._role}; check the address")
        if (hello.role, hello.name) != (link.role, link.name):
            said = f"who calls says that it is {hello.role} {hello.name}, and its certificate is for {link.role} {link.name}"
            return Refused("Refused", said)
        return self._welcome(link, hello)

    def _refused(self, address: str, host: str, reason: str, link: Link) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._refusals.get((host, reason), -SAME_ADDRESS_SECONDS) < SAME_ADDRESS_SECONDS:
            return
        if len(self._refusals) >= ADDRESSES_MAX:
            self._refusals.clear()
        self._refusals[host, reason] = now
        who = {"role": link.role, "name": link.name} if link.role else {}
        log.warning("link.refused", address=address, reason=reason, **who)


async def _first_byte(sock: socket.socket) -> bytes:
    """What the other side begins with, left where it is."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def came() -> None:
        loop.remove_reader(sock)
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, came)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


def _explained(error: OSError) -> str:
    """Why a handshake failed, in words of this project."""
    text = error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"wrong secret or expired certificate: {error.verify_message}"
    if "PEER_DID_NOT_RETURN_A_CERTIFICATE" in text:
        return "no certificate: not a member of the cluster"
    if "ALERT" in text:  # it looked at our certificate and said no
        return f"it does not accept our certificate: another secret, or a wrong clock ({text})"
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: not a Handoff peer ({text})"
    # Its word for why is lost when its end of the connection is torn down before we have read it.
    return f"hung up during the handshake: a peer with another secret, or none of Handoff ({text or type(error).__name__})"
