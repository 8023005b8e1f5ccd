"""How a bulk connection comes to be: offered over the link of two peers, dialled by the other end, which proves that it knows the key."""

from __future__ import annotations

import asyncio
import os
import socket

from handoff.errors import ConnectionLost, ProtocolError
from handoff.greetings import OfferBulk
from handoff.transport.bulk import Channel
from handoff.transport.dial import connect
from handoff.transport.records import GREETING_BYTES, PIECE_BYTES_MAX, TICKET_BYTES, greeting, proven, ticket_in
from handoff.trust.sealing import KEY_BYTES, Seal, fresh_key


class Tickets:
    """Bulk connections that this process offered and that have not come yet."""

    def __init__(self) -> None:
        self._offers: dict[bytes, tuple[OfferBulk, asyncio.Future[Channel]]] = {}

    def offer(self, is_clear: bool, piece_bytes: int) -> OfferBulk:
        """A new one, to be said over the link to who is to dial."""
        offer = OfferBulk(os.urandom(TICKET_BYTES), fresh_key(), is_clear, piece_bytes)
        self._offers[offer.ticket] = (offer, asyncio.get_running_loop().create_future())
        return offer

    async def dialled(self, offer: OfferBulk, seconds: float) -> Channel:
        """Wait for it. Raises TimeoutError, and ConnectionLost when the other end declined; either way the ticket is void then."""
        came = self._offers[offer.ticket][1]
        try:
            async with asyncio.timeout(seconds):
                return await came
        except BaseException:
            if came.done() and not came.cancelled() and came.exception() is None:   # it came in the very moment in which we gave up
                came.result().end()
            raise
        finally:
            del self._offers[offer.ticket]

    def declined(self, ticket: bytes, reason: str) -> None:
        """The other end can't dial us, or does not want to."""
        _, came = self._offers.get(ticket, (None, None))
        if came is not None and not came.done():
            came.set_exception(ConnectionLost(reason))

    async def greet(self, sock: socket.socket) -> None:
        """Somebody begins a bulk connection. Raises ProtocolError for who does not prove the key of an offer; a ticket is good once."""
        loop, said = asyncio.get_running_loop(), memoryview(bytearray(GREETING_BYTES))
        filled = 0
        while filled < GREETING_BYTES:
            count = await loop.sock_recv_into(sock, said[filled:])
            if not count:
                raise ProtocolError("hung up within the greeting of a bulk connection")
            filled += count
        offer, came = self._offers.get(ticket_in(bytes(said)), (None, None))
        if offer is None or came is None or came.done():
            raise ProtocolError("a bulk connection that nobody offered, or that came before")
        is_clear = proven(bytes(said), Seal(offer.key, b"greeting"))
        if is_clear and not offer.clear:
            raise ProtocolError("a bulk connection in the clear, where an encrypted one was offered")
        came.set_result(Channel(sock, offer.key, is_clear, offer.piece_bytes))


async def dial_bulk(address: tuple[str, int], offer: OfferBulk, allows_clear: bool, seconds: float) -> Channel:
    """The connection that was offered. Raises ProtocolError for an offer that makes no sense, ConnectionLost where it can't be had."""
    if len(offer.ticket) != TICKET_BYTES or len(offer.key) != KEY_BYTES or not 0 < offer.piece_bytes <= PIECE_BYTES_MAX:
        raise ProtocolError(f"an offer of a bulk connection with pieces of {offer.piece_bytes} bytes, or a key of another size")
    is_clear = offer.clear and allows_clear
    try:
        async with asyncio.timeout(seconds):
            sock = await connect(address)
            try:
                await asyncio.get_running_loop().sock_sendall(sock, greeting(offer.ticket, is_clear, Seal(offer.key, b"greeting")))
            except BaseException:
                sock.close()
                raise
    except OSError as error:   # TimeoutError is one
        raise ConnectionLost(f"can't open a bulk connection: {str(error) or type(error).__name__}") from None
    return Channel(sock, offer.key, is_clear, offer.piece_bytes)
