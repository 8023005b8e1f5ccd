"""Links over real sockets and TLS: who gets in, who does not and why, and what travels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handoff.columns import Blobs, floats, ints, longs
from handoff.errors import ConfigError, ConnectionLost, ProtocolError, Refused
from handoff.ids import PeerId, RunId
from handoff.loop import new_event_loop
from handoff.messages import Absent, Bye, Chunk, Hello, Message, Plan, Results, Want, Welcome
from handoff.messages import Refused as RefusedMessage
from handoff.settings import MIB, WireSettings
from handoff.transport.dial import dial
from handoff.transport.link import Link
from handoff.transport.listen import Listener, listen
from handoff.transport.versions import check_versions
from handoff.trust.certificates import Authority, Identity, context
from handoff.trust.secret import Secret

SECRET, OTHER_SECRET = Secret((bytes(range(32)),)), Secret((bytes(range(1, 33)),))
SETTINGS = WireSettings()
HASTY = WireSettings(handshake_seconds=0.3)


class Recorder:
    """A handler that remembers, and lets a test wait for what it expects."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.messages: list[Message] = []
        self.turns = 0
        self.losses: list[str] = []
        self.place: Callable[[Chunk, int], memoryview | None] = lambda message, nbytes: None
        self._changed = asyncio.Event()

    def opened(self, link: Link) -> None:
        self.links.append(link)
        self._changed.set()

    def received(self, link: Link, message: Message) -> None:
        self.messages.append(message)
        self._changed.set()

    def turn(self, link: Link) -> None:
        self.turns += 1

    def destination(self, link: Link, message: Chunk, nbytes: int) -> memoryview | None:
        return self.place(message, nbytes)

    def lost(self, link: Link, reason: str) -> None:
        self.losses.append(reason)
        self._changed.set()

    async def until(self, what: Callable[[], Any]) -> None:
        """Return as soon as this holds."""
        async with asyncio.timeout(10):
            while not what():
                self._changed.clear()
                await self._changed.wait()


def hello(role: str = "node", name: str = "a", **other: Any) -> Hello:
    """A plain introduction."""
    return Hello(1, "0.1.0", "3.11", role, name, os.urandom(16), **other)


class House:
    """A node that listens, with what it heard."""

    def __init__(self) -> None:
        self.heard = Recorder()
        self.answer: Callable[[Link, Hello], Welcome | RefusedMessage] = lambda link, hello: Welcome(PeerId(9), name="b")
        self.listener: Listener | None = None

    def welcome(self, link: Link, hello: Hello) -> Welcome | RefusedMessage:
        return self.answer(link, hello)

    async def open(self, settings: WireSettings = SETTINGS, secret: Secret = SECRET) -> tuple[str, int]:
        identity = Identity(secret, "node", "b")
        self.listener = await listen("127.0.0.1", 0, identity, "node", self.welcome, self.heard, settings)
        return ("127.0.0.1", self.listener.port)

    async def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
            await self.listener.wait_closed()
        for link in self.heard.links:
            link.close()
            await link.wait_closed()


@pytest.fixture
async def house() -> Any:
    """A listening node, closed at the end."""
    made = House()
    yield made
    await made.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What the log says."""
    with caplog.at_level(logging.INFO, logger="handoff"):
        yield lambda: [record.getMessage() for record in caplog.records if record.name == "handoff"]


async def call(address: tuple[str, int], handler: Recorder | None = None, **changes: Any) -> Link:
    """Dial as a good node unless told otherwise."""
    given: dict[str, Any] = {
        "identity": Identity(SECRET, "node", "a"), "hello": hello(), "handler": handler or Recorder(), "settings": SETTINGS, **changes,
    }
    return await dial(address, **given)


async def logged(said: Callable[[], list[str]], text: str) -> str:
    """The line of the log that has this text, as soon as it is there."""
    async with asyncio.timeout(10):
        while True:
            for line in said():
                if text in line:
                    return line
            await asyncio.sleep(0.005)


# ── who gets in ─────────────────────────────────────────────────────────────


async def test_two_of_one_cluster_talk(house: House) -> None:
    """Both know the other's proven role and name, and messages come in order, many to a turn."""
    caller = Recorder()
    link = await call(await house.open(), caller, expect_role="node", expect_name="b", peer=PeerId(2), hello=hello(peer=PeerId(7)))
    assert (link.role, link.name, link.local_role, link.peer) == ("node", "b", "node", PeerId(2))
    assert link.welcome == Welcome(PeerId(9), name="b")
    for number in range(1000):
        link.send(Want(RunId(number), ints([number])))
    await house.heard.until(lambda: len(house.heard.messages) == 1000)
    assert house.heard.messages == [Want(RunId(number), ints([number])) for number in range(1000)]
    assert house.heard.turns < 100
    (inbound,) = house.heard.links
    assert (inbound.role, inbound.name, inbound.peer) == ("node", "a", PeerId(7))
    assert inbound.hello is not None and inbound.hello.name == "a"
    inbound.send(Results(RunId(1), ints([1, 2]), longs([2, 3]), (b"ab", b"cde")))
    await caller.until(lambda: caller.messages)
    assert caller.messages == [Results(RunId(1), ints([1, 2]), longs([2, 3]), b"abcde")]
    link.close()


async def test_a_node_started_anew_is_not_taken_for_the_one_it_was(house: House) -> None:
    """It would keep for ever what was meant for its predecessor; a node that does not know yet who it is says nothing."""
    caller = Recorder()
    house.answer = lambda link, hello: Welcome(hello.peer, me=PeerId(8))
    address = await house.open()
    with pytest.raises(ConnectionLost, match="is node b again, but not the process that it was"):
        await call(address, caller, expect_name="b", peer=PeerId(2))
    assert caller.links == []
    link = await call(address, caller, expect_name="b", peer=PeerId(8))
    assert caller.links == [link]
    link.close()
    await link.wait_closed()


async def test_another_secret_is_rejected_by_both(house: House, said: Callable[[], list[str]]) -> None:
    """The dialler is told what is most likely wrong, the log of the other side says so too, and nothing was exchanged."""
    address = await house.open()
    with pytest.raises(Refused, match=r"127\.0\.0\.1:\d+ rejected: wrong secret, expired certificate, or not a Handoff coordinator"):
        await call(address, identity=Identity(OTHER_SECRET, "node", "a"))
    assert "link.refused address=127.0.0.1:" in await logged(said, "link.refused")
    assert house.heard.links == []


class Careless:
    """An identity that checks nobody and shows what a test wants."""

    role, name = "node", "mallory"

    def __init__(self, own: bytes | None) -> None:
        self.hostname = Identity(SECRET, "node", "x").hostname
        self._own = own

    def client_context(self) -> ssl.SSLContext:
        if self._own is not None:
            return context(Authority(SECRET.keys[0]).pem, self._own, is_server=False)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        return made

    def peer_role(self, ssl_object: Any) -> tuple[str, str]:
        return "node", "b"


async def test_no_certificate_is_rejected(house: House, said: Callable[[], list[str]]) -> None:
    """Who shows no certificate believes to be connected for a moment, and is rejected."""
    with pytest.raises(Refused, match="wrong secret, expired certificate"):
        await call(await house.open(), identity=Careless(None))
    assert "no certificate: not a member of the cluster" in await logged(said, "link.refused")
    assert house.heard.links == []


async def test_an_expired_certificate_is_rejected(house: House, said: Callable[[], list[str]]) -> None:
    """A certificate of the right authority that is too old is worth nothing."""
    old = Authority(SECRET.keys[0]).mint("node", "a", now=datetime.now(UTC) - timedelta(days=30), lifetime=timedelta(days=7))
    with pytest.raises(Refused, match="wrong secret, expired certificate"):
        await call(await house.open(), identity=Careless(old))
    assert "certificate has expired" in await logged(said, "link.refused")
    assert house.heard.links == []


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 200, os.urandom(3000)])
async def test_garbage_gets_nothing(house: House, said: Callable[[], list[str]], garbage: bytes) -> None:
    """Who does not speak TLS hears no word of Handoff."""
    reader, writer = await asyncio.open_connection(*await house.open(HASTY))
    writer.write(garbage)
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 5)
    assert len(answer) <= 7  # a TLS alert at most
    writer.close()
    assert await logged(said, "link.refused")
    assert house.heard.links == []


async def test_silence_is_hung_up_on(house: House, said: Callable[[], list[str]]) -> None:
    """A plain TCP peer that says nothing is let go after the handshake time."""
    reader, writer = await asyncio.open_connection(*await house.open(HASTY))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert "said nothing useful within 0.3 s" in await logged(said, "link.refused")


async def test_who_only_looks_whether_we_are_there_is_no_stranger(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """So does a coordinator whose connection to a node broke: that it was a peer with another secret was not true."""
    address = await house.open()
    with caplog.at_level(logging.DEBUG, logger="handoff"):
        _, writer = await asyncio.open_connection(*address)
        writer.close()
        await logged(lambda: [record.getMessage() for record in caplog.records], "link.probed")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_garbage_inside_tls_is_refused(house: House, said: Callable[[], list[str]]) -> None:
    """Also a member of the cluster has to introduce itself first."""
    address = await house.open()
    identity = Identity(SECRET, "node", "a")
    reader, writer = await asyncio.open_connection(*address, ssl=identity.client_context(), server_hostname=identity.hostname)
    writer.write(b"hello, is anybody there? please answer")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert "not a frame of Handoff" in await logged(said, "link.refused")


async def test_the_log_has_one_line_a_second_per_address(house: House, said: Callable[[], list[str]]) -> None:
    """A flood of strangers does not flood the log."""
    address = await house.open()
    for _ in range(5):
        with pytest.raises(Refused):
            await call(address, identity=Identity(OTHER_SECRET, "node", "a"))
    await logged(said, "link.refused")
    assert sum("link.refused" in line for line in said()) <= 2


async def test_half_open_connections_are_bounded(house: House) -> None:
    """At the cap further strangers wait in the kernel, and a member gets in when a silent one has been hung up on."""
    address = await house.open(WireSettings(handshake_seconds=0.5, half_open_max=2))
    silent = [await asyncio.open_connection(*address) for _ in range(4)]
    link = await call(address)
    assert link.welcome is not None
    for _, writer in silent:
        writer.close()
    link.close()


async def test_a_refusal_comes_with_its_text(house: House) -> None:
    """What the owner of the listener decides reaches the dialler, code and text."""
    house.answer = lambda link, hello: RefusedMessage("ConfigError", f"the name {hello.name} is taken")
    with pytest.raises(Refused, match=r"^the name a is taken$") as caught:
        await call(await house.open())
    assert caught.value.code == "ConfigError"
    assert house.heard.links == []


@pytest.mark.parametrize("said", [("client", "a"), ("node", "c"), ("coordinator", "a")])
async def test_what_the_certificate_says_counts(house: House, said: tuple[str, str]) -> None:
    """Who says to be a client, or another node, and is certified as node a is refused, before the owner of the listener is asked."""
    house.answer = lambda link, hello: pytest.fail("it was asked")
    with pytest.raises(Refused, match=f"says that it is {' '.join(said)}, and its certificate is for node a$"):
        await call(await house.open(), hello=hello(*said))


async def test_who_offers_what_there_can_not_be_is_told_so(house: House) -> None:
    """Before the owner of the listener hears of it."""
    house.answer = lambda link, hello: pytest.fail("it was asked")
    with pytest.raises(Refused, match="Hello offers what no node has: 'cpu': -1"):
        await call(await house.open(), hello=hello(capacity=(("cpu", -10_000),)))


async def test_a_coordinator_does_not_call_nodes(house: House) -> None:
    """Roles that have nothing to say to each other do not connect."""
    with pytest.raises(Refused, match="a coordinator has nothing to say to a node"):
        await call(await house.open(), identity=Identity(SECRET, "coordinator", "c"), hello=hello("coordinator"))


async def test_who_else_answers_is_named(house: House) -> None:
    """A node's address given as the coordinator's is an error that says so."""
    address = await house.open()
    with pytest.raises(Refused, match=r"is a node \(b\), not a coordinator; check the address"):
        await call(address, expect_role="coordinator")
    with pytest.raises(Refused, match="is node b, not c"):
        await call(address, expect_name="c")


def test_versions_that_do_not_fit_are_both_named() -> None:
    """Other Python, Handoff or protocol versions are refused with both sides' versions; patch levels do not matter."""
    mine = Hello(1, "0.1.0", "3.11", "coordinator", "c", b"")
    assert check_versions(mine, Hello(1, "0.1.9", "3.11", "node", "n", b"")) is None
    for theirs, says in (
        (Hello(1, "0.1.0", "3.12", "node", "n", b""), "coordinator c has Python 3.11, node n has 3.12"),
        (Hello(1, "0.2.0", "3.11", "node", "n", b""), "coordinator c has Handoff 0.1.0, node n has 0.2.0"),
        (Hello(2, "0.1.0", "3.11", "node", "n", b""), "coordinator c has protocol 1, node n has 2"),
    ):
        refusal = check_versions(mine, theirs)
        assert refusal is not None and says in refusal.text
    refusal = check_versions(Hello(1, "0.1.0", "3.11", "coordinator", "coordinator", b""), Hello(1, "0.1.0", "3.12", "node", "n", b""))
    assert refusal is not None and refusal.text.startswith("the coordinator has Python 3.11, node n has 3.12")


# ── addresses ───────────────────────────────────────────────────────────────


async def test_nobody_there_is_named() -> None:
    """A port where nothing listens, a host that does not exist, and a peer that never answers are told apart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ConnectionLost, match=rf"can't connect to 127\.0\.0\.1:{port}: nothing listens there"):
            await call(("127.0.0.1", port))
    with pytest.raises(ConnectionLost, match=r"there is no host 'no-such-host\.invalid'"):
        await call(("no-such-host.invalid", 7070))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ConnectionLost, match=r"did not answer within 0\.3 s"):
            await call(silent.getsockname(), settings=HASTY)


async def test_a_port_in_use_is_a_clear_error(house: House) -> None:
    """A second listener on one port says which port, and what to do."""
    _, port = await house.open()
    identity = Identity(SECRET, "node", "b")
    with pytest.raises(ConfigError, match=rf"port {port} on 127\.0\.0\.1 is in use: .*; choose another with --port"):
        await listen("127.0.0.1", port, identity, "node", house.answer, house.heard, SETTINGS)
    with pytest.raises(ConfigError, match="give an address of this machine with --host"):
        await listen("no-such-host.invalid", 0, identity, "node", house.answer, house.heard, SETTINGS)
    with pytest.raises(ConfigError, match="choose an address of this machine with --host"):
        await listen("192.0.2.1", 0, identity, "node", house.answer, house.heard, SETTINGS)


# ── what travels ────────────────────────────────────────────────────────────


async def test_roles_limit_what_may_be_said(house: House, said: Callable[[], list[str]]) -> None:
    """A node that sends a plan to a node is cut off, told why, and the log says so."""
    caller = Recorder()
    link = await call(await house.open(), caller)
    link.send(Want(RunId(1), ints([1])))
    link.send(Plan(RunId(1), ints(), ints(), ints(), Blobs.of([]), ints(), ints(), ints(), floats()))
    link.send(Want(RunId(2), ints([1])))
    await caller.until(lambda: caller.losses)
    assert caller.losses == ["protocol violation: a node may not say Plan to a node"]
    await house.heard.until(lambda: house.heard.losses)
    assert house.heard.losses == ["protocol violation: a node may not say Plan to a node"]
    assert house.heard.messages == [Want(RunId(1), ints([1]))]
    assert "a node may not say Plan to a node" in await logged(said, "link.violation")


async def test_a_large_value_lands_where_it_belongs(house: House) -> None:
    """Chunks, large and small, are read into the memory that the handler names, before `received` is called."""
    total = 5 * MIB + 100
    data = os.urandom(total)
    target = memoryview(bytearray(total))
    house.heard.place = lambda message, nbytes: target[message.offset : message.offset + nbytes]
    link = await call(await house.open())
    for offset in range(0, total, MIB):
        piece = memoryview(data)[offset : offset + MIB]
        link.send(Chunk(RunId(1), 3, offset, total, piece))
        await link.drain()
    await house.heard.until(lambda: len(house.heard.messages) == 6)
    assert target == data
    last = house.heard.messages[-1]
    assert isinstance(last, Chunk) and (last.offset, last.total, len(last.body)) == (5 * MIB, total, 100)
    link.close()


async def test_a_value_nobody_has_a_place_for_arrives_all_the_same(house: House) -> None:
    """Without a destination the body is in a buffer of its own."""
    link = await call(await house.open())
    data = os.urandom(300_000)
    link.send(Chunk(RunId(1), 3, 0, len(data), data))
    link.send(Chunk(RunId(1), 4, 0, 3, b"abc"))
    await house.heard.until(lambda: len(house.heard.messages) == 2)
    assert [bytes(each.body) for each in house.heard.messages] == [data, b"abc"]  # type: ignore[union-attr,arg-type]
    link.close()


async def test_a_slow_reader_makes_the_sender_wait(house: House) -> None:
    """`writable` turns false and `drain` waits while the other side does not read; closing ends the wait."""
    link = await call(await house.open(WireSettings(write_high_bytes=100_000, write_low_bytes=10_000)))
    (inbound,) = house.heard.links
    inbound._transport.pause_reading()  # type: ignore[union-attr]
    for _ in range(40):
        link.send(Chunk(RunId(1), 3, 0, MIB, bytes(MIB)))
    assert not link.writable
    waiting = asyncio.ensure_future(link.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    inbound._transport.resume_reading()  # type: ignore[union-attr]
    await asyncio.wait_for(waiting, 10)
    assert link.writable
    await house.heard.until(lambda: len(house.heard.messages) == 40)
    link.close()
    with pytest.raises(ConnectionLost):
        await link.drain()


async def test_too_large_a_message_is_an_error_of_its_sender(house: House) -> None:
    """What the other side would refuse is not sent, and the link lives on."""
    link = await call(await house.open())
    with pytest.raises(ProtocolError, match=r"Chunk has .* send large values as chunks"):
        link.send(Chunk(RunId(1), 1, 0, 1, bytes(64 * MIB + 1)))
    link.send(Absent(RunId(1), ints([1])))
    await house.heard.until(lambda: house.heard.messages)
    link.close()


async def test_leaving_is_told_with_its_reason(house: House) -> None:
    """What was said before a goodbye arrives; then the link is lost for the reason given, once."""
    link = await call(await house.open())
    link.send(Want(RunId(1), ints([1])))
    link.close("time to go", bye=True)
    link.send(Want(RunId(2), ints([1])))
    await house.heard.until(lambda: house.heard.losses)
    assert house.heard.messages == [Want(RunId(1), ints([1]))]
    assert house.heard.losses == ["time to go"]
    assert house.heard.links[0].farewell == "time to go"
    assert Bye not in map(type, house.heard.messages)


async def test_a_broken_connection_is_told_once(house: House) -> None:
    """Whoever did not close the link himself hears that it is gone."""
    caller = Recorder()
    link = await call(await house.open(), caller)
    house.heard.links[0].abort()
    await caller.until(lambda: caller.losses)
    await house.heard.until(lambda: house.heard.losses)
    assert (len(caller.losses), len(house.heard.losses)) == (1, 1)
    assert link.closed and link.farewell is None
    link.send(Want(RunId(1), ints([1])))


def test_a_link_that_is_given_up_the_moment_it_is_encrypted_ends_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a client is given new numbers just then: in about half of these, uvloop told people of an error in saying goodbye."""
    told, made, dialling = list[Any](), Link.connection_made, set[asyncio.Task[Link]]()

    def connection_made(link: Link, transport: asyncio.BaseTransport) -> None:
        made(link, transport)
        if link.name == "b":     # not the other end of it
            dialling.pop().cancel()

    async def give_up(address: tuple[str, int]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        for _ in range(20):
            task = asyncio.create_task(call(address))
            dialling.add(task)
            await asyncio.wait([task])
            assert task.cancelled()

    monkeypatch.setattr(Link, "connection_made", connection_made)
    house = House()
    with asyncio.Runner(loop_factory=new_event_loop) as there, asyncio.Runner(loop_factory=new_event_loop) as here:
        address = there.run(house.open())
        thread = threading.Thread(target=there.get_loop().run_forever)
        thread.start()
        try:
            here.run(give_up(address))
        finally:
            asyncio.run_coroutine_threadsafe(house.close(), there.get_loop()).result(10)
            there.get_loop().call_soon_threadsafe(there.get_loop().stop)
            thread.join()
    assert told == []
