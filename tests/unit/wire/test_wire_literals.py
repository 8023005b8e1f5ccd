"""Literals of some kilobytes and more travel behind the header of a message, and are copied nowhere on their way through a coordinator."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from handoff.columns import Blobs, floats, ints
from handoff.errors import ProtocolError
from handoff.ids import RunId
from handoff.messages import Chunk, Plan, Submit, Want
from handoff.program import Kind, Program
from handoff.wire import codec
from handoff.wire.fit import check_fit

CODE = b"some code"


def literals(each: int, count: int = 10) -> Blobs:
    """So many, of so many bytes."""
    return Blobs.of(bytes((number,)) * each for number in range(count))


def submit(values: Blobs) -> Submit:
    """A graph of tasks with these literals."""
    count = len(values)
    program = Program(((b"digest", len(CODE)),), (Kind((b"digest",), "f"),), ints([0] * count), values, ints([0] * count), ints())
    return Submit(1, "graph", program, body=CODE)


def plan(values: Blobs) -> Plan:
    """The same for a node."""
    zeros = ints([0] * len(values))
    return Plan(RunId(1), zeros, zeros, zeros, values, zeros, ints(), ints(), floats([0.0] * len(values)), codes=((b"digest", len(CODE)),),
                body=CODE)


def literals_of(message: Any) -> Blobs:
    """Those of either."""
    return message.program.literals if isinstance(message, Submit) else message.literals  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [submit, plan])
def test_they_are_not_copied(make: Any) -> None:
    """What is sent is the bytes that were given; what is received is a part of what was read; and the code is as it was."""
    message = make(literals(10_000))
    header, buffers = codec.encode(message)
    assert len(header) < 500 and buffers[0] is CODE and buffers[1] is literals_of(message).data

    body = bytearray(b"".join(buffers))
    came = codec.decode(header, memoryview(body))
    check_fit(came, len(body))
    data = literals_of(came).data
    assert came == message and type(data) is memoryview and data.obj is body
    assert came.body == CODE and type(came.body) is bytes, "a view of it would keep all literals"


def test_they_are_forwarded_as_they_came() -> None:
    """A part of what was submitted goes on as a part of what was read."""
    body = bytearray(literals(10_000).data)
    view = memoryview(body)
    _, buffers = codec.encode(plan(Blobs(ints([10_000] * 3), view[20_000:50_000])))
    assert type(buffers[1]) is memoryview and buffers[1].obj is body and len(buffers[1]) == 30_000


@pytest.mark.parametrize("make", [submit, plan])
def test_few_stay_in_the_header(make: Any) -> None:
    """One buffer less for a small message; so do more than there is room for."""
    few, many = make(literals(100)), make(literals(10_000))
    assert codec.encode(few)[1] == [CODE] and codec.decode(*_one(codec.encode(few))) == few
    assert codec.encode(many, body_bytes_max=100_000)[1] == [CODE] and codec.decode(*_one(codec.encode(many, 100_000))) == many
    came = codec.decode(*_one(codec.encode(make(Blobs(ints([5]), memoryview(b"small"))))))
    assert literals_of(came).data == b"small"


def _one(said: tuple[bytes, list[Any]]) -> tuple[bytes, bytes]:
    return said[0], b"".join(said[1])


@pytest.mark.parametrize("count", [-1, 99_999, 100_001, 1 << 40, True, None, "x", 1.5, [1]])
@pytest.mark.parametrize("make", [submit, plan])
def test_another_number_of_bytes_is_refused(make: Any, count: Any) -> None:
    """Whatever is announced: sizes add up to the literals, and code to what is left of the body."""
    header, body = _one(codec.encode(make(literals(10_000))))
    values = list(msgpack.unpackb(header, use_list=True, strict_map_key=False))
    at = 3 if make is submit else 5
    holder = values[at] if make is submit else values
    where = 3 if make is submit else at
    assert holder[where][1] == 100_000
    holder[where][1] = count
    with pytest.raises(ProtocolError):
        check_fit(codec.decode(msgpack.packb(values), body), len(body))


def test_without_their_bytes_it_is_no_message() -> None:
    """A header alone, or less of a body than it says."""
    header, body = _one(codec.encode(plan(literals(10_000))))
    for less in (None, b"", body[:-1]):
        with pytest.raises(ProtocolError):
            check_fit(codec.decode(header, less), len(less or b""))


def test_only_what_may_be_a_chunk_is_read_before_its_body() -> None:
    """A link asks where to put the body of a chunk: no other header is read twice for that."""
    chunk, other = (codec.encode(each)[0] for each in (Chunk(RunId(1), 2, 0, 3, b"abc"), Want(RunId(5), ints([1, 2]))))
    large, _ = codec.encode(plan(literals(10_000)))
    assert codec.may_be(Chunk, chunk) and codec.may_be(Chunk, memoryview(chunk))
    assert not any(codec.may_be(Chunk, header) for header in (other, large, b"", b"\x95"))
