"""In which directory and with which umask tasks begin: what one changes of these is not for those that run here later.

Their environment stays as they leave it: what is set up once in a process, by a function that is not called again, often lies there.
"""

from __future__ import annotations

import contextlib
import os


class Surroundings:
    """Of a worker process."""

    def __init__(self) -> None:
        self._directory, self._umask = -1, -1

    def watch(self) -> None:
        """As they are now, they shall be for each task."""
        with contextlib.suppress(OSError):                     # removed, or not ours to look at
            self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY)
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def restore(self) -> None:
        """Before tasks begin: as it was."""
        if self._directory >= 0:
            try:  # noqa: SIM105 - contextlib takes longer than the call
                os.fchdir(self._directory)
            except OSError:
                pass
        if self._umask >= 0:
            os.umask(self._umask)
