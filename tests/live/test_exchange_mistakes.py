"""What a node makes of a peer that says nonsense, of values that it has no room for, and of peers that can't be dialled."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from handoff.columns import ints, longs
from handoff.errors import ConnectionLost, LinkError, Refused
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Joined, Lost, Received
from handoff.messages import Chunk, Hello, Message, Peers, Results, Want
from handoff.node import shared_memory
from handoff.node.events import Arrived, Stream
from handoff.node.exchange import Exchange
from handoff.node.store import ResultStore
from handoff.settings import KIB, WireSettings
from handoff.transport.dial import dial
from handoff.transport.link import Link
from handoff.transport.listen import listen
from handoff.trust.certificates import Identity
from handoff.trust.secret import Secret

SECRET, SETTINGS, RUN = Secret((bytes(range(32)),)), WireSettings(), RunId(1)
ME, PEER = PeerId(1), PeerId(2)


class House:
    """A node's exchange that listens, what it told, and a peer that says whatever a test wants."""

    def __init__(self) -> None:
        self.store = ResultStore()
        self.told: list[Any] = []
        self.losses: list[str] = []
        self.links: list[Link] = []
        self._changed = asyncio.Event()

    def _tell(self, event: Any) -> None:
        self.told.append(event)
        self._changed.set()

    def received(self, link: Link, message: Message) -> None:
        """The node answered."""

    def destination(self, link: Link, message: Chunk, nbytes: int) -> memoryview | None:
        """In a buffer of its own."""

    def lost(self, link: Link, reason: str) -> None:
        """The node hung up."""
        self.losses.append(reason)
        self._changed.set()

    def of(self, kind: type[Any]) -> list[Any]:
        """What it told of this kind."""
        return [event for event in self.told if isinstance(event, kind)]

    async def open(self) -> None:
        """Listen."""
        identity = Identity(SECRET, "node", "me")
        self.exchange = Exchange(identity, SETTINGS, lambda: hello("me", ME), self.store, self._tell)
        self.listener = await listen("127.0.0.1", 0, identity, "node", self.exchange.welcome, self.exchange, SETTINGS)

    async def call(self, name: str = "peer", role: str = "node", peer: PeerId = PEER, **said: Any) -> Link:
        """A link from a peer to the node."""
        identity = Identity(SECRET, role, name)
        greeting = replace(hello(name, peer, role), **said)
        link = await dial(("127.0.0.1", self.listener.port), identity, greeting, self, SETTINGS, peer=ME)
        self.links.append(link)
        return link

    async def until(self, what: Callable[[], Any]) -> Any:
        """Return as soon as this holds."""
        async with asyncio.timeout(10):
            while not (found := what()):
                self._changed.clear()
                await self._changed.wait()
        return found

    async def close(self) -> None:
        """Leave nothing open."""
        self.exchange.close()
        self.listener.close()
        for link in self.links:
            link.close()
            await link.wait_closed()
        await self.listener.wait_closed()


def hello(name: str, peer: PeerId, role: str = "node") -> Hello:
    """A plain introduction."""
    return Hello(1, "0.1.0", "3.11", role, name, os.urandom(16), peer=peer)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A node without a daemon around it."""
    made = House()
    await made.open()
    yield made
    await made.close()


BIG = bytes(range(256)) * 256


@pytest.mark.parametrize(("said", "complaint"), [
    ([Results(RUN, ints([1, 2]), longs([3]), b"abc")], "2 tasks, 1 sizes"),
    ([Results(RUN, ints([1, 2]), longs([3, 300]), b"abc")], "Results announces 303 bytes and has 3"),
    ([Chunk(RUN, 1, 0, 3 * len(BIG), BIG), Chunk(RUN, 1, 2 * len(BIG), 3 * len(BIG), BIG)], "a chunk at 131072 of 196608 bytes"),
    ([Chunk(RUN, 1, 0, 300, b"abc"), Chunk(RUN, 1, 297, 300, b"abc")], "a chunk at 297 of 300 bytes, where one at 3 of 300 is due"),
    ([Chunk(RUN, 1, 0, 3 * len(BIG), BIG), Chunk(RUN, 1, len(BIG), 2 * len(BIG), BIG)], "where one at 65536 of 196608 is due"),
    ([Chunk(RUN, 1, 5, 3, BIG)], "Chunk has 65536 bytes from 5 of a value of 3"),
])
async def test_nonsense_ends_the_link_and_stores_nothing(house: House, said: list[Message], complaint: str) -> None:
    """Columns that do not fit and chunks with gaps: no value of it is believed, both sides hear why, and all that hung on it is freed."""
    link = await house.call()
    for message in said:
        link.send(message)
    lost = (await house.until(lambda: house.of(Lost)))[0]
    await house.until(lambda: house.losses)
    assert lost.peer == PEER and complaint in lost.reason and complaint in house.losses[0]
    assert not house.of(Arrived)
    assert house.store.resident_bytes == 0 and not house.exchange._incoming and not house.exchange._links


async def test_without_room_the_link_ends_and_the_value_can_come_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files: the link says why, nothing is half there, and a later attempt succeeds."""
    def exhausted(*_: Any) -> int:
        raise OSError(24, "Too many open files")

    link = await house.call()
    with monkeypatch.context() as without:
        without.setattr(shared_memory.os, "memfd_create", exhausted)
        link.send(Chunk(RUN, 1, 0, len(BIG), BIG))
        lost = (await house.until(lambda: house.of(Lost)))[0]
        assert "no room for a value of 65,536 bytes on this node: [Errno 24] Too many open files" in lost.reason
        assert house.store.resident_bytes == 0 and not house.exchange._incoming
        await house.until(lambda: house.losses)
    (await house.call()).send(Chunk(RUN, 1, 0, len(BIG), BIG))
    await house.until(lambda: house.of(Arrived))
    value = house.store.get(RUN, 1)
    assert value is not None and not isinstance(value, bytes) and value.view() == BIG


async def test_a_dial_that_fails_for_want_of_descriptors_keeps_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is loaded through a file in memory, which is one too many: the socket that was connected by then is closed."""
    def exhausted(*_: Any) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as without:
        without.setattr(shared_memory.os, "memfd_create", exhausted)
        with pytest.raises(ConnectionLost, match="one more file or connection"):
            await house.call()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(each.message) for each in said if each.category is ResourceWarning] == []


async def test_a_value_in_one_piece_is_kept_once(house: House) -> None:
    """It lies in sealed memory, and what comes of it again passes by."""
    link = await house.call()
    for _ in range(2):
        link.send(Chunk(RUN, 1, 0, len(BIG), BIG))
    link.send(Results(RUN, ints([2]), longs([3]), b"abc"))
    await house.until(lambda: len(house.of(Arrived)) == 2)
    assert house.of(Arrived) == [Arrived(PEER, RUN, (1,), (len(BIG),)), Arrived(PEER, RUN, (2,), (3,))]
    value = house.store.get(RUN, 1)
    assert isinstance(value, shared_memory.SharedValue) and value.look() == BIG
    with pytest.raises(OSError, match="not permitted"):
        os.pwrite(value.fd, b"other", 0)
    assert house.store.resident_bytes == len(BIG) + 3


async def test_a_value_that_was_dropped_on_its_way_did_not_arrive(house: House) -> None:
    """What is dropped while it comes passes by: neither told nor kept; the values behind it come as ever."""
    link = await house.call()
    link.send(Chunk(RUN, 1, 0, 2 * len(BIG), BIG))
    link.send(Want(RUN, ints([9])))
    await house.until(lambda: house.of(Received))
    assert house.store.resident_bytes == 2 * len(BIG)
    house.exchange.drop(RUN, [1])
    house.store.drop(RUN, [1])
    link.send(Chunk(RUN, 1, len(BIG), 2 * len(BIG), BIG))
    link.send(Results(RUN, ints([2]), longs([3]), b"abc"))
    await house.until(lambda: house.of(Arrived))
    assert house.told[-1] == Arrived(PEER, RUN, (2,), (3,)) and len(house.of(Arrived)) == 1
    assert house.store.resident_bytes == 3 and house.store.get(RUN, 1) is None and not house.exchange._incoming


@pytest.mark.parametrize(("name", "port", "complaint"), [
    ("peer", 70_000, "70000"),
    ("peer", 1, "nothing listens there"),
    ("other", 0, "is node me, not other"),      # the port of another node
])
async def test_a_peer_that_can_not_be_dialled_is_told_lost(house: House, name: str, port: int, complaint: str) -> None:
    """Whatever is wrong with its address: who waits for it hears so, and nothing that was to be said is kept."""
    house.exchange.learn(Peers(ints([PEER]), (name,), (("127.0.0.1", port or house.listener.port),)))
    house.exchange.send(PEER, Want(RUN, ints([1])))
    lost = (await house.until(lambda: house.of(Lost)))[0]
    assert lost.peer == PEER and complaint in lost.reason
    assert not house.exchange._unsent


async def test_without_descriptors_a_peer_is_told_lost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that can't be made is a peer that can't be reached, not a wish that is never answered."""
    def exhausted(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    house.exchange.learn(Peers(ints([PEER]), ("peer",), (("127.0.0.1", 1),)))
    with monkeypatch.context() as without:
        without.setattr("handoff.transport.dial.socket.socket", exhausted)
        house.exchange.send(PEER, Want(RUN, ints([1])))
        lost = (await house.until(lambda: house.of(Lost)))[0]
    assert "can't open one more file or connection (Too many open files)" in lost.reason and not house.exchange._unsent


async def test_clients_that_left_are_forgotten(house: House) -> None:
    """A node that serves a thousand short-lived clients remembers none of them."""
    for number in range(5):
        link = await house.call(f"client-{number}", "client", PeerId(10 + number))
        await house.until(lambda number=number: len(house.of(Joined)) == number + 1)
        assert house.exchange.name(PeerId(10 + number)) == f"client-{number}"
        link.close("done", bye=True)
        await house.until(lambda number=number: len(house.of(Lost)) == number + 1)
    assert not house.exchange._names and not house.exchange._links and not house.exchange._streams


@pytest.mark.parametrize(("size", "role"), [(64 * KIB, "node"), (512 * KIB, "client")])
async def test_a_value_that_can_not_be_looked_at_ends_the_link(
    house: House, monkeypatch: pytest.MonkeyPatch, size: int, role: str,
) -> None:
    """What can't be sent now is not left unanswered: the peer finds its link broken, and asks again."""
    house.store.put(RUN, 1, shared_memory.empty_shared(size))

    def exhausted(*_: Any) -> memoryview:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(shared_memory, "map_readonly", exhausted)
    monkeypatch.setattr(shared_memory.os, "pread", exhausted)
    await house.call(role=role)
    await house.until(lambda: house.of(Joined))
    house.exchange.stream(Stream(PEER, RUN, (1,)))
    await house.until(lambda: house.losses)
    await house.until(lambda: house.of(Lost))
    assert not house.exchange._streams and not house.exchange._links


async def test_a_link_whose_handler_fails_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours does not leave a link half alive: both sides hear of its end, and a new one can be made."""
    def fails(*_: Any) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as failing:
        failing.setattr(house.store, "put_many", fails)
        link = await house.call()
        link.send(Results(RUN, ints([1]), longs([3]), b"abc"))
        lost = (await house.until(lambda: house.of(Lost)))[0]
        await house.until(lambda: house.losses)
    assert "KeyError: 'a bug'" in lost.reason
    with pytest.raises(LinkError):
        await link.drain()
    (await house.call()).send(Results(RUN, ints([1]), longs([3]), b"abc"))
    await house.until(lambda: house.of(Arrived))


async def test_who_is_dialled_under_a_former_number_is_not_told_anything(house: House) -> None:
    """It would know us by that number, keep back what is for the new one, and the run would never end."""
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        slow.setblocking(False)
        for _ in range(2):    # by the former number, and by the new one: dialled anew
            house.exchange.learn(Peers(ints([PEER]), ("slow",), (slow.getsockname(),)))
            house.exchange.send(PEER, Want(RUN, ints([1])))
            async with asyncio.timeout(10):
                connection, _ = await asyncio.get_running_loop().sock_accept(slow)
                house.exchange.start_anew()
                while await asyncio.get_running_loop().sock_recv(connection, 65_536):
                    pass
            connection.close()
        assert not house.told
        house.exchange.send(PEER, Want(RUN, ints([1])))
        assert [event.peer for event in house.of(Lost)] == [PEER]     # nobody told us of it since


@pytest.mark.parametrize(("theirs", "is_let_in"), [(b"former", False), (b"mine", True), (b"", True)])
async def test_who_has_a_number_of_another_coordinator_is_not_let_in(
    house: House, monkeypatch: pytest.MonkeyPatch, theirs: bytes, is_let_in: bool
) -> None:
    """By a former one's number it would get what is for somebody else, whose number it is now, and take it for its own run's."""
    mine = replace(hello("me", ME), coordinator=b"mine")
    monkeypatch.setattr(house.exchange, "_hello", lambda: mine)
    if is_let_in:
        await house.call(coordinator=theirs)
        return
    with pytest.raises(Refused, match="peer has its number from another process of the coordinator than node me"):
        await house.call(coordinator=theirs)
    assert not house.told


@pytest.mark.parametrize(("claimed", "role", "complaint"), [
    (COORDINATOR, "client", "says that it is peer 0, a number that no client has"),
    (NOBODY, "node", "says that it is peer 4294967295, a number that no node has"),
    (ME, "node", "says that it is peer 1, and that is node me"),
    (PEER, "client", "says that it is peer 2, and that is node peer"),
    (PeerId(3), "client", "says that it is peer 3, and that is client first"),
])
async def test_who_says_that_it_is_somebody_else_is_not_let_in(house: House, claimed: PeerId, role: str, complaint: str) -> None:
    """It would get what is for that one; its end would be taken for that one's, and that of the coordinator would void all runs here."""
    house.exchange.learn(Peers(ints([PEER]), ("peer",), (("127.0.0.1", 1),)))
    await house.call("first", "client", PeerId(3))
    await house.until(lambda: house.of(Joined))
    with pytest.raises(Refused, match=complaint):
        await house.call("second", role, claimed)
    assert len(house.told) == 1 and list(house.exchange._links) == [3]


async def test_two_clients_of_one_name_are_not_one(house: House) -> None:
    """Clients of one process are called the same; a second link of the same one is its own."""
    await house.call("twin", "client", PeerId(3), boot=b"a" * 16)
    with pytest.raises(Refused, match="says that it is peer 3, and that is client twin, another process or another connection of it"):
        await house.call("twin", "client", PeerId(3), boot=b"b" * 16)
    await house.call("twin", "client", PeerId(3), boot=b"a" * 16)
    await house.until(lambda: len(house.of(Joined)) == 2)
