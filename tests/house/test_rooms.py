"""What is true of every file: a purpose on its first line, a size that fits a few screens, and a place on the map."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = sorted((ROOT / "handoff").rglob("*.py"))
LINES_MAX = 400


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_fits_on_a_few_screens_and_says_what_it_is_for(room: Path) -> None:
    """Each file opens with a docstring and has at most 400 lines."""
    text = room.read_text()
    assert len(text.splitlines()) <= LINES_MAX, f"{room} has outgrown its room: look for the second noun"
    assert ast.get_docstring(ast.parse(text)), f"{room} does not say what it is for"


def test_no_room_is_a_lumber_room() -> None:
    """Helpers live beside their user or have a noun of their own."""
    assert not [room for room in ROOMS if room.stem in {"utils", "util", "helpers", "common", "misc"}]


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of a machine is written down anywhere."""
    text = "\n".join(path.read_text() for path in [*ROOMS, ROOT / "README.md", ROOT / "handoff" / "ARCHITECTURE.md"])
    assert not re.search(r"/root/|/home/\w+/", text)
