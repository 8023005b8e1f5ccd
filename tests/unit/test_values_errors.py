"""User exceptions travel as themselves where they can, and always as text."""

from __future__ import annotations

import inspect
import threading
from subprocess import CalledProcessError
from typing import Any

import pytest

from handoff.graph.calls import Call, Frame
from handoff.wire.failures import TEXT_MAX
from handoff.wire.values import describe_exception, pack_code, pack_exception, unpack_code, unpack_exception


class Picky(Exception):
    """Can't be built by its own means from what pickle keeps."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


class Wordy(OSError):
    """Would say everything twice if it were built from what pickle keeps."""

    __slots__ = ("place",)

    def __init__(self, url: str, *, place: str) -> None:
        super().__init__(5, f"can't fetch {url}", "name")
        self.place = place


class Loser(Exception):
    """Pickles, and can't be built from what it keeps itself."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")

    def __reduce__(self) -> Any:
        return Loser, (1,)


class Mute(Exception):
    """Can't say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("mute")

    __repr__ = __str__


class Deserter(Exception):
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return exit, ()


class Changeling(Exception):
    """Comes back as something else."""

    def __reduce__(self) -> Any:
        return ValueError, ("x",)


def raised(error: BaseException) -> BaseException:
    """The error with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_arrives_as_itself() -> None:
    """Type, arguments and notes survive."""
    error = KeyError("k", 3)
    error.add_note("while packing")
    back = unpack_exception(pack_exception(error))
    assert type(back) is KeyError
    assert back.args == ("k", 3)
    assert back.__notes__ == ["while packing"]


def test_an_exception_of_a_local_class_arrives_as_itself() -> None:
    """It goes by value."""
    class Local(ValueError):
        pass

    assert type(unpack_exception(pack_exception(Local("x")))) is Local


def test_an_exception_arrives_as_it_was() -> None:
    """Its class makes a text of what it is given, and is not asked again: no text twice, no missing argument; in groups, too."""
    picky, wordy = Picky(1, "x"), Wordy("x", place="here")
    group = unpack_exception(pack_exception(ExceptionGroup("all", [picky, wordy, CalledProcessError(returncode=2, cmd="ls")])))
    assert isinstance(group, ExceptionGroup)
    first, second, third = group.exceptions
    assert isinstance(first, Picky) and (str(first), first.args, first.code) == ("1: x", ("1: x",), 1)
    assert isinstance(second, Wordy) and str(second) == str(wordy) == "[Errno 5] can't fetch x: 'name'"
    assert (second.errno, second.filename, second.args, second.place) == (5, "name", wordy.args, "here")
    assert isinstance(third, CalledProcessError) and (third.returncode, third.cmd) == (2, "ls")


@pytest.mark.parametrize("error", [Loser(1, "x"), ValueError(threading.Lock()), Changeling(), Deserter(), ValueError("x" * 2_000_000)])
def test_what_would_not_arrive_is_not_sent(error: BaseException) -> None:
    """Each of them travels as text instead."""
    assert pack_exception(error) == b""


def test_what_cannot_be_built_here_is_none() -> None:
    """No bytes, garbage, and values that are no exceptions."""
    assert unpack_exception(b"") is None
    assert unpack_exception(b"garbage") is None
    assert unpack_exception(b"\x80\x05K\x01.") is None


def test_an_exception_is_described() -> None:
    """Type, message, and a traceback with the user's frames and the cause."""
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise Picky(5, "outer") from inner
    except Picky as error:
        kind, text, traceback = describe_exception(error)
    assert kind.endswith("test_values_errors.Picky")
    assert text == "5: outer"
    assert "KeyError: 'inner'" in traceback
    assert "direct cause" in traceback
    assert "test_an_exception_is_described" in traceback
    assert describe_exception(ValueError())[0] == "ValueError"


def test_our_own_frames_are_hidden() -> None:
    """The traceback begins in the user's code."""
    def broken(x: int) -> None:
        raise ValueError(x)

    with pytest.raises(ValueError, match="5") as caught:
        Frame([broken, lambda x: x], []).call(Call(1, [Call(0, [5])]))
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr] # this test's own frame
    traceback = describe_exception(error)[2]
    assert "calls.py" not in traceback
    assert "in broken" in traceback


def test_exceptions_that_cannot_speak_are_described() -> None:
    """A broken __str__ does not hide the type."""
    kind, text, traceback = describe_exception(raised(Mute()))
    assert kind.endswith("Mute")
    assert text == "<the exception's own __str__ failed with RuntimeError>"
    assert "Mute" in traceback


def test_long_texts_are_cut_in_the_middle() -> None:
    """Head and tail remain, and how much is missing is said."""
    _, text, traceback = describe_exception(raised(ValueError("a" * 100_000 + "z" * 100_000)))
    for each in (text, traceback):
        assert len(each) <= TEXT_MAX
        assert "characters left out" in each
    assert text.startswith("aaa")
    assert text.endswith("zzz")


def test_endless_recursion_is_described() -> None:
    """With its repeated frames folded."""
    def forever() -> None:
        forever()

    with pytest.raises(RecursionError) as caught:
        forever()
    kind, _, traceback = describe_exception(caught.value)
    assert kind == "RecursionError"
    assert "more times" in traceback
    assert len(traceback) < 5000


def test_text_that_is_no_unicode_travels() -> None:
    """Lone surrogates, as from file names, are replaced."""
    describe_exception(OSError("\udcff"))[1].encode()


def test_groups_are_described_whole() -> None:
    """Each exception of a group is in the traceback."""
    traceback = describe_exception(raised(ExceptionGroup("both", [ValueError("one"), KeyError("two")])))[2]
    assert "ValueError: one" in traceback
    assert "KeyError: 'two'" in traceback


def test_a_very_long_type_name_is_cut() -> None:
    """As every text is: it travels twice, in a sentence and by itself."""
    assert len(describe_exception(type("E" * 10_000_000, (Exception,), {})())[0]) <= TEXT_MAX


def test_lines_of_code_that_came_by_value_are_the_clients_to_tell() -> None:
    """A file of that name on the node may be another version. What goes by name is told as it is here, and nobody else misses source."""
    def fails() -> None:
        raise ValueError("no")

    def told(function: Any) -> str:
        with pytest.raises(ValueError, match="no") as caught:
            function()
        caught.value.__traceback__ = caught.tb.tb_next    # without this very frame
        return describe_exception(caught.value)[2]

    text = told(unpack_code(pack_code(fails)))
    assert f'File "{__file__}"' in text and "in fails" in text and "raise ValueError" not in text
    assert '    raise ValueError("no")\n' in told(fails)
    assert inspect.getsource(fails).endswith('raise ValueError("no")\n')
