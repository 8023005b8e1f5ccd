"""What is done when this process is killed: programs that user code started, and did not detach, end with it, as its workers do.

A worker leads a process group, which the node ends with it; and workers die with their node by the kernel's hand. Then nobody is left who
would end the rest of their groups. So a shell, in a session of its own, is told each group that there is, and reads a pipe that nobody else
holds: at its end it ends them all. A number is taken from it before the node lets go of that process, so none can be anybody else's by
then. What was detached on purpose (a session of its own, `start_new_session=True`) is in no such group, and lives on.
"""

from __future__ import annotations

import os
import subprocess
import weakref

from handoff.log import log

SHELL = "/bin/sh"
SCRIPT = """
trap '' HUP INT TERM
all=' '
while read -r what group; do
  case $what in
    +) all="$all$group " ;;
    -) all="${all%% $group *} ${all#* $group }" ;;
  esac
done
for group in $all; do kill -s KILL -- "-$group"; done
"""


class LastWill:
    """Begins with the first group; `close` when all of them have ended."""

    def __init__(self) -> None:
        self._groups: dict[int, None] = {}
        self._shell: subprocess.Popen[bytes] | None = None
        self._is_over = self._has_failed = False
        _wills.add(self)

    def add(self, group: int) -> None:
        """This group is to end with us."""
        self._groups[group] = None
        self._say(f"+ {group}\n")

    def remove(self, group: int) -> None:
        """It has ended. Said before its leader is waited for: from then on its number may be given to others."""
        if group in self._groups:
            del self._groups[group]
            self._say(f"- {group}\n")

    def _say(self, line: str) -> None:
        if self._is_over:
            return
        if self._shell is None or self._shell.stdin is None:
            self._write_anew()
            return
        try:
            os.write(self._shell.stdin.fileno(), line.encode())   # all of it or nothing: it is short
        except OSError:     # somebody ended or stopped it
            self._write_anew()

    def _write_anew(self) -> None:
        """What was kept from it by want of descriptors, or of processes, is tried again with the next group that comes or goes."""
        self._end_shell()
        try:
            self._shell = subprocess.Popen(
                [SHELL, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0,
                cwd="/", env={}, start_new_session=True,
            )
            assert self._shell.stdin is not None
            for group in self._groups:
                os.write(self._shell.stdin.fileno(), f"+ {group}\n".encode())
            os.set_blocking(self._shell.stdin.fileno(), False)
            self._has_failed = False
        except OSError as error:
            self._end_shell()
            if not self._has_failed:
                self._has_failed = True
                note = "until there is one, programs that functions started live on if this process is killed"
                log.warning("node.no_shell", shell=SHELL, reason=str(error), note=note)

    def close(self) -> None:
        """Nothing is to be done any more."""
        self._is_over = True
        self._end_shell()

    def _end_shell(self) -> None:
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.kill()    # first: at the end of its pipe it would do what it is for
            shell.wait()
            if shell.stdin is not None:
                shell.stdin.close()

    def let_go(self) -> None:
        """In a forked child, which may live on when we are killed: the end of the pipe would not be seen."""
        shell, self._shell, self._is_over = self._shell, None, True
        self._groups.clear()
        if shell is not None and shell.stdin is not None:
            shell.stdin.close()
            shell.returncode = 0    # it is none of its own children


_wills: weakref.WeakSet[LastWill] = weakref.WeakSet()


def _after_fork() -> None:
    for will in list(_wills):
        will.let_go()


os.register_at_fork(after_in_child=_after_fork)
