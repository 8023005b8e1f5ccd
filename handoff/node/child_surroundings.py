"""In which directory, with which umask and limits tasks begin: what one changes of these is not for those that run here later.

Their environment stays as they leave it: what is set up once in a process, by a function that is not called again, often lies there.
"""

from __future__ import annotations

import contextlib
import os
import resource

_LIMITS = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE,
           resource.RLIMIT_STACK)


class Surroundings:
    """Of a worker process."""

    def __init__(self) -> None:
        self._directory, self._umask = -1, -1
        self._limits: list[tuple[int, tuple[int, int]]] = []    # of what, and how much: soft and hard

    def watch(self) -> None:
        """As they are now, they shall be for each task."""
        with contextlib.suppress(OSError):                     # removed, or not ours to look at
            self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._limits = [(each, resource.getrlimit(each)) for each in _LIMITS]

    def restore(self) -> None:
        """Before tasks begin: as it was."""
        if self._directory >= 0:
            try:  # noqa: SIM105 - contextlib takes longer than the call
                os.fchdir(self._directory)
            except OSError:
                pass
        if self._umask >= 0:
            os.umask(self._umask)

    def unlimit(self) -> bool:
        """After tasks: limits that they have lowered are as they were. False: they can't be, and whoever runs here next would pay for it.

        What was raised stays so, as the environment does: some libraries raise the limit on open files when they are loaded.
        """
        for each, before in self._limits:
            now = resource.getrlimit(each)
            if now != before and any(_is_less(*pair) for pair in zip(now, before, strict=True)):
                try:
                    resource.setrlimit(each, before)
                except (OSError, ValueError):
                    return False
        return True


def _is_less(limit: int, other: int) -> bool:
    return limit != resource.RLIM_INFINITY and (other == resource.RLIM_INFINITY or limit < other)
