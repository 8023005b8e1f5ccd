"""What this machine has to offer, and why so much: cores, memory, GPUs, within the limits that containers and schedulers set.

The files of Linux are read below a `root`, so that tests can show made-up machines. Where a file is missing there is no such limit.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from handoff.node.gpus import Gpu
from handoff.resources import GPU, GPU_KIND, GPU_MEMORY, SCALE, Amounts, amounts

SYSTEM_SHARE = 0.1                    # of the memory, for the system and for what Handoff itself needs
MB = 1_000_000
UNLIMITED = 1 << 60                   # version 1 writes "no limit" as a number near 2**63


@dataclass(frozen=True, slots=True)
class Detected:
    """What was found, and a sentence for each thing that made it so."""

    capacity: Amounts
    reasons: tuple[str, ...]
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the control groups of this process allow; None: as much as there is."""

    cpus: float | None = None
    memory_bytes: int | None = None


def detect(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> Detected:
    """The capacity that a node advertises unless told otherwise."""
    reasons: list[str] = []
    limits = cgroup_limits(root)
    offered = amounts({"cpu": _cpus(root, limits, reasons), "memory": _memory(limits, reasons)})
    gpus = _gpus(root, os.environ if environment is None else environment, reasons)
    return Detected(tuple(sorted(offered + gpu_amounts(gpus))), tuple(reasons), gpus)


# ── cores and memory ────────────────────────────────────────────────────────


def _cpus(root: Path, limits: Limits, reasons: list[str]) -> float:
    present = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    physical = physical_cores(root)
    if physical and physical < present:
        reasons.append(f"cpu: this machine has {_counted(physical, 'core')} that run {present} threads at once (SMT); each thread counts.")
    else:
        reasons.append(f"cpu: this machine has {_counted(present, 'core')}.")
    if allowed < present:
        reasons.append(f"cpu: this process may use {allowed} of them (its affinity mask).")
    if limits.cpus is not None and limits.cpus < allowed:
        reasons.append(f"cpu: its control group may use {limits.cpus:g} cores' worth of time.")
        return limits.cpus
    return allowed


def physical_cores(root: Path = Path("/")) -> int:
    """How many cores there are, those of SMT counted once; 0 where the kernel does not say."""
    cores: set[tuple[str, str]] = set()
    for topology in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"):
        core = _read(topology / "core_id")
        if core:
            cores.add((_read(topology / "physical_package_id"), core))
    return len(cores)


def _memory(limits: Limits, reasons: list[str]) -> float:
    present = _memory_bytes()
    reasons.append(f"memory: this machine has {present // MB} MB.")
    if limits.memory_bytes is not None and limits.memory_bytes < present:
        present = limits.memory_bytes
        reasons.append(f"memory: its control group may use {present // MB} MB.")
    reasons.append(f"memory: {SYSTEM_SHARE:.0%} of that is left to the system.")
    return int(present * (1 - SYSTEM_SHARE)) // MB


def _memory_bytes() -> int:
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    import psutil  # where the system does not say; not at the top, since it costs a daemon's start 25 ms

    return int(psutil.virtual_memory().total)


def cgroup_limits(root: Path = Path("/")) -> Limits:
    """The narrowest limits of this process's control groups and all that they lie in, in version 1 and version 2 of the format."""
    cpus: list[float] = []
    memory: list[int] = []
    for version, directory in _cgroup_directories(root):
        if version == 2:
            cpus += _quota(*[*_read(directory / "cpu.max").split(), "", ""][:2])
            memory += _bytes(_read(directory / "memory.max"))
        else:
            cpus += _quota(_read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us"))
            memory += _bytes(_read(directory / "memory.limit_in_bytes"))
    return Limits(min(cpus, default=None), min(memory, default=None))


def out_of_memory_kills(root: Path = Path("/")) -> int:
    """How many processes the kernel has killed in this control group since memory ran out; on the machine, where no group is counted."""
    for version, directory in _cgroup_directories(root):
        found = _counter(directory / ("memory.events" if version == 2 else "memory.oom_control"))
        if found is not None:
            return found
    return _counter(root / "proc/vmstat") or 0


def _counter(path: Path) -> int | None:
    lines = [line.split() for line in _read(path).splitlines()]
    return next((int(line[1]) for line in lines if len(line) == 2 and line[0] == "oom_kill" and line[1].isdecimal()), None)


def _cgroup_directories(root: Path) -> Iterator[tuple[int, Path]]:
    """Every directory with limits for this process, innermost first, for each hierarchy that matters."""
    groups: dict[str, str] = {}   # controller ("" for version 2) -> the group's path, as the kernel names it
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        groups.update(dict.fromkeys(controllers.split(","), path))
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")
        mounted, kind = mount.split(), filesystem.split()
        if len(mounted) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if kind[0] == "cgroup2" else 1
        named = [""] if version == 2 else [each for each in kind[2].split(",") if each in ("cpu", "memory")]
        for path in {groups[each]: None for each in named if each in groups}:
            for inside in _inside(path, mounted[3]):
                yield version, root / mounted[4].lstrip("/") / inside


def _inside(group: str, mounted: str) -> Iterator[PurePosixPath]:
    """The group and what it lies in, below a mount that shows the hierarchy from `mounted` on."""
    try:
        below = PurePosixPath(group).relative_to(mounted)
    except ValueError:
        below = PurePosixPath()   # in a container that sees only its own group, under a name from outside
    if ".." in below.parts:
        below = PurePosixPath()   # a group outside of the namespace: all that can be seen is the mount itself
    yield below
    yield from below.parents


def _quota(quota: str, period: str) -> list[float]:
    with suppress(ValueError):
        if int(quota) > 0 and int(period) > 0:
            return [round(int(quota) / int(period), 4)]
    return []


def _bytes(text: str) -> list[int]:
    with suppress(ValueError):
        if 0 < int(text) < UNLIMITED:
            return [int(text)]
    return []


def _read(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""


# ── GPUs ────────────────────────────────────────────────────────────────────


def gpu_amounts(gpus: Sequence[Gpu]) -> Amounts:
    """What a node with these GPUs offers: all of them, those of each kind, and their memory together."""
    found: dict[str, int] = {}
    for gpu in gpus:
        for name, steps in ((GPU, SCALE), (GPU_KIND + gpu.kind if gpu.kind else "", SCALE), (GPU_MEMORY, gpu.memory)):
            found[name] = found.get(name, 0) + steps
    return tuple(sorted((name, steps) for name, steps in found.items() if name and steps))


def _gpus(root: Path, environment: Mapping[str, str], reasons: list[str]) -> tuple[Gpu, ...]:
    """NVIDIA's, as far as they are visible to programs."""
    if not any((root / place).exists() for place in ("dev/nvidiactl", "proc/driver/nvidia", "dev/dxg")):
        reasons.append("gpu: there is no NVIDIA driver.")
        return ()
    if importlib.util.find_spec("pynvml") is None:
        reasons.append("gpu: there is an NVIDIA driver, but nvidia-ml-py is not installed to ask it; say --gpus, or install handoff[gpu].")
        return ()
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            uuids = [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
            names = [_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
            sizes = [_gpu_memory(pynvml, handle) for handle in handles]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        reasons.append(f"gpu: the NVIDIA driver does not answer ({error}); say --gpus.")
        return ()
    listed = f" ({', '.join(sorted(set(names)))})" if names else ""
    reasons.append(f"gpu: this machine has {_counted(len(names), 'NVIDIA GPU')}{listed}.")
    choice = environment.get("CUDA_VISIBLE_DEVICES")
    seen = visible_gpus(choice, uuids)
    if choice is not None and len(seen) != len(uuids):
        reasons.append(f"gpu: CUDA_VISIBLE_DEVICES={choice!r} leaves {len(seen)}.")
    if any(at is None for _, at in seen):
        reasons.append("gpu: slices of GPUs (MIG) count as one each, of no kind, as they are set up; Handoff makes and changes none.")
    gpus = tuple(Gpu("" if at is None else kind_of(names[at]), 0 if at is None else sizes[at] * SCALE, device) for device, at in seen)
    for kind in dict.fromkeys(gpu.kind for gpu in gpus if gpu.kind):
        count = sum(gpu.kind == kind for gpu in gpus)
        memory = min(gpu.memory for gpu in gpus if gpu.kind == kind) // SCALE
        size = f" of {memory} MB" if memory else ", of whose memory the driver says nothing"
        reasons.append(f"gpu: {GPU_KIND}{kind} is {_counted(count, 'GPU')}{size}.")
    return gpus


def _gpu_memory(pynvml: Any, handle: Any) -> int:
    """In MB; 0 where the driver does not tell, as on GPUs that share the machine's memory."""
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // MB
    except (pynvml.NVMLError, AttributeError):
        return 0


def visible_gpus(choice: str | None, uuids: list[str]) -> list[tuple[str, int | None]]:
    """The GPUs that CUDA shows under this CUDA_VISIBLE_DEVICES: those listed up to the first that is not there, each once.

    Of each: what CUDA calls it, and which of the machine's GPUs it is; None for a slice of one.
    """
    if choice is None:
        return [(str(index), index) for index in range(len(uuids))]
    seen: dict[str, tuple[str, int | None]] = {}
    for entry in (each.strip() for each in choice.split(",")):
        if entry.isdecimal() and int(entry) < len(uuids):
            at = int(entry)
        elif entry.startswith("GPU-") and len(matching := [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]) == 1:
            at = matching[0]
        elif entry.startswith("MIG-"):
            seen.setdefault(entry, (entry, None))   # the list names it, and only the driver could tell more
            continue
        else:
            break
        seen.setdefault(uuids[at], (entry, at))
    return list(seen.values())


def kind_of(name: str) -> str:
    """What costs call this kind of GPU: "NVIDIA A100-SXM4-40GB" is "a100", "NVIDIA GeForce RTX 4090" is "rtx4090"."""
    words = re.split(r"[\s_-]+", name.lower())
    return "".join(re.sub(r"[^a-z0-9]", "", word) for word in words if not _NOISE.fullmatch(word))


_NOISE = re.compile(r"nvidia|tesla|geforce|quadro|graphics|generation|laptop|gpu|pcie?|nvl|sxm\d*|hbm\w*|\d+g(i?b)?")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
