"""What made-up machines offer: control groups of both versions, containers, affinity, GPUs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handoff.node import probe
from handoff.node.probe import Detected, Limits, cgroup_limits, detect, kind_of, out_of_memory_kills, physical_cores, visible_gpus
from handoff.resources import plain

V2 = "29 23 0:26 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = "".join(f"3{n} 23 0:3{n} {{root}} /sys/fs/cgroup/{name} rw shared:9 - cgroup cgroup rw,{options}\n"
             for n, (name, options) in enumerate({"memory": "memory", "cpu,cpuacct": "cpu,cpuacct", "cpuset": "cpuset"}.items()))


def machine(root: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    """A tree of files as the kernel would show it to one process."""
    for name, text in {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_what_the_kernel_killed_is_counted(tmp_path: Path) -> None:
    """In the innermost group that has a counter, in either version; on the whole machine where none has."""
    assert out_of_memory_kills(tmp_path / "none") == 0
    for name, (mountinfo, file) in {"two": (V2, "memory.events"), "one": (V1, "memory/memory.oom_control")}.items():
        root = machine(tmp_path / name, "0::/a/b\n" if name == "two" else "5:memory:/a/b\n", mountinfo.format(root="/"), {
            "proc/vmstat": "oom_kill 9\n",
        })
        assert out_of_memory_kills(root) == 9
        inner = root / "sys/fs/cgroup" / Path(file).parent / "a/b" / Path(file).name
        inner.parent.mkdir(parents=True)
        inner.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
        assert out_of_memory_kills(root) == 3


def test_no_control_groups_mean_no_limits(tmp_path: Path) -> None:
    """On a system without /proc, and on one whose groups have no limit."""
    assert cgroup_limits(tmp_path) == Limits()
    free = machine(tmp_path, "0::/user.slice\n", V2.format(root="/"), {
        "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n", "sys/fs/cgroup/user.slice/memory.max": "max\n",
    })
    assert cgroup_limits(free) == Limits()


def test_version_2_limits_are_the_narrowest_of_all_levels(tmp_path: Path) -> None:
    """A group can't have more than what it lies in."""
    root = machine(tmp_path, "0::/a/b\n", V2.format(root="/"), {
        "sys/fs/cgroup/a/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/a/memory.max": "9000000000\n", "sys/fs/cgroup/a/b/memory.max": "2000000000\n",
        "sys/fs/cgroup/other/memory.max": "1\n",
    })

    assert cgroup_limits(root) == Limits(1.5, 2_000_000_000)


def test_version_1_limits_are_read_from_each_hierarchy(tmp_path: Path) -> None:
    """Cores from the cpu controller, which may share its mount with another; memory from its own."""
    root = machine(tmp_path, "4:cpu,cpuacct:/job\n3:memory:/job/step\n2:cpuset:/\n", V1.format(root="/"), {
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "250000\n", "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/job/step/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1073741824\n",
    })

    assert cgroup_limits(root) == Limits(2.5, 1 << 30)


@pytest.mark.parametrize(("group", "mounted"), [
    ("/", "/"),                        # a namespace of its own
    ("/docker/abc", "/docker/abc"),    # the mount shows the container's group alone
    ("/docker/abc", "/../../else"),    # names from outside that mean nothing inside
    ("/../other", "/"),                # a process that was moved out of the namespace
])
def test_inside_a_container_its_own_mount_counts(tmp_path: Path, group: str, mounted: str) -> None:
    """However the paths look from inside, the limits at the mount are the container's."""
    root = machine(tmp_path, f"0::{group}\n", V2.format(root=mounted), {"sys/fs/cgroup/memory.max": "500000000\n"})

    assert cgroup_limits(root).memory_bytes == 500_000_000


@pytest.mark.parametrize("text", ["", "nonsense", "max", "100000 0", "-1 100000", "0 100000", "-7"])
def test_strange_files_are_no_limits(tmp_path: Path, text: str) -> None:
    """A kernel that writes something else does not stop a node."""
    root = machine(tmp_path, "0::/\n", V2.format(root="/"), {"sys/fs/cgroup/cpu.max": text, "sys/fs/cgroup/memory.max": text})

    assert cgroup_limits(root) == Limits()


def test_what_is_offered_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores by affinity and quota, memory less a tenth, each with its sentence."""
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(probe, "_memory_bytes", lambda: 64_000_000_000)
    root = machine(tmp_path, "0::/\n", V2.format(root="/"), {
        "sys/fs/cgroup/cpu.max": "250000 100000", "sys/fs/cgroup/memory.max": "10000000000",
    })

    found = detect(root, {})

    assert plain(found.capacity) == {"cpu": 2.5, "memory": 9000}
    assert found.reasons == (
        "cpu: this machine has 16 cores.",
        "cpu: this process may use 8 of them (its affinity mask).",
        "cpu: its control group may use 2.5 cores' worth of time.",
        "memory: this machine has 64000 MB.",
        "memory: its control group may use 10000 MB.",
        "memory: 10% of that is left to the system.",
        "gpu: there is no NVIDIA driver.",
    )


def test_a_free_machine_offers_all_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits above what is there change nothing."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(probe, "_memory_bytes", lambda: 1_000_000_000)
    root = machine(tmp_path, "0::/\n", V2.format(root="/"), {
        "sys/fs/cgroup/cpu.max": "250000 100000", "sys/fs/cgroup/memory.max": "10000000000",
    })

    assert plain(detect(root, {}).capacity) == {"cpu": 1, "memory": 900}
    assert detect(root, {}).reasons[0] == "cpu: this machine has 1 core."


def test_this_machine_is_detected() -> None:
    """On the real one, whatever it is, there is a core and some memory."""
    offered = plain(detect().capacity)

    assert offered["cpu"] > 0 and offered["memory"] > 10


def test_memory_is_asked_elsewhere_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sysconf the answer is about the same."""
    import psutil  # its own import asks the system, too

    exact = probe._memory_bytes()

    def silent(_: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.sysconf", silent)

    assert probe._memory_bytes() == pytest.approx(exact, rel=0.05)
    assert psutil.virtual_memory().total == probe._memory_bytes()


class Driver:
    """NVIDIA's library, as far as it is asked."""

    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self, gpus: int, broken: str = "", names: tuple[str, ...] = ("NVIDIA H100",), memory: int | None = 80_000_000_000) -> None:
        self.gpus, self.broken, self.names, self.memory = gpus, broken, names, memory

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.NVMLError(self.broken)

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return self.names[handle % len(self.names)].encode()

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if self.memory is None:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=self.memory)


@pytest.fixture
def with_driver(tmp_path: Path) -> Path:
    """A machine where the kernel part of the driver is loaded."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    return tmp_path


def look(root: Path, monkeypatch: pytest.MonkeyPatch, driver: Driver | None, **environment: str) -> Detected:
    """What is found with this driver."""
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: SimpleNamespace() if driver is not None else None)
    return detect(root, environment)


def gpus(root: Path, monkeypatch: pytest.MonkeyPatch, driver: Driver | None, **environment: str) -> tuple[float, list[str]]:
    """How many GPUs are offered, and why."""
    found = look(root, monkeypatch, driver, **environment)
    return plain(found.capacity).get("gpu", 0), [each for each in found.reasons if each.startswith("gpu")]


def test_gpus_are_counted(with_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the driver has, or those that CUDA is allowed to see."""
    assert gpus(with_driver, monkeypatch, Driver(2)) == (2, [
        "gpu: this machine has 2 NVIDIA GPUs (NVIDIA H100).", "gpu: gpu:h100 is 2 GPUs of 80000 MB.",
    ])
    assert gpus(with_driver, monkeypatch, Driver(2), CUDA_VISIBLE_DEVICES="1") == (1, [
        "gpu: this machine has 2 NVIDIA GPUs (NVIDIA H100).", "gpu: CUDA_VISIBLE_DEVICES='1' leaves 1.",
        "gpu: gpu:h100 is 1 GPU of 80000 MB.",
    ])
    assert gpus(with_driver, monkeypatch, Driver(1), CUDA_VISIBLE_DEVICES="")[0] == 0


def test_kinds_and_memory_are_offered(with_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind by its short name, all memory together, and each GPU as CUDA calls it."""
    driver = Driver(3, names=("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB", "Tesla T4"), memory=16_000_000_000)
    found = look(with_driver, monkeypatch, driver, CUDA_VISIBLE_DEVICES="2,1,0")

    offered = {name: amount for name, amount in plain(found.capacity).items() if name.startswith("gpu")}
    assert offered == {"gpu": 3, "gpu:a100": 2, "gpu:t4": 1, "gpu_memory": 48_000}
    assert [(gpu.kind, gpu.device) for gpu in found.gpus] == [("t4", "2"), ("a100", "1"), ("a100", "0")]


def test_memory_that_the_driver_does_not_tell_is_not_offered(with_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on GPUs that share the machine's."""
    found = look(with_driver, monkeypatch, Driver(1, memory=None))

    assert "gpu_memory" not in plain(found.capacity)
    assert found.reasons[-1] == "gpu: gpu:h100 is 1 GPU, of whose memory the driver says nothing."


def test_slices_of_gpus_are_left_alone(with_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what somebody set up: counted, of no kind, and passed on by their names."""
    found = look(with_driver, monkeypatch, Driver(1), CUDA_VISIBLE_DEVICES="MIG-a,MIG-b")

    assert [(gpu.kind, gpu.memory, gpu.device) for gpu in found.gpus] == [("", 0, "MIG-a"), ("", 0, "MIG-b")]
    assert any("slices of GPUs (MIG) count as one each" in reason for reason in found.reasons)


@pytest.mark.parametrize(("name", "kind"), [
    ("NVIDIA A100-SXM4-40GB", "a100"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H100 PCIe", "h100"), ("Tesla V100-SXM2-16GB", "v100"),
    ("NVIDIA GeForce RTX 4090", "rtx4090"), ("NVIDIA GeForce GTX 1080 Ti", "gtx1080ti"), ("NVIDIA L40S", "l40s"), ("Tesla T4", "t4"),
    ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada"), ("NVIDIA GH200 480GB", "gh200"), ("NVIDIA H200 NVL", "h200"),
    ("Quadro RTX 8000", "rtx8000"),
])
def test_kinds_of_gpus_have_short_names(name: str, kind: str) -> None:
    """The model alone: who made it, its memory and how it is plugged in are left out."""
    assert kind_of(name) == kind


def test_threads_of_one_core_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SMT, what the system calls processors are threads of fewer cores; each is offered, and it is said."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    root = machine(tmp_path, "", "", {
        f"sys/devices/system/cpu/cpu{each}/topology/{name}": f"{number}\n"
        for each in range(4) for name, number in (("core_id", each // 2), ("physical_package_id", 0))
    })

    assert physical_cores(root) == 2
    found = detect(root, {})
    assert plain(found.capacity)["cpu"] == 4
    assert found.reasons[0] == "cpu: this machine has 2 cores that run 4 threads at once (SMT); each thread counts."


def test_gpus_that_can_not_be_asked_are_explained(with_driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that fails, and one with nobody to ask it: none are offered and the way out is said."""
    count, why = gpus(with_driver, monkeypatch, Driver(2, "Driver/library version mismatch"))
    assert (count, why) == (0, ["gpu: the NVIDIA driver does not answer (Driver/library version mismatch); say --gpus."])
    count, why = gpus(with_driver, monkeypatch, None)
    assert count == 0 and "nvidia-ml-py is not installed" in why[0] and "say --gpus" in why[0]


@pytest.mark.parametrize(("choice", "count"), [
    (None, 3), ("", 0), ("-1", 0), ("0", 1), ("0,2", 2), ("2, 0", 2), ("0,0", 1), ("0,7,1", 1), ("none", 0),
    ("GPU-aa1", 1), ("GPU-aa", 0), ("GPU-b", 1), ("GPU-x,0", 0), ("MIG-1,MIG-2", 2), ("GPU-b,2", 1),
])
def test_cuda_visible_devices(choice: str | None, count: int) -> None:
    """As CUDA reads it: numbers or unique beginnings of ids, each once, up to the first that is not there."""
    assert len(visible_gpus(choice, ["GPU-aa1", "GPU-aa2", "GPU-b"])) == count
