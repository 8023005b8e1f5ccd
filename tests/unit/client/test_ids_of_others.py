"""Ids of a run that another process began are the ids of whoever attaches to it."""

from __future__ import annotations

import subprocess
import sys

CLASSES = """
import dataclasses, enum, sys
from types import SimpleNamespace
from handoff.client.attaching import finish_attach
from handoff.client.state import Graph
from handoff.wire.values import pack, unpack

class Color(enum.Enum):
    RED = 1
    BLUE = 2

@dataclasses.dataclass(frozen=True)
class Key:
    name: str

class Other(enum.Enum):
    ONLY = 1
"""
BEGINS = CLASSES + """
print(pack(([Color.RED, Key("x"), ("t", frozenset({Color.BLUE})), "text", Other.ONLY, None], {})).join().hex())
"""
CHANGED = """
@dataclasses.dataclass
class Key:
    name: str
del Other
"""
ATTACHES = """
state = SimpleNamespace(graph=Graph("", (), (), {}))
state.answer = {"name": "run", "ids": bytes.fromhex(sys.argv[1]), "outputs": [], "total": 6}
finish_attach(state)
number = state.graph.number
print([number.get(each) for each in IDS], len(number))
"""


def said_by(script: str, *arguments: str) -> str:
    """What a script prints."""
    ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_classes_of_the_script_are_those_of_the_script_that_attaches() -> None:
    """An enum or a dataclass of `__main__` came by value; it finds its result all the same, also inside tuples and sets."""
    ids = 'IDS = [Color.RED, Key("x"), ("t", frozenset({Color.BLUE})), "text", Other.ONLY]'

    assert said_by(f"{CLASSES}\n{ids}\n{ATTACHES}", said_by(BEGINS)) == "[0, 1, 2, 3, 4] 5"


def test_ids_whose_classes_are_not_in_the_script_that_attaches_stay_what_they_are() -> None:
    """Not there, or there as what can't be an id."""
    ids = 'IDS = [Color.RED, "text"]'

    assert said_by(f"{CLASSES}\n{CHANGED}\n{ids}\n{ATTACHES}", said_by(BEGINS)) == "[0, 3] 5"
