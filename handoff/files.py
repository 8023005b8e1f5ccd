"""Files that a user names: one that can't be read or written is one clear error, which says which, why, and what to do.

And the three that every process should have open.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

from handoff.errors import ConfigError, FileError
from handoff.quoting import cut, quoted

NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})   # errors that say that no more can be open, in this process or on this machine


def read_file(path: Any, what: str) -> bytes:
    """All of it. Raises FileError; `what` is what it should hold, such as "plan"."""
    place = _path(path, what)
    try:
        return place.read_bytes()
    except OSError as wrong:
        raise _error(f"no {what} can be read from {cut(str(place))}", place, wrong, "check the path") from None


def write_file(path: Any, what: str, text: str) -> None:
    """The whole file, as UTF-8; what has no place in that becomes a question mark. Raises FileError."""
    place = _path(path, what)
    try:
        place.write_text(text, encoding="utf-8", errors="replace")
    except OSError as wrong:
        raise _error(f"the {what} can't be written to {cut(str(place))}", place, wrong, "name another place") from None


def open_streams() -> None:
    """Standard streams that this process was started without lead nowhere from now on.

    Otherwise the next pipes and sockets would take their places, where children have streams of their own instead of what they inherit.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)   # becomes this one, the lowest that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))   # noqa: PTH123, SIM115 - for as long as the process lives


def working_directory() -> list[str]:
    """Where modules of a project may lie; nothing where it was removed meanwhile, which is no reason to stop."""
    try:
        return [os.getcwd()]   # noqa: PTH109 - an empty entry of `sys.path` means this
    except OSError:
        return []


def _path(path: Any, what: str) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(path):
        raise ConfigError(f"path={quoted(path)} is no path of a file for the {what}")
    return Path(path)


def _error(start: str, place: Path, wrong: OSError, advice: str) -> FileError:
    if wrong.errno == errno.ENOENT and not place.parent.is_dir():
        why = f"there is no folder {cut(str(place.parent))}; make it first, or check the path"
    elif wrong.errno == errno.EISDIR:
        why = "that is a folder; name a file in it"
    else:
        why = f"{wrong.strerror or wrong}; {advice}"
    return FileError(f"{start}: {why}", path=str(place), errno=wrong.errno)
