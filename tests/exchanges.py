"""Two nodes' exchanges with a link between them, one of which has values that the other wants."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from handoff.columns import ints
from handoff.ids import PeerId, RunId
from handoff.machine import Received
from handoff.messages import Hello, Peers, Want
from handoff.node.events import Stream
from handoff.node.exchange import Exchange
from handoff.node.shared_memory import SharedValue, write_shared
from handoff.node.store import ResultStore
from handoff.settings import KIB, MIB, WireSettings
from handoff.transport.listen import Listener, listen
from handoff.trust.certificates import Identity
from handoff.trust.secret import Secret

SECRET, RUN = Secret((bytes(range(32)),)), RunId(1)
SMALL, LARGE = os.urandom(300 * KIB), os.urandom(MIB) * 64


class Node:
    """An exchange that listens, and what it told."""

    def __init__(self, name: str, peer: PeerId, settings: WireSettings) -> None:
        self.name, self.peer, self.settings = name, peer, settings
        self.store = ResultStore()
        self.told: list[Any] = []

    async def open(self) -> None:
        """Listen."""
        identity = Identity(SECRET, "node", self.name)
        self.exchange = Exchange(identity, self.settings, self._hello, self.store, self._tell)
        self.listener: Listener = await listen(
            "127.0.0.1", 0, identity, "node", self.exchange.welcome, self.exchange, self.settings, bulk=self.exchange.greet
        )

    def _hello(self) -> Hello:
        return Hello(1, "0.1.0", "3.11", "node", self.name, bytes(16), peer=self.peer)

    def _tell(self, event: Any) -> None:
        self.told.append(event)
        match event:
            case Received(peer, Want(run, tasks)):
                self.exchange.stream(Stream(peer, run, tuple(tasks)))

    def of(self, kind: type[Any]) -> list[Any]:
        """What it told of this kind."""
        return [event for event in self.told if isinstance(event, kind)]

    def has(self, task: int = 1) -> bytes | None:
        """The value, where it is whole."""
        value = self.store.get(RUN, task)
        return None if value is None else bytes(value.view() if isinstance(value, SharedValue) else value)


class Two:
    """A node that has values and one that wants them."""

    def __init__(self, sender: WireSettings, receiver: WireSettings) -> None:
        self.sender, self.receiver = Node("sender", PeerId(1), sender), Node("receiver", PeerId(2), receiver)

    async def open(self) -> None:
        """The receiver is told where the sender is."""
        for node in (self.sender, self.receiver):
            await node.open()
        self.receiver.exchange.learn(Peers(ints([1]), ("sender",), (("127.0.0.1", self.sender.listener.port),)))

    def ask(self, *tasks: int) -> None:
        """The receiver wants these."""
        self.receiver.exchange.send(PeerId(1), Want(RUN, ints(tasks)))

    def keep(self, data: bytes, task: int = 1) -> None:
        """The sender has this."""
        self.sender.store.put(RUN, task, write_shared([data], len(data)))

    async def until(self, what: Callable[[], Any]) -> Any:
        """As soon as this holds."""
        async with asyncio.timeout(20):
            while not (found := what()):
                await asyncio.sleep(0.001)
        return found

    async def connect(self) -> None:
        """A first value went, so that the connection stands; nothing is on its way."""
        self.keep(SMALL, 1)
        self.ask(1)
        await self.until(lambda: self.receiver.has(1))
        await self.until(self.idle)

    def send_half(self, wanted: set[int]) -> None:
        """Task 2 is on its way, and its socket did not take all: the receiver, which wants these, has read nothing yet."""
        self.narrow()
        self.keep(LARGE[: 2 * MIB], 2)
        self.receiver.exchange._wanted[RUN] = wanted
        self.sender.exchange.stream(Stream(PeerId(2), RUN, (2,)))
        assert self.sender.exchange._channels._sending

    def narrow(self) -> None:
        """The sender's socket takes little at once."""
        self.channel()._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def channel(self) -> Any:
        """The sender's end of their bulk connection."""
        return self.sender.exchange._channels._outgoing[PeerId(2)].channel

    def idle(self) -> bool:
        """Nothing is on its way, at either end."""
        channels = self.receiver.exchange._channels
        return not (channels._landings or self.receiver.exchange._incoming or self.sender.exchange._streams)

    async def close(self) -> None:
        """Leave nothing open."""
        for node in (self.sender, self.receiver):
            node.exchange.close()
            node.listener.close()
            await node.listener.wait_closed()
        await self.until(lambda: not any(node.exchange._channels._tasks or node.exchange._tasks for node in (self.sender, self.receiver)))
