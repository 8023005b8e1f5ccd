"""What figures were taken on: the machine, how busy it was, and the versions of what takes part."""

from __future__ import annotations

import os
import platform
import timeit
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACE_TIMES = 20_000
PACKAGES = ("msgpack", "uvloop", "cryptography", "numpy")


def machine() -> dict[str, Any]:
    """As plain data, for a JSON file."""
    from handoff.version import VERSION

    return {
        "handoff": VERSION,
        "python": platform.python_version(),
        "python_ns": pace(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),   # of the minute before: figures of a busy machine are ratios at best
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
    }


def pace() -> int:
    """Nanoseconds that this Python takes here for a small fixed piece of work: the same version, otherwise built, takes twice as long."""
    best = min(timeit.repeat(_work, number=PACE_TIMES, repeat=5))
    return round(best / PACE_TIMES * 1e9)


def _work() -> int:
    columns = {"task": 1}
    columns["sizes"] = len([columns, (columns, 2)])
    return columns["sizes"]


def processor() -> str:
    """Its model, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def installed(name: str) -> str:
    """The version of a package; empty where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
