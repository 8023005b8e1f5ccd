"""Links from node to node and from client to node, as the shells keep them: dialled when first needed, lost together, values in chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from handoff.columns import ints, longs
from handoff.ids import NOBODY, PeerId, RunId
from handoff.machine import Joined, Lost, Received
from handoff.messages import Chunk, Coming, Hello, Message, Peers, Results, Welcome
from handoff.node.events import Arrived, Deliver, Stream
from sim.network import End
from sim.process import Process

CHUNK_BYTES = 400


@dataclass(slots=True)
class Pouring:
    """A large value on its way."""

    peer: PeerId
    run: RunId
    task: int
    value: bytes
    offset: int = 0
    link: End | None = None


class Exchange:
    """Follows `handoff.node.exchange`; a client has one too, without a store."""

    def __init__(
        self, process: Process, hello: Callable[[], Hello], store: MutableMapping[tuple[RunId, int], bytes] | None,
        is_full: Callable[[], bool] = bool,
    ) -> None:
        self.is_full = is_full
        self.process, self.hello, self.store = process, hello, store
        self.network, self.letters = process.stage.network, process.stage.letters
        self._links: dict[PeerId, list[End]] = {}
        self._unsent: dict[PeerId, list[Any]] = {}
        self._streams: dict[PeerId, deque[tuple[RunId, int]]] = {}
        self._incoming: dict[tuple[RunId, int], tuple[PeerId, bytearray]] = {}
        self._hosts: dict[PeerId, str] = {}
        self._session = 0       # counts those with the coordinator: each has numbers of its own

    def learn(self, peers: Peers) -> None:
        """The coordinator told us of nodes."""
        for peer, (host, _) in zip(peers.peers, peers.addresses, strict=True):
            self._hosts[PeerId(peer)] = host

    # ── sending ─────────────────────────────────────────────────────────────

    def send(self, peer: PeerId, message: Message) -> None:
        """Say it now, or as soon as the link stands."""
        oracles = self.process.oracles
        oracles.says("client" if self.store is None else "node", "node" if peer in oracles.node_peers else "client", message)
        self._post(peer, self.letters.write(message))

    def _post(self, peer: PeerId, letter: Any) -> None:
        links = self._links.get(peer)
        if links:
            links[-1].send(letter)
        elif peer in self._unsent:
            self._unsent[peer].append(letter)
        elif peer in self._hosts:
            self._unsent[peer] = [letter]
            self.network.dial(self.process, self._hosts[peer], self, self._greet(peer), self._not_opened(peer))
        else:
            self.process.post(Lost(peer, "nobody told us of it"))

    def _greet(self, peer: PeerId) -> Callable[[End], None]:
        session = self._session
        def opened(end: End) -> None:
            if session != self._session:
                end.close()
                return
            end.dialled = peer
            end.send(self.letters.write(self.hello()))
        return opened

    def _not_opened(self, peer: PeerId) -> Callable[[str], None]:
        session = self._session
        def failed(reason: str) -> None:
            if session == self._session and self._unsent.pop(peer, None) is not None:
                self.process.post(Lost(peer, reason))
        return failed

    def deliver(self, effect: Deliver) -> None:
        """Small values in one message; those that are gone by now are left out."""
        assert self.store is not None
        tasks = [task for task in effect.tasks if (effect.run, task) in self.store]
        values = [self.store[effect.run, task] for task in tasks]
        if tasks:
            self.send(effect.peer, Results(effect.run, ints(tasks), longs(map(len, values)), tuple(values)))

    def stream(self, effect: Stream) -> None:
        """A large value, after those that are on their way to this peer."""
        is_idle = effect.peer not in self._streams
        self._streams.setdefault(effect.peer, deque()).extend((effect.run, task) for task in effect.tasks)
        if is_idle:
            self._pump(effect.peer)

    def _pump(self, peer: PeerId) -> None:
        queue = self._streams[peer]
        while queue:
            run, task = queue.popleft()
            value = self.store.get((run, task)) if self.store is not None else None
            if value is not None:
                self._pour(Pouring(peer, run, task, value))
                return
        del self._streams[peer]

    def _pour(self, flow: Pouring) -> None:
        """The next chunk. All of them go over one link: between two there is no order."""
        if flow.link is not None and not flow.link.is_open:  # who still wants the value asks again
            self._pump(flow.peer)
            return
        if flow.link is None and self._links.get(flow.peer):
            flow.link = self._links[flow.peer][-1]
        piece = flow.value[flow.offset : flow.offset + CHUNK_BYTES]
        letter = self.letters.write(Chunk(flow.run, flow.task, flow.offset, len(flow.value), piece))
        flow.offset += len(piece)
        if flow.link is None:
            self._post(flow.peer, letter)  # dials; when that fails, who wants the value asks again
            self._pump(flow.peer)
            return
        flow.link.send(letter)
        if flow.offset == len(flow.value):
            self._pump(flow.peer)
        else:
            self.network.clock.after(self.network.delay() / 4, self.process.run, self._pour, flow)

    def drop_run(self, run: RunId) -> None:
        """End what is being sent or received of it."""
        for queue in self._streams.values():
            kept = [entry for entry in queue if entry[0] != run]
            queue.clear()
            queue.extend(kept)
        for key in [key for key in self._incoming if key[0] == run]:
            del self._incoming[key]

    # ── receiving ───────────────────────────────────────────────────────────

    def received(self, end: End, frame: Any) -> None:
        """A frame; the first is a Hello, or its answer."""
        message = self.letters.read(frame)
        if end.facts is None:
            self._met(end, message)
            return
        peer = end.facts
        match message:
            case Results(run, tasks, sizes, body) if self.store is not None:
                at = 0
                for task, size in zip(tasks, sizes, strict=True):
                    self.store.setdefault((run, task), bytes(body[at : at + size]))
                    at += size
                self.process.post(Arrived(peer, run, tuple(tasks), tuple(sizes)))
            case Chunk(offset=0) if self.store is not None and self.is_full():
                end.close()
                self.broke(end, "no room for a value")
            case Chunk() if self.store is not None:
                self._piece(peer, message)
            case Coming() if self.store is not None:
                pass    # the shell's: it takes memory
            case _:
                self.process.post(Received(peer, message))

    def _met(self, end: End, message: Message) -> None:
        if isinstance(message, Hello):
            mine = self.hello().coordinator
            if message.coordinator and mine and message.coordinator != mine:   # it has the number of somebody else
                end.close()
                return
            end.facts, end.slowness = message.peer, self.process.options.link_seconds
            self._links.setdefault(message.peer, []).append(end)
            end.send(self.letters.write(Welcome(message.peer, me=self.hello().peer)))
            self.process.post(Joined(message.peer, message))
            for letter in self._unsent.pop(message.peer, ()):   # whatever becomes of the link that is being dialled
                end.send(letter)
            return
        if isinstance(message, Welcome) and message.me not in (end.dialled, NOBODY):
            end.close()
            self._not_opened(end.dialled)("it was started anew")
            return
        peer = end.facts = end.dialled
        end.slowness = self.process.options.link_seconds
        self._links.setdefault(peer, []).append(end)
        if self.store is None:
            self.process.post(Joined(peer, self.hello()))
        for letter in self._unsent.pop(peer, ()):
            end.send(letter)

    def _piece(self, peer: PeerId, chunk: Chunk) -> None:
        key, body = (chunk.run, chunk.task), bytes(chunk.body)
        assert self.store is not None
        if chunk.offset == 0 and key not in self.store:
            self._incoming[key] = (peer, bytearray())
        sender, parts = self._incoming.get(key, (NOBODY, bytearray()))
        if sender != peer or chunk.offset != len(parts):
            return
        parts += body
        if len(parts) == chunk.total:
            del self._incoming[key]
            self.store.setdefault(key, bytes(parts))
            self.process.post(Arrived(peer, chunk.run, (chunk.task,), (chunk.total,)))

    def broke(self, end: End, reason: str) -> None:
        """A link broke, and with it all others to the same peer."""
        peer = end.facts
        if peer is None:
            if end.dialled is not None:
                self._not_opened(end.dialled)(reason)
            return
        links = self._links.pop(peer, None)
        if links is None:
            return
        for other in links:
            other.close()
        for key in [key for key, (sender, _) in self._incoming.items() if sender == peer]:
            del self._incoming[key]
        self.process.post(Lost(peer, reason))

    def start_anew(self) -> None:
        """This process has a new number: whoever asked something of the old one finds its link broken, and asks again."""
        self._session += 1
        self._links.clear()
        for known in (self._unsent, self._incoming, self._hosts):
            known.clear()
        for queue in self._streams.values():
            queue.clear()
        for end in [end for end in self.process.ends if end.handler is self]:   # those that are being dialled, too
            end.close()
