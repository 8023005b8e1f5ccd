"""All that Python can call is code: from modules, programs and notebooks, plain or asynchronous, in whatever wrapping."""

from __future__ import annotations

import functools
import json
import operator
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import handoff
from handoff import DAG, Argument, Function
from handoff.trust.secret import create_file


class Account:
    """Something with methods of every sort."""

    def __init__(self, start: int) -> None:
        self.start = start

    def plus(self, x: int) -> int:
        """Bound."""
        return self.start + x

    async def times(self, x: int) -> int:
        """Bound, and asynchronous."""
        return self.start * x

    @classmethod
    def named(cls, x: int) -> tuple[str, int]:
        """Bound to the class."""
        return cls.__name__, x

    @staticmethod
    def negative(x: int) -> int:
        """Bound to nothing."""
        return -x


class Asynchronous:
    """An object whose call is a coroutine."""

    async def __call__(self, x: int) -> int:
        return x * 7


async def increased(x: int, by: int = 1) -> int:
    """A coroutine function of a module."""
    return x + by


def adder(amount: int) -> Callable[[int], int]:
    """Makes closures over something that can change."""
    held = {"amount": amount}

    def add(x: int) -> int:
        return x + held["amount"]

    return add


def factorial(x: int) -> int:
    """Calls itself."""
    return 1 if x < 2 else x * factorial(x - 1)


@pytest.mark.parametrize(("code", "argument", "expected"), [
    (json.loads, "[1, 2]", [1, 2]),
    (factorial, 5, 120),
    (len, [1, 2], 2),
    (str.upper, "a", "A"),
    (operator.itemgetter(1), [4, 5], 5),
    (adder(3), 1, 4),
    (functools.partial(adder(3)), 1, 4),
    (functools.partial(functools.partial(increased, by=3)), 1, 4),
    (Account(2).plus, 5, 7),
    (Account(2).times, 5, 10),
    (Account.named, 5, ("Account", 5)),
    (Account.negative, 5, -5),
    (functools.partial(Account(2).plus, 6), None, 8),
    (Asynchronous(), 2, 14),
    (lambda x: increased(x), 1, 2),
    (lambda x: (lambda y: y * x)(x), 3, 9),
], ids=[
    "module", "recursive", "builtin", "method of a type", "itemgetter", "closure", "partial of a closure", "partial coroutine",
    "bound method", "asynchronous method", "class method", "static method", "partial of a method", "asynchronous object",
    "lambda with a coroutine", "nested lambda",
])
def test_code_of_every_kind(place: Any, code: Any, argument: Any, expected: Any) -> None:
    """The same alone, as a function of a graph, as an inline one, and here."""
    args = [] if argument is None else [argument]
    assert place.submit(code, *args).result(30) == expected
    dag = DAG()
    dag.add(Function("regular", code=code, extra_args=args))
    dag.add(Function("inline", code=code, extra_args=args, type="inline"))
    dag.add(Function("taken", ["inline", "regular"], lambda *values: values))
    assert place.execute(dag).results["taken"] == handoff.execute_local(dag).results["taken"] == (expected, expected)


def told(data: Any, source: str, target: str, *static: Any) -> Any:
    """A step that tells what it was told."""
    return data, source, target, static


async def told_later(data: Any, source: str, target: str, *static: Any) -> Any:
    """The same as a coroutine."""
    return data, source, target, static


@pytest.mark.parametrize("step", [told, told_later], ids=["function", "coroutine"])
def test_both_steps_of_an_argument_may_have_arguments_of_their_own(place: Any, step: Any) -> None:
    """After the data and the two names; the dependency stands in its place among the others."""
    here, there = place.nodes[0], place.nodes[-1]
    dag = DAG()
    dag.add(Function("made", code=lambda: [1], node=here))
    dag.add(Function("plain", code=lambda: 2))
    dag.add(Function("taken", ["plain", Argument("made", (step, ["a", 1]), [step, ("b",)]), "plain"], lambda *args: args, node=there))
    assert place.execute(dag).results["taken"] == (2, (([1], here, there, ("a", 1)), here, there, ("b",)), 2)


def test_inline_functions_are_evaluated_for_each_dependent_apart(place: Any, tmp_path: Path) -> None:
    """Twice for two dependents, once for one that takes it twice."""
    def marks(x: int, folder: Path) -> int:
        (folder / f"{len(list(folder.iterdir()))}").touch()
        return x + 1

    dag = DAG()
    dag.add(Function("base", code=lambda: 1))
    dag.add(Function("marks", ["base"], marks, [tmp_path], type="inline"))
    dag.add(Function("nested", ["marks", "marks"], lambda a, b: (a, b), type="inline"))
    dag.add(Function("first", ["nested", "marks"], lambda a, b: (a, b)))
    dag.add(Function("second", ["first", "marks"], lambda first, b: b))
    assert dict(place.execute(dag).results) == {"base": 1, "first": ((2, 2), 2), "second": 2}
    assert len(list(tmp_path.iterdir())) == 2


PROGRAM = '''
import enum, sys
import handoff

class Color(enum.Enum):
    RED = 1

class Mine(Exception):
    pass

def helper(x):
    return x + OFFSET

def work(x):
    return helper(x), Color.RED

def raises():
    raise Mine("mine")

OFFSET = 10

def main(place):
    dag = handoff.DAG()
    dag.call(work, 1, id="work")
    number, color = place.execute(dag).results["work"]
    assert (number, color is Color.RED) == (11, True), (number, color)
    try:
        place.submit(raises, max_retries=0).result(30)
    except handoff.errors.FunctionFailed as error:
        assert type(error.__cause__) is Mine and error.__cause__.args == ("mine",), error
    print("as a program: good")

    # As in a notebook: no file holds the source, and a cell that runs again counts from then on.
    area = "def area(r): return math.floor(math.pi * r * r) + LIMIT"
    for cell in ["import math", area, "def both(x): return area(x), helper(x)", "LIMIT = 5"]:
        exec(compile(cell, "<cell>", "exec"), globals())
    assert place.submit(both, 1).result(30) == (8, 11)
    exec(compile("def area(r): return 'again'\\nOFFSET = 20", "<cell>", "exec"), globals())
    assert place.submit(both, 1).result(30) == ("again", 21)
    print("as a notebook: good")

if __name__ == "__main__":
    if len(sys.argv) > 1:
        with handoff.connect(sys.argv[1]) as client:
            main(client)
    else:
        main(handoff)
'''


def test_functions_of_a_program_and_of_a_notebook(place: Any, tmp_path: Path) -> None:
    """What `__main__` defines works by value, its classes included: results and exceptions are of the program's own classes."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    address = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDOFF_")}
    if place.cluster is not None:
        create_file(tmp_path / "secret", place.cluster.secret)
        environment["HANDOFF_SECRET_FILE"] = str(tmp_path / "secret")
        address = [place.cluster.address]
    command = [sys.executable, program, *address]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.returncode) == ("as a program: good\nas a notebook: good\n", 0), ran.stderr
