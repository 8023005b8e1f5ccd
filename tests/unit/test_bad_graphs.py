"""What a user reads about a graph that can't be run: one sentence, the same from Python and the command line; nothing is started for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import handoff
import handoff.local
from handoff import errors
from handoff.cli.main import command
from handoff.cli.target import load_dag
from handoff.client.lower import lower

GRAPHS = """
import threading
from handoff import DAG, Argument, Function, collocated

def work(*args):
    return args

def graph(*functions):
    dag = DAG("bad")
    for function in functions:
        dag.add(function)
    return dag

def cycle():
    return graph(Function("start", code=work), Function("a", ["start", "c"], work), Function("b", ["a"], work), Function("c", ["b"], work))

def missing():
    return graph(Function("load", code=work), Function("small", ["laod"], work))

def twice():
    return graph(Function("load", code=work), Function("load", code=work))

def pinned_inline():
    return graph(Function("x", code=work, type="inline", node="beta"), Function("y", ["x"], work))

def lonely():
    return graph(Function("load", code=work), Function("x", code=work, node=collocated("laod")))

def negative():
    return graph(Function("x", code=work, cost={"cpu": 1, "memory": -500}))

def wordy():
    return graph(Function("x", code=work, cost={"gpu": "two"}))

def unsized():
    return graph(Function("x", code=work, cost={"memory": "2 spoons"}))

def captured():
    guard = threading.Lock()
    return graph(Function("x", code=lambda: guard.locked()))

LOCK = threading.Lock()

def uses_a_global():
    return LOCK.locked()

def global_lock():
    return graph(Function("x", code=uses_a_global))

def argument():
    return graph(Function("x", code=work, extra_args=[1, {"model": [threading.Lock()]}]))
"""

INVALID = {
    "cycle": ("CyclicDependency", "functions wait for each other: 'a' -> 'c' -> 'b' -> 'a'"),
    "missing": ("MissingFunction", "'small' depends on 'laod', which is not in the graph; did you mean 'load'?"),
    "twice": ("DuplicateFunction", "there are two functions with the id 'load' in DAG('bad'); ids are unique in a graph"),
    "pinned_inline": ("InvalidFunction", "'x': an inline function runs wherever its dependents run; leave out node"),
    "lonely": ("MissingFunction", "'x' is collocated with 'laod', which is not in the graph; did you mean 'load'?"),
    "negative": ("InvalidFunction", "'x': its cost is wrong: memory=-500 is negative; an amount is zero or more"),
    "wordy": ("InvalidFunction", "'x': its cost is wrong: gpu='two' is not an amount; write a number"),
    "unsized": (
        "InvalidFunction", "'x': its cost is wrong: memory='2 spoons' is not an amount; write a number or a size such as \"2 GiB\"",
    ),
}
UNSENDABLE = {
    "captured": (
        "'x': its code (<lambda>) can't be sent to a node: closure variable 'guard': cannot pickle '_thread.lock' object. "
        "Make it inside the function, or pass as an argument what it is made from",
        "closure variable 'guard'",
    ),
    "global_lock": (
        "'x': its code (uses_a_global) can't be sent to a node: global 'LOCK': cannot pickle '_thread.lock' object. "
        "Make it inside the function, or pass as an argument what it is made from",
        "global 'LOCK'",
    ),
    "argument": (
        "'x': argument 2['model'][0] can't be sent to a node: cannot pickle '_thread.lock' object. Pass what it is made from instead",
        "argument 2['model'][0]",
    ),
}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The graphs, and no way to start a cluster."""
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a cluster was started for a graph that can't be run")

    path = tmp_path / "graphs.py"
    path.write_text(GRAPHS)
    monkeypatch.delenv("HANDOFF_COORDINATOR", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(handoff.local, "LocalCluster", started)
    return path


@pytest.mark.parametrize(("name", "kind", "text"), [(name, *told) for name, told in INVALID.items()])
def test_an_invalid_graph_is_explained(file: Path, name: str, kind: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence names what is wrong and where; on the command line it is the only line, and the status is 2."""
    with pytest.raises(errors.InvalidDAG) as caught:
        lower(load_dag(f"{file}:{name}"))

    assert (type(caught.value).__name__, str(caught.value)) == (kind, text)
    assert command(["run", f"{file}:{name}"]) == 2
    assert capsys.readouterr() == ("", f"{kind}: {text}\n")


@pytest.mark.parametrize(("name", "text", "path"), [(name, *told) for name, told in UNSENDABLE.items()])
def test_what_can_not_be_sent_is_named_by_its_variable(file: Path, name: str, text: str, path: str) -> None:
    """The variable, not only its type; and the cause shows no frame of Handoff or of a pickling library."""
    with pytest.raises(errors.NotSerializable) as caught:
        lower(load_dag(f"{file}:{name}"))

    error = caught.value
    assert (str(error), error.function, error.path) == (text, "x", path)
    assert isinstance(error.__cause__, TypeError)
    assert error.__cause__.__traceback__ is None and error.__cause__.__suppress_context__


def test_a_failing_reduce_of_the_user_keeps_its_frames() -> None:
    """Where pickling fails in the user's own code, the cause leads there."""
    class Model:
        def __reduce__(self) -> str:
            raise OSError("the model is on a disk that is gone")

    with pytest.raises(errors.NotSerializable, match=r"argument 1 can't be sent to a node: the model is on a disk that is gone") as caught:
        lower(handoff.DAG().add(handoff.Function("x", code=len, extra_args=[Model()])))

    cause = caught.value.__cause__
    assert isinstance(cause, OSError) and cause.__traceback__ is not None
    assert cause.__traceback__.tb_frame.f_code.co_name == "__reduce__"


def test_functions_are_added_and_not_given_to_the_constructor() -> None:
    """They would be taken for its name, and an empty graph would run."""
    with pytest.raises(errors.InvalidFunction, match=r"DAG\(\) takes a name, not list: .*dag\.add"):
        handoff.DAG([handoff.Function("a", code=print)])  # type: ignore[arg-type]
