"""Values and messages between this node and its peers: other nodes, and clients that collect results. Nothing passes the coordinator.

Each peer has at most one link at a time: whoever needs the other first dials. When two dial each other at the same moment, both links
carry messages; when any of them breaks, all links with that peer are closed and one `Lost` is said, since an answer may have been on it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from handoff.columns import ints, longs
from handoff.errors import HandoffError, LinkError, ProtocolError
from handoff.ids import PeerId, RunId
from handoff.log import log
from handoff.machine import Joined, Lost, Received
from handoff.messages import Absent, Chunk, Coming, DeclineBulk, Hello, Message, OfferBulk, Peers, Refused, Results, StopBulk, Want, Welcome
from handoff.node.callers import whose_number
from handoff.node.channels import Channels, Queue
from handoff.node.events import Arrived, Deliver, Stream
from handoff.node.flows import Flows
from handoff.node.shared_memory import SharedValue
from handoff.node.store import ResultStore, Value
from handoff.settings import WireSettings
from handoff.transport.dial import Turns, dial
from handoff.transport.link import Link
from handoff.trust.certificates import Identity

RESULTS_BYTES = 4 * 1024 * 1024  # values in one Results message, so that no message holds up others for long


class _Incoming:
    """A large value on its way to us."""

    __slots__ = ("filled", "link", "view")

    def __init__(self, link: Link, view: memoryview) -> None:
        self.link, self.view = link, view  # all its chunks come over this link, in order
        self.filled = 0


class Exchange:
    """Holds the links; sends for the brain, stores what arrives, and tells the brain by `emit`."""

    def __init__(
        self, identity: Identity, settings: WireSettings, hello: Callable[[], Hello], store: ResultStore, emit: Callable[[Any], None]
    ) -> None:
        self._identity, self._settings, self._hello, self._store, self._emit = identity, settings, hello, store, emit
        self._links: dict[PeerId, list[Link]] = {}
        self._unsent: dict[PeerId, list[Message]] = {}            # said while the link is being dialled
        self._streams: dict[PeerId, Queue] = {}                   # large values to send, one at a time per peer
        self._incoming: dict[tuple[RunId, int], _Incoming] = {}   # large values being received
        self._flows = Flows(time.monotonic)                        # how fast these come
        self._wanted: dict[RunId, set[int]] = {}                   # asked for, and not here yet
        self._names: dict[PeerId, str] = {}
        self._addresses: dict[PeerId, tuple[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = Turns()
        self._dialling: set[asyncio.Task[None]] = set()            # those of them that dial, by the numbers of this session
        self._closed = False
        self._channels = Channels(
            settings, store, self._flows, say=self._say, address=self._addresses.get, begins=self._begins, arrived=self._arrived,
            gave_up=lambda peer, run, task: emit(Received(peer, Absent(run, ints([task])))), broken=self._break,
        )

    # ── who is there ────────────────────────────────────────────────────────

    def learn(self, peers: Peers) -> None:
        """The coordinator told us of nodes."""
        for peer, name, address in zip(peers.peers, peers.names, peers.addresses, strict=True):
            self._names[PeerId(peer)], self._addresses[PeerId(peer)] = name, address

    def name(self, peer: PeerId) -> str:
        """The peer's name; a number for one we were never told of."""
        return self._names.get(peer, f"peer-{peer}")

    def welcome(self, link: Link, hello: Hello) -> Welcome | Refused:
        """Somebody with a certificate of this cluster dialled us. Who is not with our coordinator yet has the number of somebody else."""
        mine = self._hello()
        if hello.coordinator and mine.coordinator and hello.coordinator != mine.coordinator:
            text = f"{hello.role} {hello.name} has its number from another process of the coordinator than node {mine.name}"
            return Refused("Refused", f"{text}; one of them is to hear of the later one")
        whose = whose_number(link, hello, mine, self._addresses, self._names, self._links.get(hello.peer, ()))
        if whose:
            return Refused("Refused", f"{hello.role} {link.name} says that it is peer {hello.peer}, {whose}")
        return Welcome(peer=hello.peer, me=mine.peer)

    def opened(self, link: Link) -> None:
        """A link stands, whoever dialled."""
        self._links.setdefault(link.peer, []).append(link)
        if link.hello is not None:
            self._names.setdefault(link.peer, link.hello.name)
            self._emit(Joined(link.peer, link.hello))
        for message in self._unsent.pop(link.peer, ()):
            link.send(message)

    # ── sending ─────────────────────────────────────────────────────────────

    def send(self, peer: PeerId, message: Message) -> None:
        """Say it now, or as soon as the link that is being dialled stands."""
        if type(message) is Want:
            self._wanted.setdefault(message.run, set()).update(message.tasks)
        links = self._links.get(peer)
        if links:
            links[-1].send(message)
        elif peer in self._unsent:
            self._unsent[peer].append(message)
        elif peer in self._addresses:
            self._unsent[peer] = [message]
            dialling = self._start(self._dial(peer))
            self._dialling.add(dialling)
            dialling.add_done_callback(self._dialling.discard)
        else:
            self._emit(Lost(peer, "it is a client that left, or a node that nobody told us of"))

    def deliver(self, effect: Deliver) -> None:
        """Small values, as few messages as their sizes allow. Values that are gone by now are left out."""
        tasks: list[int] = []
        parts: list[Any] = []
        total, most = 0, min(RESULTS_BYTES, self._settings.body_bytes_max)
        values = self._store.values(effect.run)
        for task in effect.tasks:
            value = values.get(task)
            if value is None:
                continue
            try:
                part = value if isinstance(value, bytes) else value.look()
            except (OSError, MemoryError) as error:   # with its link broken, the peer asks again
                self._break(effect.peer, f"a value can't be read now: {error}")
                return
            if total + len(part) > most and tasks:
                self.send(effect.peer, Results(effect.run, ints(tasks), longs(map(len, parts)), tuple(parts)))
                tasks, parts, total = [], [], 0
            tasks.append(task)
            parts.append(part)
            total += len(part)
        if tasks:
            self.send(effect.peer, Results(effect.run, ints(tasks), longs(map(len, parts)), tuple(parts)))

    def stream(self, effect: Stream) -> None:
        """Large values, after those that are already on their way to this peer."""
        peer, queue = effect.peer, self._streams.get(effect.peer)
        is_idle = queue is None
        queue = self._streams.setdefault(peer, deque())
        queue.extend((effect.run, task) for task in effect.tasks)
        if is_idle:
            has_left = True
            while queue and has_left:
                has_left = self._channels.begin(peer, queue) or False
            if queue or not has_left:
                self._start(self._pump(peer))
            else:
                del self._streams[peer]

    def drop_run(self, run: RunId) -> None:
        """The run is over: end what is being sent or received of it."""
        self._wanted.pop(run, None)
        self._channels.drop_run(run)
        for queue in self._streams.values():
            kept = [entry for entry in queue if entry[0] != run]
            queue.clear()
            queue.extend(kept)
        for key in [key for key in self._incoming if key[0] == run]:
            self._abort(key)

    def drop(self, run: RunId, tasks: Iterable[int]) -> None:
        """Nobody here wants these any more: what still comes of them passes by."""
        if run in self._wanted:
            self._wanted[run].difference_update(tasks)
        self._channels.drop(run, tasks)
        if self._incoming:
            for task in tasks:
                self._end((run, task))

    async def _pump(self, peer: PeerId) -> None:
        try:
            queue = self._streams[peer]
            await self._channels.finish(peer)
            while queue:
                await self._send_first(peer, queue)
        except (OSError, MemoryError) as error:  # a value that can't be mapped now; with its link broken, the peer asks again
            log.error("value.not_sent", peer=peer, name=self.name(peer), error=error)
            self._break(peer, f"a value can't be sent now: {error}")
        finally:
            self._streams.pop(peer, None)

    async def _send_first(self, peer: PeerId, queue: Queue) -> None:
        """The first of these values, or several, which leave the queue."""
        (run, task), links = queue[0], self._links.get(peer)
        value = self._store.get(run, task)
        if value is None or not links:
            queue.popleft()
            return  # it was dropped, or the link broke: who still wants the value asks again
        link = links[-1]  # one link for all chunks: between two there is no order
        if type(value) is SharedValue and value.nbytes >= self._settings.bulk_bytes and link.role == "node":
            if await self._channels.send(peer, queue):
                return
            if link.closed or not queue or queue[0] != (run, task) or self._store.get(run, task) is not value:
                return  # what is first now is looked at anew
        queue.popleft()
        view = memoryview(value if isinstance(value, bytes) else value.look())
        total, step = len(view), self._settings.chunk_bytes
        for offset in range(0, total, step):
            link.send(Chunk(run, task, offset, total, view[offset : offset + step]))
            if not link.writable:
                try:
                    await link.drain()
                except LinkError:
                    return

    async def _dial(self, peer: PeerId) -> None:
        try:
            async with self._turns.one():
                await dial(
                    self._addresses[peer], self._identity, self._hello(), self, self._settings,
                    expect_role="node", expect_name=self._names[peer], peer=peer,
                )
        except (HandoffError, OSError) as error:
            if self._unsent.pop(peer, None) is not None:
                self._emit(Lost(peer, str(error)))

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ── receiving: what a link's handler hears ──────────────────────────────

    def destination(self, link: Link, chunk: Chunk, nbytes: int) -> memoryview | None:
        """Where a chunk is to be read into, straight from the socket; None for one that nobody expects."""
        key = (chunk.run, chunk.task)
        if chunk.offset == 0:
            if key in self._incoming:
                self._abort(key)
            self._channels.forget(key)
            if self._store.get(*key) is not None:
                return None  # we have it: let the rest pass by
            # What comes in one piece is read into plain memory, and written to where it stays: each page of a mapping would be a fault.
            is_whole = nbytes == chunk.total
            place = memoryview(bytearray(nbytes)) if is_whole else self._store.receive(chunk.run, chunk.task, chunk.total)
            self._incoming[key] = _Incoming(link, place)
            self._flows.begin(link.peer)
        incoming = self._expected(link, chunk)
        return incoming.view[chunk.offset : chunk.offset + nbytes] if incoming is not None else None

    def _expected(self, link: Link, chunk: Chunk) -> _Incoming | None:
        """The value that this chunk continues; None where nobody waits for it. A gap would be taken for zeros."""
        incoming = self._incoming.get((chunk.run, chunk.task))
        if incoming is None or incoming.link is not link:
            return None
        if chunk.offset != incoming.filled or chunk.total != len(incoming.view):
            raise ProtocolError(
                f"a chunk at {chunk.offset} of {chunk.total} bytes, where one at {incoming.filled} of {len(incoming.view)} is due"
            )
        return incoming

    def received(self, link: Link, message: Message) -> None:
        """A whole message from a peer."""
        match message:
            case Results(run, tasks, sizes, body):
                view, at = memoryview(body), 0  # type: ignore[arg-type]  # a received body is one buffer
                values: list[Value] = []
                for size in sizes:
                    values.append(bytes(view[at : at + size]))
                    at += size
                self._store.put_many(run, tasks, values)
                if run in self._wanted:
                    self._here(run, tasks)
                self._emit(Arrived(link.peer, run, tuple(tasks), tuple(sizes)))
            case Chunk(run, task, _, total, body):
                incoming = self._expected(link, message)
                if incoming is not None:
                    incoming.filled += len(body)
                    self._flows.moved(link.peer, len(body))
                    if incoming.filled == total:
                        self._end((run, task))
                        if len(body) == total:
                            self._store.put_whole(run, task, incoming.view)
                            self._arrived(link.peer, run, (task,), (total,))
                        elif self._store.received(run, task):  # else it was dropped meanwhile
                            self._arrived(link.peer, run, (task,), (total,))
            case OfferBulk():
                self._channels.offered(link.peer, message)
            case DeclineBulk(ticket, reason):
                self._channels.tickets.declined(ticket, reason)
            case Coming(run, task, _, nbytes):
                if task in self._wanted.get(run, ()):
                    self._channels.prepare(run, task, nbytes)
            case StopBulk(run, task):
                self._channels.stop(link.peer, run, task)
            case _:
                self._emit(Received(link.peer, message))

    def lost(self, link: Link, reason: str) -> None:
        """A link broke, and with it all others to the same peer."""
        links = self._links.pop(link.peer, None)
        if links is None or self._closed:
            return
        for other in links:
            if other is not link:
                other.close("another link to this peer broke")
        self._channels.lost(link.peer)
        for key in [key for key, incoming in self._incoming.items() if incoming.link.peer == link.peer]:
            self._abort(key)
        log.debug("peer.link_lost", peer=link.peer, name=self.name(link.peer), reason=reason)
        if link.peer not in self._addresses:
            self._names.pop(link.peer, None)  # a client, which has another number when it comes again
        self._emit(Lost(link.peer, reason))

    # ── over bulk connections ───────────────────────────────────────────────

    async def greet(self, sock: socket.socket) -> None:
        """Somebody opens one."""
        await self._channels.tickets.greet(sock)

    def _say(self, peer: PeerId, message: Message) -> None:
        """To a peer with which a link stands; what is said of connections means nothing on another one."""
        if links := self._links.get(peer):
            links[-1].send(message)

    def _begins(self, peer: PeerId, run: RunId, task: int) -> bool:
        """A large value is coming: memory is taken only for what was asked for and is not here."""
        if task not in self._wanted.get(run, ()) or self._store.get(run, task) is not None:
            return False
        self._end((run, task))
        return True

    def _arrived(self, peer: PeerId, run: RunId, tasks: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        self._here(run, tasks)
        self._emit(Arrived(peer, run, tasks, sizes))

    def _here(self, run: RunId, tasks: Iterable[int]) -> None:
        wanted = self._wanted.get(run)
        if wanted is not None:
            wanted.difference_update(tasks)
            if not wanted:
                del self._wanted[run]

    def _break(self, peer: PeerId, reason: str) -> None:
        """End the links to this peer, whichever way it was that broke: who waits for something on them asks again."""
        if links := self._links.get(peer):
            links[0].close(reason)
            self.lost(links[0], reason)

    def _abort(self, key: tuple[RunId, int]) -> None:
        self._end(key)
        self._store.abort(*key)

    def _end(self, key: tuple[RunId, int]) -> None:
        incoming = self._incoming.pop(key, None)
        if incoming is not None:
            self._flows.end(incoming.link.peer)

    def moved(self) -> list[tuple[PeerId, int, float]]:
        """What came of large values since the last call: per node, bytes, and the seconds in which they flowed."""
        self._channels.count()
        return [flow for flow in self._flows.take() if flow[0] in self._addresses]

    def start_anew(self) -> None:
        """We have a new number: whoever asked something of the old one, or of us before we had any, finds its link broken and asks again.

        Peers hear of a node from the coordinator, so their first words may overtake the coordinator's welcome, which voids all before it.
        Who is being dialled was told the old number, would go on to know us by it, and keep back what is for the new one.
        """
        links, self._links = self._links, {}
        for dialling in tuple(self._dialling):
            dialling.cancel()
        for known in (self._unsent, self._names, self._addresses):
            known.clear()
        for queue in self._streams.values():
            queue.clear()
        self._wanted.clear()
        self._channels.lose_all()
        for key in list(self._incoming):
            self._abort(key)
        for several in links.values():
            for link in several:
                link.close("this node starts anew")

    def close(self) -> None:
        """Leave all peers."""
        self._closed = True
        self._channels.close()
        for task in self._tasks:
            task.cancel()
        for links in list(self._links.values()):
            for link in links:
                link.close("the node stops")
        self._links.clear()
