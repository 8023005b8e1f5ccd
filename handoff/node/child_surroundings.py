"""In which directory, with which umask and environment tasks begin: what one changes of these is not for those that run here later."""

from __future__ import annotations

import contextlib
import os
import sys

_Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_IMPORTING = "<frozen importlib"    # how the names of the files begin whose code imports modules


class Surroundings:
    """Of a worker process. A module is imported but once, for all that come later: what it puts into the environment then stays.

    The environment is not compared: who changes it is noted, so that it costs nothing where nobody does.
    """

    def __init__(self) -> None:
        self._directory, self._umask = -1, -1
        self._before: dict[bytes, bytes | None] = {}           # what changed variables were; None: not there
        self._putenv, self._unsetenv = os.putenv, os.unsetenv

    def watch(self) -> None:
        """As they are now, they shall be for each task."""
        with contextlib.suppress(OSError):                     # removed, or not ours to look at
            self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        os.putenv, os.unsetenv = self._put, self._unset        # which os.environ calls before it changes itself

    def keep(self, name: str, value: str) -> None:
        """Give a variable this value from now on."""
        os.environ[name] = value
        self._before.pop(os.fsencode(name), None)

    def restore(self) -> None:
        """Before tasks begin: as it was."""
        if self._directory >= 0:
            with contextlib.suppress(OSError):
                os.fchdir(self._directory)
        if self._umask >= 0:
            os.umask(self._umask)
        if self._before:
            for name, value in list(self._before.items()):
                if value is None:
                    os.environb.pop(name, None)
                else:
                    os.environb[name] = value
            self._before.clear()

    def _put(self, name: _Text, value: _Text) -> None:
        self._note(name)
        self._putenv(name, value)

    def _unset(self, name: _Text) -> None:
        self._note(name)
        self._unsetenv(name)

    def _note(self, name: _Text) -> None:
        name = os.fsencode(name)
        if _is_importing():
            self._before.pop(name, None)
        else:
            self._before.setdefault(name, os.environb.get(name))


def _is_importing() -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return True
        frame = frame.f_back   # type: ignore[assignment]  # the outermost has none
    return False
