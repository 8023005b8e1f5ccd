"""Whether CUDA still works in this worker process.

After some errors (a failed assertion on the device, an illegal address, a hardware fault) a process can't use CUDA any more: every
later call fails with the same error, whatever task makes it. Only a new process can (CUDA driver API, `cuCtxSynchronize` and the
"sticky" errors of `CUresult`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from handoff.node.phrases import CUDA_BROKEN_STATUS

_LIBRARY = "libcuda.so.1"
# 0: it works; 3, 4: CUDA was not begun, or is at its end; 201: this thread has not used it
_HARMLESS = frozenset({0, 3, 4, 201})


def context_status() -> int:
    """What the driver says of this thread's context once all that was started in it has ended: a `CUresult`; 0 where CUDA isn't used."""
    try:
        driver = ctypes.CDLL(_LIBRARY, mode=os.RTLD_NOW | os.RTLD_NOLOAD)  # of whatever the user's code has loaded
    except OSError:
        return 0
    return int(driver.cuCtxSynchronize())


def leave_if_broken(flush: Callable[[], None]) -> None:
    """End this process when nothing on a GPU can succeed in it any more; `flush` sends what is still to be said.

    The node starts another and gives it what was not begun here, the next attempt of the task that failed included.
    """
    if context_status() not in _HARMLESS:
        flush()
        os._exit(CUDA_BROKEN_STATUS)
