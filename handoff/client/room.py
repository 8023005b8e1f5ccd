"""Memory for large values that are on their way to a client."""

from __future__ import annotations

import contextlib
import mmap
import sys

MAPPED_BYTES = 256 * 1024        # from here on a value gets pages of its own, which go back to the system when it dies,
HUGE_BYTES = 16 * 1024 * 1024    # and from here on huge ones, of which the last may be empty for the most part
HUGE_PAGE = 2 * 1024 * 1024


def room_for(total: int) -> memoryview:
    """Memory for a value of this size, all of which will be written soon."""
    if total >= MAPPED_BYTES:
        with contextlib.suppress(OSError):  # a process has only so many mappings (65,530), and a client may hold more values
            return memoryview(_pages(total))[:total]
    return memoryview(bytearray(total))


def _pages(total: int) -> mmap.mmap:
    """Pages of its own: all at once, or huge ones, since each that is faulted in by itself costs as much as what is written to it."""
    if sys.platform != "linux":
        return mmap.mmap(-1, total)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if total < HUGE_BYTES:
        return mmap.mmap(-1, total, flags=flags | mmap.MAP_POPULATE)
    pages = mmap.mmap(-1, -(-total // HUGE_PAGE) * HUGE_PAGE, flags=flags)      # whole ones, or the kernel does not align them
    with contextlib.suppress(OSError):      # it may have none
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
