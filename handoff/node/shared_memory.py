"""Large values in anonymous files (memfd): written once, sealed, handed over as a descriptor, mapped by whoever reads them."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import mmap
import os
import resource
import weakref
from collections.abc import Iterable
from typing import Any

from handoff.errors import ProtocolError

_ADD_SEALS, _GET_SEALS = 1033, 1034                      # fcntl commands; the fcntl module names them only on some builds
_SEAL_SHRINK, _SEAL_GROW, _SEAL_WRITE, _SEAL_FUTURE_WRITE = 2, 4, 8, 16
_PARTS_PER_WRITE = 512                                   # the kernel takes 1,024
_BYTES_PER_WRITE = 1 << 30                               # the kernel takes just under 2 GiB
_RESERVED_MAX = 1024                                    # descriptors kept free of values, for links, workers and what is on its way;
_RESERVED_SHARE = 4                                      # a quarter where there are few
_COPIED_BYTES_MAX = 64 * 1024 * 1024                     # of larger values, memory runs out before descriptors do
SMALL_BYTES = 256 * 1024                                 # of a value up to this size, a copy costs less than a mapping and its page faults
AHEAD_BYTES = 4 * 1024 * 1024                           # writing a larger one takes so long that who waits for it is told its size before
_serials = itertools.count(1)


class SharedValue:
    """One packed value in shared memory. Its descriptor is closed when the last reference to it goes; views outlive it."""

    __slots__ = ("_view", "fd", "nbytes", "serial")

    def __init__(self, fd: int, nbytes: int) -> None:
        self.fd, self.nbytes = fd, nbytes
        self.serial = next(_serials)  # names this very copy, for whoever remembers having it mapped
        self._view: weakref.ref[memoryview] | None = None

    def view(self) -> memoryview:
        """The bytes, read-only, mapped as long as somebody looks at them: a mapping of Python's holds a descriptor of its own."""
        view = self._view() if self._view is not None else None
        if view is None:
            view = map_readonly(self.fd, self.nbytes)
            self._view = weakref.ref(view)
        return view

    def look(self) -> bytes | memoryview:
        """The bytes to be read once: a copy of a small value, which is cheaper; else as `view`."""
        if self.nbytes > SMALL_BYTES or (self._view is not None and self._view() is not None):
            return self.view()
        return os.pread(self.fd, self.nbytes, 0)

    def __len__(self) -> int:
        return self.nbytes

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self.fd)

    def __repr__(self) -> str:
        return f"<SharedValue {self.serial}: {self.nbytes:,} bytes>"


def write_shared(parts: Iterable[Any], nbytes: int) -> SharedValue:
    """A value made of these buffers, back to back; nobody can change it afterwards."""
    value = SharedValue(os.memfd_create("handoff-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), nbytes)
    _write_all(value.fd, [memoryview(part).cast("B") for part in parts if len(part)])
    fcntl.fcntl(value.fd, _ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_WRITE)
    return value


def received_whole(data: memoryview) -> SharedValue:
    """A value that came in one piece; MemoryError when there is no room."""
    try:
        return write_shared((data,), len(data))
    except OSError as error:
        raise no_room(len(data), error) from error


def _write_all(fd: int, parts: list[memoryview]) -> None:
    at, count = 0, len(parts)
    while at < count:
        window, size = [], 0
        for part in parts[at : at + _PARTS_PER_WRITE]:
            window.append(part[: _BYTES_PER_WRITE - size])
            size += len(window[-1])
            if size == _BYTES_PER_WRITE:
                break
        written = os.writev(fd, window)  # writing is faster than copying into a mapping, which faults on every page
        while at < count and written >= len(parts[at]):
            written -= len(parts[at])
            at += 1
        if written:
            parts[at] = parts[at][written:]


def empty_shared(nbytes: int) -> SharedValue:
    """A value of this size that is still to be written. Seal it with `seal_received` when it is complete."""
    try:
        fd = os.memfd_create("handoff-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        value = SharedValue(fd, nbytes)
        os.ftruncate(fd, nbytes)
        return value
    except (OSError, ValueError, OverflowError) as error:
        raise no_room(nbytes, error) from error


def take_memory(value: SharedValue, start: int = 0, nbytes: int | None = None) -> None:
    """Have the memory of an empty value, or of a part of it, now, and not only as it is written. MemoryError when there is no room.

    For small ones and parts: of what there is not enough of, the kernel first takes all that there is.
    """
    try:
        os.posix_fallocate(value.fd, start, value.nbytes if nbytes is None else nbytes)
    except OSError as error:
        raise no_room(value.nbytes, error) from error


def map_writable(value: SharedValue) -> memoryview:
    """The memory of an empty value, to write it into."""
    try:
        return memoryview(mmap.mmap(value.fd, value.nbytes))
    except (OSError, ValueError, OverflowError) as error:
        raise no_room(value.nbytes, error) from error


def no_room(nbytes: int, error: Exception) -> MemoryError:
    """What is raised where a value can't be kept."""
    return MemoryError(f"no room for a value of {nbytes:,} bytes on this node: {error}")


def with_few_descriptors(value: SharedValue) -> SharedValue | bytes:
    """The value itself; or a copy that needs no descriptor, once nearly all that this process may have are in use.

    Every large value holds one. A node that runs out of them can neither start a worker nor accept a peer.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or value.fd < limit - min(_RESERVED_MAX, limit // _RESERVED_SHARE):  # the lowest free one is taken
        return value
    return value if value.nbytes > _COPIED_BYTES_MAX else bytes(value.view())


def seal_received(value: SharedValue) -> None:
    """Nobody can change it from now on, but for mappings that exist already."""
    try:
        fcntl.fcntl(value.fd, _ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_FUTURE_WRITE)
    except OSError:  # kernels before 5.1 know no FUTURE_WRITE
        fcntl.fcntl(value.fd, _ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW)


def adopt(fd: int, nbytes: int) -> SharedValue:
    """The value behind a descriptor that came from a worker.

    Checked before it is believed: reading a mapping of a file that somebody shortens would kill this process.
    """
    value = SharedValue(fd, nbytes)
    if os.fstat(fd).st_size != nbytes or fcntl.fcntl(fd, _GET_SEALS) & _SEAL_SHRINK == 0:
        raise ProtocolError(f"a value of {nbytes:,} bytes was announced, but its memory is of another size or not sealed")
    return value


def map_readonly(fd: int, nbytes: int) -> memoryview:
    """The file's bytes, mapped; the mapping lives as long as any view of it."""
    if nbytes == 0:
        return memoryview(b"")
    return memoryview(mmap.mmap(fd, nbytes, prot=mmap.PROT_READ))
