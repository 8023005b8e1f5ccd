"""Messages to bytes and back: every type, every version, and whatever bytes a stranger may send."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import msgpack
import pytest
from counted import calls_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handoff import greetings, messages
from handoff.columns import Blobs, Body, floats, ints, longs
from handoff.errors import ProtocolError
from handoff.ids import PeerId, RunId
from handoff.messages import Absent, Accepted, Alive, Answer, Bye, Chunk, EndRun, Hello, Message, Output, Plan, Report, Submit, Want
from handoff.program import Kind, Program
from handoff.wire import codec
from handoff.wire.compiled import EMPTY
from handoff.wire.remembered import REMEMBERED_BYTES_MAX, REMEMBERED_MAX

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class _Ints: ...


class _Longs: ...


class _Floats: ...


NAMES = {**vars(greetings), **vars(messages), "Ints": _Ints, "Longs": _Longs, "Floats": _Floats}
NUMBER = st.integers(-(2**63), 2**64 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBER | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value of a field that is annotated so."""
    known = {
        int: NUMBER, str: st.text(max_size=8), bytes: st.binary(max_size=8), bool: st.booleans(), Any: PLAIN,
        float: st.floats(allow_nan=False), Body: st.binary(max_size=40),
        _Ints: st.lists(st.integers(0, 2**32 - 1), max_size=6).map(ints),
        _Longs: st.lists(st.integers(0, 2**64 - 1), max_size=6).map(longs),
        _Floats: st.lists(st.floats(allow_nan=False), max_size=6).map(floats),
        Blobs: st.lists(st.binary(max_size=6), max_size=4).map(Blobs.of),
    }
    annotation = getattr(annotation, "__supertype__", annotation)
    if annotation in known:
        return known[annotation]
    if get_origin(annotation) is tuple:
        first, *rest = get_args(annotation)
        return st.lists(values_of(first), max_size=3).map(tuple) if rest == [...] else st.tuples(values_of(first), *map(values_of, rest))
    assert is_dataclass(annotation), annotation
    return messages_of(annotation)


def messages_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any message of this class."""
    hints = get_type_hints(cls, globalns=NAMES)
    return st.builds(cls, **{each.name: values_of(hints[each.name]) for each in fields(cls)})


CLASSES: tuple[type[Any], ...] = get_args(Message)
ANY_MESSAGE = st.one_of([messages_of(cls) for cls in CLASSES])


def through(message: Message) -> Message:
    """The message after a journey."""
    header, body = codec.encode(message)
    return codec.decode(memoryview(header), b"".join(body))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_message_survives_the_journey(cls: type[Any], data: st.DataObject) -> None:
    """What is decoded equals what was encoded, for every class of the vocabulary."""
    message = data.draw(messages_of(cls))
    arrived = through(message)
    assert arrived == message
    assert type(arrived) is cls


def test_columns_keep_their_type() -> None:
    """A column arrives as an array of the same machine type."""
    report = through(Report(RunId(1), ints([7]), ints([1]), longs([2**40]), floats([0.5]), floats([0.25])))
    assert isinstance(report, Report)
    assert [report.tasks.typecode, report.nbytes.typecode, report.seconds.typecode] == ["I", "Q", "d"]
    assert report.nbytes[0] == 2**40


def test_columns_travel_as_little_endian_integers() -> None:
    """The wire format does not depend on the machine."""
    header, _ = codec.encode(Want(RunId(5), ints([1, 2])))
    assert struct.pack("<II", 1, 2) in header


def test_a_body_is_not_in_the_header_and_not_copied() -> None:
    """The buffers of a body follow the header as they are; several arrive as one."""
    large = bytearray(b"x" * 1000)
    header, body = codec.encode(Chunk(RunId(1), 2, 0, 1003, (b"ab", memoryview(large), b"", (b"c",))))
    assert len(header) < 20
    assert [bytes(each) for each in body] == [b"ab", bytes(large), b"c"]
    assert body[1].obj is large  # type: ignore[union-attr]


def test_a_body_of_other_items_than_bytes_is_sent_as_its_bytes() -> None:
    """A view of numbers counts in bytes, not in items."""
    _, body = codec.encode(Chunk(RunId(1), 2, 0, 8, memoryview(floats([1.0]))))
    assert [len(each) for each in body] == [8]


def test_lone_surrogates_of_user_output_arrive() -> None:
    """Whatever user code prints travels."""
    said = Output(RunId(1), ints([1]), ("stdout",), ("\ud800 caf\u00e9",))
    assert through(said) == said


def test_answers_may_hold_long_lists() -> None:
    """A timeline of more tasks than a MessagePack array elsewhere may have entries arrives whole."""
    answer = through(Answer(1, {"task": list(range(100_000))}))
    assert isinstance(answer, Answer)
    assert answer.data["task"] == tuple(range(100_000))


def test_unknown_trailing_fields_are_ignored() -> None:
    """A newer minor version may say more."""
    assert codec.decode(msgpack.packb([codec.tag(EndRun), 3, "new", {"a": 1}])) == EndRun(RunId(3))


def test_missing_trailing_fields_get_their_defaults() -> None:
    """An older minor version says less."""
    assert codec.decode(msgpack.packb([codec.tag(Bye)])) == Bye("")
    assert codec.decode(msgpack.packb([codec.tag(Alive), []])) == Alive()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "begins with a tag"),
        ({}, "begins with a tag"),
        ([99], "no message 99"),
        ([-1], "no message -1"),
        ([True, 1], "no message True"),
        (["EndRun", 1], "no message"),
        ([codec.tag(EndRun)], "EndRun needs 1 fields, got 0"),
        ([codec.tag(EndRun), "1"], "EndRun.run: str instead of int"),
        ([codec.tag(EndRun), True], "EndRun.run: bool instead of int"),
        ([codec.tag(EndRun), None], "EndRun.run: NoneType instead of int"),
        ([codec.tag(Want), 1, b"abc"], "Want.tasks: "),
        ([codec.tag(Want), 1, [1, 2]], "Want.tasks: tuple instead of a column"),
        ([codec.tag(Alive), [["cpu", "1"]]], "Alive.free: str instead of int"),
        ([codec.tag(Alive), [["cpu"]]], "Alive.free: not an array of 2"),
        ([codec.tag(Answer), 1, 2], "Answer.data: int instead of packed data"),
    ],
)
def test_wrong_shapes_are_named(values: Any, says: str) -> None:
    """A message of the wrong shape is refused with the field that is wrong."""
    with pytest.raises(ProtocolError, match="not a message: ") as caught:
        codec.decode(msgpack.packb(values))
    assert says in str(caught.value)


def test_byte_strings_that_do_not_add_up_are_refused() -> None:
    """The sizes of a column of byte strings have to match its bytes."""
    header, _ = codec.encode(Plan(RunId(1), ints(), ints(), ints(), Blobs.of([b"ab"]), ints(), ints(), ints(), floats()))
    assert codec.decode(header)
    with pytest.raises(ProtocolError, match=r"Plan\.literals: .*3 bytes and has 2"):
        codec.decode(header.replace(struct.pack("<I", 2), struct.pack("<I", 3)))


def test_a_body_where_none_belongs_is_refused() -> None:
    """Only messages with a body may have one."""
    header, _ = codec.encode(EndRun(RunId(1)))
    with pytest.raises(ProtocolError, match="EndRun has no body, got one of 3 bytes"):
        codec.decode(header, b"abc")


def test_extension_types_are_refused_at_any_depth() -> None:
    """Neither extensions nor time stamps come through, also inside free data."""
    for hidden in (msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)):
        with pytest.raises(ProtocolError):
            codec.decode(msgpack.packb([codec.tag(EndRun), hidden]))
        with pytest.raises(ProtocolError):
            codec.decode(msgpack.packb([codec.tag(Answer), 1, msgpack.packb({"a": [hidden]})]))


def test_too_many_kinds_are_refused_where_they_are_made() -> None:
    """A graph that the other side would not accept is refused before it is sent, with what to do."""
    program = Program((), tuple([Kind((), "f")] * 70_000), ints(), Blobs.of([]), ints(), ints())
    with pytest.raises(ProtocolError, match="70000 entries where a message may hold 65536"):
        codec.encode(Submit(1, "big", program))


def test_a_column_of_the_wrong_type_is_refused_where_it_is_made() -> None:
    """Sizes sent as small numbers are a mistake of the sender."""
    with pytest.raises(ProtocolError, match="a column of 'Q' where 'I' is meant"):
        codec.encode(Absent(RunId(1), longs([1])))


def test_small_input_never_becomes_large_objects() -> None:
    """A megabyte of nested emptiness is refused without taking many megabytes."""
    bomb = bytes([0xDD]) + struct.pack(">I", 1_000_000) + b"\x80" * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            codec.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_refused() -> None:
    """A header nested a hundred thousand deep is a protocol error, not a crash."""
    with pytest.raises(ProtocolError, match=r"^not a message: StackError$"):
        codec.decode(b"\x91" * 100_000 + b"\x00")
    deep = b"\x91" * 400 + b"\x00"
    assert codec.decode(msgpack.packb([codec.tag(Answer), 1, deep]))


@QUICK
@given(st.binary(max_size=200), st.binary(max_size=20))
def test_garbage_is_a_protocol_error(header: bytes, body: bytes) -> None:
    """Whatever the bytes: a message or a ProtocolError."""
    with contextlib.suppress(ProtocolError):
        codec.decode(header, body)


@QUICK
@given(ANY_MESSAGE, st.data())
def test_mutated_headers_are_messages_or_protocol_errors(message: Message, data: st.DataObject) -> None:
    """A valid header with a few bytes changed, cut or added never raises anything else."""
    header, body = codec.encode(message)
    changed = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(ProtocolError):
        codec.decode(bytes(changed), b"".join(body))


def test_longer_arrays_than_the_cap_are_refused_on_the_way_in() -> None:
    """A sequence of 65,536 entries is read, one of 65,537 is not, whoever wrote it."""

    def header(length: int) -> bytes:
        return msgpack.packb([codec.tag(Output), 1, b"", [""] * length, [""] * length])  # type: ignore[no-any-return]

    message = codec.decode(header(65_536))
    assert isinstance(message, Output) and len(message.texts) == 65_536
    with pytest.raises(ProtocolError):
        codec.decode(header(65_537))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_short_way_to_read_a_message_is_the_long_way(cls: type[Any], data: st.DataObject) -> None:
    """Whatever stands in its fields, too few or too many: the same values, or the same words about what is wrong."""
    shape = codec._SHAPES[codec.tag(cls)]
    values = shape.write(data.draw(messages_of(cls)))
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(values)))
        values[at : at + data.draw(st.integers(0, 1))] = data.draw(st.lists(PLAIN, max_size=1))
    came = codec._read(msgpack.packb(values))

    def result(read: Any) -> Any:
        try:
            return read(came, 0)
        except ValueError as error:
            return str(error)

    assert result(shape.arguments) == result(shape._arguments)


def test_equal_kinds_are_made_once() -> None:
    """What every run of a function says is not read anew; a kind that is wrong is refused each time, with the field that is wrong."""
    known = through(Plan(RunId(1), ints(), ints(), ints(), Blobs.of([]), ints(), ints(), ints(), floats(), new_kinds=((0, Kind((), "f")),)))
    again = through(Plan(RunId(2), ints(), ints(), ints(), Blobs.of([]), ints(), ints(), ints(), floats(), new_kinds=((1, Kind((), "f")),)))
    assert isinstance(known, Plan) and isinstance(again, Plan)
    assert known.new_kinds[0][1] is again.new_kinds[0][1]
    empty = [b"", b"", b"", [b"", b""], b"", b"", b"", b"", b""]
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"Kind\.name: int instead of str"):
            codec.decode(msgpack.packb([codec.tag(Plan), 1, *empty, [[0, [[], 3]]]]))
        with pytest.raises(ProtocolError, match=r"Kind\.name: dict instead of str"):
            codec.decode(msgpack.packb([codec.tag(Plan), 1, *empty, [[0, [[], {}]]]]))


def test_a_kind_is_written_once_and_each_as_it_is() -> None:
    """Of more kinds than are remembered, and of some whose place in memory others had before, each is read as what was written."""
    for number in range(3 * REMEMBERED_MAX):
        kind = Kind((b"%d" % number,), "f", max_retries=number)
        plan = Plan(RunId(1), ints(), ints(), ints(), Blobs.of([]), ints(), ints(), ints(), floats(), new_kinds=((0, kind), (1, kind)))
        came = through(plan)
        assert isinstance(came, Plan) and came.new_kinds == ((0, kind), (1, kind))
    submit = Submit(1, "f", Program(((b"", 0),), (Kind((), "another"),), ints(), Blobs.of([]), ints(), ints()))
    assert calls_in(lambda: codec.encode(submit)) > calls_in(lambda: codec.encode(submit))


def test_what_calls_of_one_function_have_in_common_is_read_once() -> None:
    """Each has its own arguments, and what is wrong with these is said each time; what differs in anything else is read as it is."""
    def call(argument: bytes, **others: Any) -> Submit:
        return Submit(1, "f", Program(((b"", 0),), (Kind((), "f"),), ints([0]), Blobs.of([argument]), ints([0]), ints(), **others))

    first, second = call(b"one"), call(b"another")
    header, _ = codec.encode(first)
    assert through(first) == first
    came: list[Any] = []
    assert calls_in(lambda: came.append(through(second))) < calls_in(lambda: came.append(through(call(b"one", nbytes=floats([2.0])))))
    assert came == [second, call(b"one", nbytes=floats([2.0]))]
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"Program\.literals: .*4 bytes and has 3"):
            codec.decode(header.replace(struct.pack("<I", 3), struct.pack("<I", 4)))


@pytest.mark.parametrize("count", [1, REMEMBERED_BYTES_MAX])
def test_what_is_large_is_read_anew(count: int) -> None:
    """Nobody makes a coordinator keep a thousand headers of some megabytes for ever."""
    def submitted(kind: Kind, numbers: int) -> Program:
        program = Program(((b"", 0),), (kind,), ints([0]), Blobs.of([b"one"]), ints([0]), ints(), near=ints([0] * numbers))
        came = through(Submit(1, "f", program))
        assert isinstance(came, Submit)
        return came.program

    programs = [submitted(Kind((), "large"), count) for _ in range(2)]
    assert (programs[0].near is programs[1].near) is (count == 1)
    kinds = [submitted(Kind((), count * "f"), 2).kinds[0] for _ in range(2)]
    assert (kinds[0] is kinds[1]) is (count == 1)


def test_columns_without_entries_are_one() -> None:
    """Nobody adds to a column that came; if somebody did, it would be in all messages."""
    plan = through(Plan(RunId(1), ints(), ints(), ints(), Blobs.of([]), ints(), ints(), ints(), floats()))
    report = through(Report(RunId(1), ints(), ints(), longs(), floats(), floats()))
    assert isinstance(plan, Plan) and isinstance(report, Report)
    assert plan.tasks is plan.relays is report.tasks and not any(EMPTY.values())


def test_every_field_after_the_first_default_has_one() -> None:
    """Trailing fields can only be missing when all of them have defaults."""
    for cls in CLASSES:
        has_default = [each.default is not MISSING or each.default_factory is not MISSING for each in fields(cls)]
        assert has_default == sorted(has_default), cls


def test_a_hello_fits_before_the_peer_is_known() -> None:
    """Who says hello with a reasonable number of resources and labels stays below the cap for strangers."""
    hello = Hello(1, "0.1.0", "3.11", "node", "node-1", b"x" * 16, 1, PeerId(3), 0, ("host", 7071),
                  tuple((f"resource-{n}", n) for n in range(40)), tuple((f"label-{n}", "value") for n in range(40)))
    assert len(codec.encode(hello)[0]) < 4096
    assert through(hello) == hello
    assert through(Accepted(1, RunId(2))) == Accepted(1, RunId(2))
