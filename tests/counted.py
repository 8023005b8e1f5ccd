"""Counts calls of Handoff's own Python functions: the same on every machine and version of Python, where seconds are not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import handoff

OURS = Path(handoff.__file__).parent
INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})     # called up to Python 3.11, and in their place since


def calls_in(act: Callable[[], Any], room: str = "") -> int:
    """Calls of functions of Handoff, or of this folder of it alone, while this is done; each item of a generator counts as one."""
    count = 0
    folder = str(OURS / room)

    def called(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(folder) and code.co_name not in INLINED:
            count += 1

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count
