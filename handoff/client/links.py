"""Links to nodes: dials them when something is said to them, receives large values in place, and uploads objects."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from handoff.address import seen_from_here
from handoff.client.room import room_for
from handoff.errors import ConnectionLost, HandoffError, LinkError, ProtocolError
from handoff.ids import PeerId, RunId
from handoff.log import log
from handoff.machine import Joined, Lost, Received
from handoff.messages import Chunk, Hello, Message
from handoff.settings import WireSettings
from handoff.transport.dial import Turns, dial
from handoff.transport.link import Handler, Link
from handoff.trust.certificates import Identity
from handoff.wire.values import Packed

GOODBYE_SECONDS = 1.0


class _Incoming:
    """A large value on its way to us."""

    __slots__ = ("filled", "room")

    def __init__(self, room: memoryview) -> None:
        self.room, self.filled = room, 0


class NodeLinks(Handler):
    """At most one link to each node; what happens on them is told by `emit`."""

    def __init__(
        self,
        identity: Identity,
        settings: WireSettings,
        hello: Callable[[], Hello],
        peers: Mapping[PeerId, tuple[str, tuple[str, int]]],
        emit: Callable[[Any], None],
        coordinator: str,
    ) -> None:
        self._coordinator = coordinator   # its host, as we reach it
        self._identity, self._settings, self._hello, self._peers, self._emit = identity, settings, hello, peers, emit
        self._links: dict[PeerId, Link] = {}
        self._unsent: dict[PeerId, list[Message]] = {}   # said while the link is being dialled
        self._dialling: dict[PeerId, asyncio.Task[None]] = {}
        self._turns = Turns()
        self._incoming: dict[tuple[PeerId, int, int], _Incoming] = {}
        self._whole: dict[tuple[PeerId, int, int], memoryview] = {}    # complete, for the rest of this turn
        self._tasks: set[asyncio.Task[None]] = set()
        self._all: weakref.WeakSet[Link] = weakref.WeakSet()  # also those that are saying goodbye
        self._closed = False

    # ── sending ──────────────────────────────────────────────────────────────

    def send(self, peer: PeerId, message: Message) -> None:
        """Say it now, or as soon as the link that is being dialled stands."""
        link = self._links.get(peer)
        if link is not None:
            link.send(message)
        elif peer in self._unsent:
            self._unsent[peer].append(message)
        elif self._closed:
            return
        elif peer in self._peers:
            self._unsent[peer] = [message]
            self._dialling[peer] = self._spawn(self._dial(peer))
        else:
            self._emit(Lost(peer, "the coordinator never said where it is"))

    def upload(self, peer: PeerId, run: RunId, values: dict[int, Packed]) -> None:
        """Send large values to a node, one after the other."""
        self._spawn(self._upload(peer, run, values))

    async def _upload(self, peer: PeerId, run: RunId, values: dict[int, Packed]) -> None:
        for task, packed in values.items():
            offset = 0
            for piece in _pieces(packed, self._settings.chunk_bytes):
                length = sum(map(len, piece))
                if offset and peer not in self._links:
                    return  # the link broke under us; the brain asks again
                self.send(peer, Chunk(run, task, offset, packed.nbytes, piece))
                offset += length
                if (dialling := self._dialling.get(peer)) is not None:
                    await asyncio.wait([dialling])
                link = self._links.get(peer)
                if link is None:
                    return
                if not link.writable:
                    try:
                        await link.drain()
                    except LinkError:
                        return

    async def _dial(self, peer: PeerId) -> None:
        try:
            async with self._turns.one():
                if self._closed:
                    raise ConnectionLost("the client is closed")
                if peer not in self._peers:
                    raise ConnectionLost("the coordinator gave new numbers")
                name, told = self._peers[peer]
                address = seen_from_here(told, self._coordinator)
                link = await dial(
                    address, self._identity, self._hello(), self, self._settings, expect_role="node", expect_name=name, peer=peer
                )
        except (HandoffError, OSError) as error:
            self._unsent.pop(peer, None)
            self._emit(Lost(peer, str(error)))
            return
        finally:
            if self._dialling.get(peer) is asyncio.current_task():
                del self._dialling[peer]
        self._all.add(link)
        if self._closed:
            link.close("the client is closed")
            return
        self._links[peer] = link
        for message in self._unsent.pop(peer, ()):
            link.send(message)
        self._emit(Joined(peer, link.hello or self._hello()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ── receiving: what a link's handler hears ───────────────────────────────

    def destination(self, link: Link, message: Chunk, nbytes: int) -> memoryview | None:
        """Where a chunk is to be read into, straight from the socket."""
        if message.offset == 0:
            self._incoming[link.peer, message.run, message.task] = _Incoming(room_for(message.total))
        incoming = self._expected(link, message)
        return incoming.room[message.offset : message.offset + nbytes] if incoming is not None else None

    def _expected(self, link: Link, chunk: Chunk) -> _Incoming | None:
        """The value that this chunk continues; None where its beginning was not seen. A gap would be taken for zeros."""
        incoming = self._incoming.get((link.peer, chunk.run, chunk.task))
        if incoming is not None and (chunk.offset != incoming.filled or chunk.total != len(incoming.room)):
            raise ProtocolError(
                f"a chunk at {chunk.offset} of {chunk.total} bytes, where one at {incoming.filled} of {len(incoming.room)} is due"
            )
        return incoming

    def received(self, link: Link, message: Message) -> None:
        """A whole message from a node."""
        if not isinstance(message, Chunk):
            self._emit(Received(link.peer, message))
            return
        incoming = self._expected(link, message)
        if incoming is None:
            return  # the brain would take the last piece for the whole
        incoming.filled += len(message.body)
        self._emit(Received(link.peer, message))
        if incoming.filled == message.total:
            # The brain decides in this turn whether it is wanted; a copy that nobody takes goes. Meanwhile the same value may come again.
            key = (link.peer, message.run, message.task)
            self._whole[key] = self._incoming.pop(key).room
            asyncio.get_running_loop().call_soon(self._whole.pop, key, None)  # after the turn that was announced just now

    def take(self, peer: PeerId, run: int, task: int) -> memoryview | None:
        """A value whose last chunk came in this turn."""
        room = self._whole.pop((peer, run, task), None)
        return room.toreadonly() if room is not None else None

    def lost(self, link: Link, reason: str) -> None:
        """A link broke; what was half received over it comes again."""
        if self._links.get(link.peer) is not link:
            return
        del self._links[link.peer]
        for key in [key for key in self._incoming if key[0] == link.peer]:
            del self._incoming[key]
        if not self._closed:
            log.debug("node.link_lost", peer=link.peer, reason=reason)
            self._emit(Lost(link.peer, reason))

    def forget_all(self) -> None:
        """The peer numbers mean nothing any more, nor what was to be said under them."""
        dialling, self._dialling = self._dialling, {}
        for task in dialling.values():
            task.cancel()
        self._unsent.clear()
        self._incoming.clear()
        links, self._links = self._links, {}
        for link in links.values():
            link.close("the coordinator gave new numbers")

    async def close(self) -> None:
        """Leave all nodes."""
        self._closed = True
        links = list(self._links.values())
        for link in links:
            link.close("the client is closed")
        self._links.clear()
        if self._tasks:  # a handshake that is cancelled leaves its connection behind: let it end by itself
            await asyncio.wait(self._tasks, timeout=GOODBYE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*map(ended, self._all), return_exceptions=True)


async def ended(link: Link) -> None:
    """The connection is really gone; a peer that does not answer to a goodbye is not waited for."""
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            await link.wait_closed()
    except TimeoutError:
        link.abort()
        await link.wait_closed()


def _pieces(packed: Packed, step: int) -> Iterator[tuple[memoryview, ...]]:
    """The value cut into pieces of this many bytes, without copying; a piece may span several parts."""
    piece: list[memoryview] = []
    missing = step
    for part in packed.parts:
        view = memoryview(part).cast("B")
        while len(view):
            head, view = view[:missing], view[missing:]
            piece.append(head)
            missing -= len(head)
            if not missing:
                yield tuple(piece)
                piece, missing = [], step
    if piece:
        yield tuple(piece)
