"""A worker process, started by its node: `python -m handoff.node.child --fd N --marker M --log L`. User code runs here and nowhere else.

It says that it is ready before it loads anything more than a socket needs; the rest is loaded while it waits for its first task.
What is written until then stays with the node, which says it if nothing comes of this process.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import types

from handoff.node.phrases import LOADED, MARKER_BYTES, READY
from handoff.node.pipe import frame


def main() -> None:
    """Say that we are ready, load the rest, serve."""
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    sock = socket.socket(fileno=int(options["--fd"]))
    sock.set_inheritable(False)  # a program that a task starts must not keep the node waiting for our end
    try:
        sock.sendall(frame([READY]))
    except OSError:  # the node is gone already: the coordinator did not want it
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client, which then cancels the run
    sys.path[:0] = [path for path in os.environ.get("HANDOFF_SYS_PATH", "").split(os.pathsep) if path and path not in sys.path]
    sys.path += own_directory()
    sys.modules["__main__"] = types.ModuleType("__main__")  # user code that asks for it must not find this file

    from handoff.node.child_serve import Worker, keep_freed_memory, protect

    protect()
    keep_freed_memory()
    marker_fd = int(options["--marker"])
    worker = Worker(sock, map_marker(marker_fd))
    worker.capture()
    try:
        sock.sendall(frame([LOADED]))
    except OSError:
        os._exit(0)
    write_to(int(options["--log"]))
    worker.serve()
    leave()


def own_directory() -> list[str]:
    """Where the node was started, since modules of a project may lie there; after all others, and not where anybody may put some."""
    try:
        return [] if os.stat(".").st_mode & stat.S_IWOTH else [os.getcwd()]  # noqa: PTH109, PTH116 - pathlib takes long to load
    except OSError:  # it was removed
        return []


def write_to(log: int) -> None:
    """From now on what is written past Python goes to the node's log, and so does what was written until now."""
    written = os.pread(2, os.fstat(2).st_size, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        while written:
            written = written[os.write(2, written) :]
    except OSError:  # nobody reads the node's log any more, or its disk is full: that is no reason to end
        pass


def map_marker(fd: int) -> memoryview:
    """The memory in which the node reads what executes here, or did when this process died. See `phrases.MARKER_BYTES`."""
    import mmap

    memory = memoryview(mmap.mmap(fd, MARKER_BYTES)).cast("Q")
    os.close(fd)
    return memory


def leave() -> None:
    """The node is gone or wants us gone: run what user code registered for the end, then end, whatever threads still run."""
    import atexit

    try:
        atexit._run_exitfuncs()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
