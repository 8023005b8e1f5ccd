"""Opens a link to a coordinator or a node: connect, prove who we are, introduce ourselves, wait to be welcomed.

With TLS 1.3 a client believes to be connected before the server has looked at its certificate. So nothing counts before `Welcome`, and a
connection that ends before it is reported as what it most likely is: a rejection.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from handoff.errors import ConfigError, ConnectionLost, ProtocolError, Refused
from handoff.files import NO_FILES
from handoff.ids import COORDINATOR, NOBODY, PeerId
from handoff.messages import Hello, Message, Welcome
from handoff.messages import Refused as RefusedMessage
from handoff.quoting import cut, quoted
from handoff.settings import WireSettings
from handoff.transport.link import SHUTDOWN_SECONDS, Handler, Link, shown, tune
from handoff.wire import codec

TURNS_MAX = 32         # links of one process on their way at once,
TURN_SECONDS = 0.5     # but one that takes longer keeps nobody waiting


class Turns:
    """Who dials many at once does it in turn.

    A handshake takes some milliseconds of a core. A thousand of them at once would all be done at the same time, which for each is too
    late: all would begin again. In turn, the time of each runs from its own beginning. Who does not answer soon gives its turn away.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(TURNS_MAX)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn."""
        await self._free.acquire()
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._free.release()

        late = asyncio.get_running_loop().call_later(TURN_SECONDS, end)
        try:
            yield
        finally:
            late.cancel()
            end()


async def dial(
    address: tuple[str, int], identity: Any, hello: Hello, handler: Handler, settings: WireSettings, *,
    expect_role: str = "", expect_name: str = "", peer: PeerId = COORDINATOR,
) -> Link:
    """An open link to who listens at `address`; `peer` becomes `link.peer`, the answer is `link.welcome`.

    Raises ConnectionLost when nobody answers there, and Refused when somebody does and does not want us, or is not whom we expect.
    """
    fullest = replace(hello, coordinator=hello.coordinator or bytes(16), received=max(hello.received, 1 << 62))   # when it dials again
    if len(codec.encode(fullest)[0]) > settings.hello_bytes_max:
        limit = settings.hello_bytes_max
        raise ConfigError(f"what {hello.role} {hello.name} says of itself exceeds {limit} bytes; use fewer or shorter labels")
    place = shown(address)
    try:
        async with asyncio.timeout(settings.handshake_seconds):
            sock = await connect(address)
            opening = _Opening(place, expect_role, expect_name, peer)
            link = Link(identity, settings, handler, introduce=opening.introduce, gone=opening.gone, peer=peer)
            try:
                await opening.secure(link, sock, identity, settings)
                link.send(hello)
                await opening.answered
            except BaseException:
                link.abort()  # first, since nothing is left to be said, and the caller may end its event loop at once
                link.close()
                raise
            return link
    except TimeoutError:
        raise ConnectionLost(
            f"{place} did not answer within {settings.handshake_seconds:g} s; check the address, and that a firewall lets you through"
        ) from None


async def connect(address: tuple[str, int]) -> socket.socket:
    """A socket that is connected to who listens there, and tuned. Raises ConnectionLost."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address[0], address[1], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ConnectionLost(f"{cut(shown(address))}: there is no host {quoted(address[0])} ({cut(str(error))}); "
                             "check the address") from None
    failure: OSError | None = None
    for family, kind, protocol, _, where in found:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # too many open files: perhaps not for long
            failure = error
            continue
        try:
            sock.setblocking(False)
            tune(sock)
            await loop.sock_connect(sock, where)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    if failure is not None and failure.errno in NO_FILES:
        raise out_of_files(shown(address), failure)
    why = os.strerror(failure.errno) if failure is not None and failure.errno else str(failure)
    hint = "nothing listens there" if failure is not None and failure.errno == errno.ECONNREFUSED else "it can't be reached"
    raise ConnectionLost(f"can't connect to {shown(address)}: {hint} ({why}); is it running, and is the address right?")


def out_of_files(place: str, error: OSError) -> ConnectionLost:
    """No connection can be made: it is us who have no room for one."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return ConnectionLost(f"can't connect to {place}: this process can't open one more file or connection ({why}); close some, or allow "
                          "more: `ulimit -n` says how many it may have")


class _Opening:
    """One link on its way from connected to welcomed."""

    def __init__(self, place: str, role: str, name: str, peer: PeerId) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._place, self._role, self._name, self._peer = place, role, name, peer

    async def secure(self, link: Link, sock: socket.socket, identity: Any, settings: WireSettings) -> None:
        """Do the TLS handshake, and look who answered."""
        try:
            try:
                context = identity.client_context()
            except BaseException:
                sock.close()    # no transport has it yet
                raise
            await asyncio.get_running_loop().create_connection(
                lambda: link, sock=sock, ssl=context, server_hostname=identity.hostname,
                ssl_handshake_timeout=settings.handshake_seconds, ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError as error:  # ssl.SSLError is one
            if error.errno in NO_FILES and not isinstance(error, ssl.SSLError):
                raise out_of_files(self._place, error) from None
            if isinstance(error, ssl.SSLError) and error.reason:
                raise self._rejected(error.reason) from None
            raise self._hung_up(str(error) or type(error).__name__) from None
        if self._role and link.role and link.role != self._role:
            raise Refused(f"{self._place} is a {link.role} ({link.name}), not a {self._role}; check the address", code="Refused")
        if self._name and link.name and link.name != self._name:
            raise Refused(f"{self._place} is {link.role} {link.name}, not {self._name}", code="Refused")

    def introduce(self, link: Link, message: Message) -> None:
        """The first message came."""
        if isinstance(message, Welcome) and message.me not in (self._peer, NOBODY):
            link.close()
            self._fail(ConnectionLost(f"{self._place} is {link.role} {link.name} again, but not the process that it was"))
        elif isinstance(message, Welcome):
            link.welcome = message
            link.open()  # at once: what follows may be in the same packet
            if not self.answered.done():
                self.answered.set_result(None)
        elif isinstance(message, RefusedMessage):
            link.close()
            self._fail(Refused(message.text, code=message.code))
        else:
            raise ProtocolError(f"{type(message).__name__} instead of a welcome")

    def gone(self, link: Link, reason: str) -> None:
        """The connection ended before that."""
        self._fail(self._rejected(reason) if "SSL" in reason else self._hung_up(reason))

    def _fail(self, error: Exception) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)
            self.answered.exception()  # whether or not somebody still waits for it

    def _rejected(self, why: str, said: str = "rejected:") -> Refused:
        return Refused(
            f"{self._place} {said} wrong secret, expired certificate, or not a Handoff coordinator ({why});"
            " compare `handoff secret show` on both machines, and their clocks"
        )

    def _hung_up(self, why: str) -> Refused:
        """Its word for why may be lost on the way; or it had none, since it was killed just then."""
        return self._rejected(why, "hung up during the handshake: it was ended just now, or")
