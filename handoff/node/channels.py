"""Large values between this node and others: what is on its way over bulk connections, in either direction, and its end.

One connection for each direction between two nodes, opened when the first large value goes there, and ended with their links. A peer that
can't be reached so gets its values over its link, as if there were no such connections.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from handoff.errors import LinkError, ProtocolError
from handoff.ids import PeerId, RunId
from handoff.log import log
from handoff.messages import DeclineBulk, Message, OfferBulk, StopBulk
from handoff.node.flows import Flows
from handoff.node.shared_memory import SharedValue, received_whole
from handoff.node.store import ResultStore
from handoff.settings import WireSettings
from handoff.transport.bulk import AT_ONCE_BYTES, HEAD_FIRST_BYTES, THREADS_MAX, TOGETHER_BYTES_MAX, Channel, take_values, threads
from handoff.transport.records import EACH_BYTES, Head, Kind
from handoff.transport.tickets import Tickets, dial_bulk

Queue: TypeAlias = deque[tuple[RunId, int]]   # values that are to be sent to one peer


class Landing:
    """A value on its way to us; or one that nobody wants any more, which passes by."""

    __slots__ = ("filled", "key", "peer", "told", "value")

    def __init__(self, peer: PeerId, key: tuple[RunId, int], value: SharedValue | None) -> None:
        self.peer, self.key, self.value = peer, key, value
        self.filled = 0          # bytes that are in the file
        self.told = 0            # of those, counted as moved

    def write(self, piece: memoryview) -> None:
        """In a thread: the next bytes."""
        value = self.value       # held meanwhile: the number of a closed file may soon be another one's
        while value is not None and len(piece):
            count = os.pwrite(value.fd, piece, self.filled)   # faster than copying into a mapping, which faults on every page
            self.filled += count
            piece = piece[count:]

    def splice(self, pipe: int, nbytes: int) -> None:
        """In a thread: the next bytes, which the kernel has."""
        value = self.value
        while nbytes:
            if value is None:
                nbytes -= len(os.read(pipe, nbytes))
            else:
                count = os.splice(pipe, value.fd, nbytes, offset_dst=self.filled)
                self.filled += count
                nbytes -= count


class Together:
    """Values on their way to us that travel together: each is in its file at once."""

    __slots__ = ("peer", "since", "values")

    def __init__(self, peer: PeerId, since: float) -> None:
        self.peer, self.since = peer, since
        self.values: list[tuple[int, SharedValue]] = []

    def several(self, values: Sequence[tuple[int, memoryview]]) -> None:
        """In a thread: these."""
        for task, data in values:
            self.values.append((task, received_whole(data)))


class _Outgoing:
    """What goes to one peer."""

    __slots__ = ("channel", "is_stopped", "key", "rest", "values")

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.key: tuple[RunId, int] | None = None    # the value that is on its way, or the first of those that travel together
        self.values: list[tuple[int, SharedValue]] = []   # they themselves, by task: their files are to stay open
        self.rest: asyncio.Future[bool] | None = None   # a thread is sending the rest of it
        self.is_stopped = False                      # and whose rest is not wanted, or not here any more


class Channels:
    """See the head of the file.

    `say` sends a message to a peer, `address` tells where it listens; `begins` is told of a value that comes, and answers whether it is
    wanted; `arrived` of those that came, `gave_up` that its sender stopped on the way. `broken` is told of a connection that is of no use.
    """

    def __init__(
        self, settings: WireSettings, store: ResultStore, flows: Flows, *,
        say: Callable[[PeerId, Message], None],
        address: Callable[[PeerId], tuple[str, int] | None],
        begins: Callable[[PeerId, RunId, int], bool],
        arrived: Callable[[PeerId, RunId, tuple[int, ...], tuple[int, ...]], None],
        gave_up: Callable[[PeerId, RunId, int], None],
        broken: Callable[[PeerId, str], None],
    ) -> None:
        self._settings, self._store, self._flows = settings, store, flows
        self._say, self._address = say, address
        self._begins, self._arrived, self._gave_up, self._broken = begins, arrived, gave_up, broken
        self.tickets = Tickets()
        self._outgoing: dict[PeerId, _Outgoing] = {}
        self._sending: set[_Outgoing] = set()        # those that take a thread, or wait for one
        self._unreachable: set[PeerId] = set()       # by this way; their links work
        self._coming: dict[PeerId, list[Channel]] = {}
        self._landings: dict[tuple[RunId, int], Landing] = {}
        self._senders, self._receivers = threads("send"), threads("receive")
        self._tasks: set[asyncio.Task[None]] = set()

    # ── sending ─────────────────────────────────────────────────────────────

    async def send(self, peer: PeerId, queue: Queue) -> bool:
        """The first of these values, and what may travel with it, which leave the queue. False when the first has to go another way.

        What broke on the way was told to `broken`.
        """
        if peer in self._unreachable:
            return False
        outgoing = self._outgoing.setdefault(peer, _Outgoing())
        if outgoing.channel is None:
            channel = await self._open(peer)
            if self._outgoing.get(peer) is not outgoing:    # the link broke meanwhile
                if channel is not None:
                    channel.end()
                return True
            if channel is None:
                self._unreachable.add(peer)
                return False
            outgoing.channel = channel
        if self.begin(peer, queue) is None:
            return False
        await self.finish(peer)
        return True

    def begin(self, peer: PeerId, queue: Queue) -> bool | None:
        """Begin with the first of these at once, where the way is open. Whether what left the queue has left us; if not, `finish` has to
        be awaited. None: not begun."""
        outgoing = self._outgoing.get(peer)
        if outgoing is None or outgoing.channel is None or outgoing.key is not None or not queue:
            return None
        run, values = queue[0][0], self._next(queue, outgoing.channel.is_clear)
        if not values:
            return None
        for _ in values:
            queue.popleft()
        self._begin(peer, outgoing, outgoing.channel, run, values)
        return outgoing.rest is None

    def _next(self, queue: Queue, is_clear: bool) -> list[tuple[int, SharedValue]]:
        """The first of these; if it is small, with those after it that travel with it."""
        values: list[tuple[int, SharedValue]] = []
        first, total = queue[0][0], 0
        for run, task in queue:
            value = self._store.get(run, task)
            if run != first or type(value) is not SharedValue or value.nbytes < self._settings.bulk_bytes:
                break
            total += value.nbytes + EACH_BYTES
            if values and (is_clear or total > TOGETHER_BYTES_MAX):
                break
            values.append((task, value))
        return values

    def _begin(self, peer: PeerId, outgoing: _Outgoing, channel: Channel, run: RunId, values: list[tuple[int, SharedValue]]) -> None:
        task, value = values[0]
        outgoing.key, outgoing.values, outgoing.is_stopped = (run, task), values, False
        at_once = len(self._sending) < THREADS_MAX
        try:
            if len(values) > 1:
                several = [(task, value.fd, value.nbytes) for task, value in values]
                outgoing.rest = channel.send_several(self._senders, run, several, at_once)
            else:
                outgoing.rest = channel.send(self._senders, run, task, value.fd, value.nbytes, lambda: outgoing.is_stopped, at_once)
        except (OSError, LinkError, MemoryError) as error:
            self._failed(peer, outgoing, error)
        if outgoing.rest is None:
            outgoing.key, outgoing.values = None, []
        else:
            self._sending.add(outgoing)
            outgoing.rest.add_done_callback(lambda rest: self._sent(peer, outgoing, rest))

    def _sent(self, peer: PeerId, outgoing: _Outgoing, rest: asyncio.Future[bool]) -> None:
        self._sending.discard(outgoing)
        outgoing.key, outgoing.values, outgoing.rest = None, [], None
        error = None if rest.cancelled() else rest.exception()
        if error is not None:
            self._failed(peer, outgoing, error)

    async def finish(self, peer: PeerId) -> None:
        """Return when what is on its way to this peer has left, not before others had a turn. What broke meanwhile was told to `broken`."""
        outgoing = self._outgoing.get(peer)
        if outgoing is not None and outgoing.rest is not None:
            await asyncio.wait([outgoing.rest])
        else:
            await asyncio.sleep(0)

    def _failed(self, peer: PeerId, outgoing: _Outgoing, error: BaseException) -> None:
        if self._outgoing.get(peer) is outgoing:
            self._broken(peer, f"a large value could not be sent: {error}")

    async def _open(self, peer: PeerId) -> Channel | None:
        offer = self.tickets.offer(self._settings.unencrypted_values, self._settings.bulk_piece_bytes)
        self._say(peer, offer)
        try:
            return await self.tickets.dialled(offer, self._settings.handshake_seconds)
        except TimeoutError:
            reason = f"it did not come within {self._settings.handshake_seconds:g} s"
        except LinkError as error:
            reason = str(error)
        log.warning("bulk.unreachable", peer=peer, reason=reason, note="large values go over the link, which is slower")
        return None

    def stop(self, peer: PeerId, run: RunId, task: int) -> None:
        """The peer does not want the rest of this value."""
        outgoing = self._outgoing.get(peer)
        if outgoing is not None and outgoing.key == (run, task):
            outgoing.is_stopped = True

    # ── receiving ───────────────────────────────────────────────────────────

    def offered(self, peer: PeerId, offer: OfferBulk) -> None:
        """The peer has large values for us."""
        work = asyncio.get_running_loop().create_task(self._take(peer, offer))
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def _take(self, peer: PeerId, offer: OfferBulk) -> None:
        address = self._address(peer)
        if address is None:
            self._say(peer, DeclineBulk(offer.ticket, "it does not know where this node listens"))
            return
        held = self._coming.setdefault(peer, [])
        try:
            channel = await dial_bulk(address, offer, self._settings.unencrypted_values, self._settings.handshake_seconds)
        except LinkError as error:
            self._say(peer, DeclineBulk(offer.ticket, str(error)))
            return
        if self._coming.get(peer) is not held:      # its link broke meanwhile
            channel.end()
            return
        held.append(channel)
        try:
            await take_values(channel, self._receivers, lambda head: self._place(peer, head), self._done)
        except (OSError, LinkError, MemoryError) as error:
            if self._coming.get(peer) is held:
                if isinstance(error, ProtocolError):
                    log.warning("bulk.violation", peer=peer, reason=str(error))
                self._broken(peer, f"a large value did not come: {error}")
        finally:
            if channel in held:
                held.remove(channel)

    def prepare(self, run: RunId, task: int, total: int) -> None:
        """A large value that is wanted is being written elsewhere: take memory for it meanwhile."""
        if (run, task) in self._landings:
            return
        try:
            room = self._store.prepare(run, task, total)
            if room is not None:
                self._receivers.submit(room.take)
        except (MemoryError, RuntimeError):   # no room now, or no thread: it may be otherwise when it comes
            self._store.unprepare(run, task)

    def _place(self, peer: PeerId, head: Head) -> Landing | Together:
        if head.kind is Kind.SEVERAL:
            return Together(peer, self._flows.now())
        run, task = key = RunId(head.run), head.task
        if not self._begins(peer, run, task):
            self._say(peer, StopBulk(run, task))
            return Landing(peer, key, None)
        self.forget(key)
        is_ahead = HEAD_FIRST_BYTES < head.total <= AT_ONCE_BYTES    # the rest is on its way, and waits for nobody but us
        landing = self._landings[key] = Landing(peer, key, self._store.allot(run, task, head.total, is_ahead))
        self._flows.begin(peer)
        return landing

    def _done(self, head: Head, landing: Landing | Together, is_whole: bool) -> None:
        if isinstance(landing, Together):
            self._came(RunId(head.run), landing)
            return
        if self._landings.get(landing.key) is not landing:
            return   # it was dropped, or comes from elsewhere now
        run, task = landing.key
        self.forget(landing.key)
        if not is_whole:
            self._store.abort(run, task)
            self._gave_up(landing.peer, run, task)
        elif self._store.received(run, task):
            self._arrived(landing.peer, run, (task,), (head.total,))

    def _came(self, run: RunId, together: Together) -> None:
        """What of it is wanted is kept."""
        peer = together.peer
        self._flows.came(peer, sum(len(value) for _, value in together.values), together.since)
        wanted = [(task, value) for task, value in together.values if self._begins(peer, run, task)]
        for task, _ in wanted:
            if self.forget((run, task)):    # it was coming from elsewhere, too
                self._store.abort(run, task)
        if wanted:
            tasks, values = zip(*wanted, strict=True)
            self._store.put_many(run, tasks, values)
            self._arrived(peer, run, tasks, tuple(map(len, values)))

    def forget(self, key: tuple[RunId, int]) -> bool:
        """What still comes of this value passes by. Whether anything did."""
        landing = self._landings.pop(key, None)
        if landing is None:
            return False
        landing.value = None
        self._count(landing)
        self._flows.end(landing.peer)
        return True

    def _count(self, landing: Landing) -> None:
        self._flows.moved(landing.peer, landing.filled - landing.told)
        landing.told = landing.filled

    def count(self) -> None:
        """Tell the flows how far everything is."""
        for landing in self._landings.values():
            self._count(landing)

    # ── the end ─────────────────────────────────────────────────────────────

    def drop(self, run: RunId, tasks: Iterable[int]) -> None:
        """These are neither wanted nor kept any more."""
        if not (self._outgoing or self._landings):
            return
        gone = set(tasks)
        for peer, outgoing in self._outgoing.items():
            if outgoing.key is not None and outgoing.key[0] == run and outgoing.key[1] in gone:
                self.stop(peer, *outgoing.key)
        for key in [key for key in self._landings if key[0] == run and key[1] in gone]:
            self._decline(key)

    def drop_run(self, run: RunId) -> None:
        """Nothing of this run is."""
        self.drop(run, [key[1] for key in self._landings if key[0] == run])
        for peer, outgoing in self._outgoing.items():
            if outgoing.key is not None and outgoing.key[0] == run:
                self.stop(peer, *outgoing.key)

    def _decline(self, key: tuple[RunId, int]) -> None:
        peer = self._landings[key].peer
        self.forget(key)
        self._say(peer, StopBulk(*key))

    def lost(self, peer: PeerId) -> None:
        """The link to this peer broke: so does all that hung on it, and what was half here is freed."""
        self._unreachable.discard(peer)
        outgoing = self._outgoing.pop(peer, None)
        if outgoing is not None and outgoing.channel is not None:
            outgoing.channel.end()
        for channel in self._coming.pop(peer, ()):
            channel.end()
        for key in [key for key, landing in self._landings.items() if landing.peer == peer]:
            self.forget(key)
            self._store.abort(*key)

    def lose_all(self) -> None:
        """All of them."""
        for peer in {*self._outgoing, *self._coming, *self._unreachable}:
            self.lost(peer)

    def close(self) -> None:
        """For good."""
        self.lose_all()
        self._senders.shutdown(wait=False)
        self._receivers.shutdown(wait=False)
