"""What a node offers: what is said, what is detected where nothing is said, and GPUs one by one."""

from __future__ import annotations

import pytest

from handoff.errors import ConfigError
from handoff.node import __main__ as command
from handoff.node.gpus import Gpu
from handoff.node.probe import Detected, gpu_amounts
from handoff.resources import SCALE, amounts, plain

FOUND = (Gpu("a100", 40 * SCALE, "2"), Gpu("a100", 40 * SCALE, "3"), Gpu("t4", 16 * SCALE, "5"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three GPUs."""
    found = Detected(tuple(sorted(amounts({"cpu": 8, "memory": 1000}) + gpu_amounts(FOUND))), (), FOUND)
    monkeypatch.setattr(command, "detect", lambda: found)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def offered(*arguments: str) -> tuple[dict[str, float], tuple[Gpu, ...]]:
    """What these options offer."""
    capacity, gpus = command.capacity(command.command_line("handoff-node").parse_args(arguments))
    return plain(capacity), gpus


@pytest.mark.usefixtures("machine")
def test_what_is_there_is_offered() -> None:
    """With nothing said, all of it."""
    capacity, gpus = offered()

    assert capacity == {"cpu": 8, "memory": 1000, "gpu": 3, "gpu:a100": 2, "gpu:t4": 1, "gpu_memory": 96}
    assert gpus == FOUND


def test_a_label_has_one_value() -> None:
    """Two notes of one name are refused, also when they agree: one of them is a slip of the pen."""
    said = command.command_line("handoff-node").parse_args(["--label", "zone=north", "--label", "disk=ssd"])
    assert command.labels_of(said) == {"zone": "north", "disk": "ssd"}
    said = command.command_line("handoff-node").parse_args(["--label", "zone=north", "--label", "zone=south"])
    with pytest.raises(ConfigError, match=r"^--label zone=south: the value of zone is said twice, before as 'north'$"):
        command.labels_of(said)


@pytest.mark.usefixtures("machine")
def test_fewer_gpus_are_the_first_ones() -> None:
    """With their kinds and their memory; and none are none."""
    assert offered("--gpus", "1", "--cpus", "0.5") == (
        {"cpu": 0.5, "memory": 1000, "gpu": 1, "gpu:a100": 1, "gpu_memory": 40}, FOUND[:1])
    assert offered("--gpus", "0") == ({"cpu": 8, "memory": 1000}, ())


@pytest.mark.usefixtures("machine")
def test_gpus_that_are_said_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than there are, or of other kinds: then nothing that was detected counts, but the devices that the node was given do."""
    assert offered("--cpus", "1", "--memory", "5", "--gpus", "8")[0] == {"cpu": 1, "memory": 5, "gpu": 8}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    capacity, gpus = offered("--cpus", "1", "--memory", "5", "--resource", "gpu:h100=2", "--resource", "gpu_memory=160")
    assert capacity == {"cpu": 1, "memory": 5, "gpu": 2, "gpu:h100": 2, "gpu_memory": 160}
    assert gpus == (Gpu("h100", 80 * SCALE, "4"), Gpu("h100", 80 * SCALE, "6"))


@pytest.mark.usefixtures("machine")
def test_memory_of_gpus_can_be_said_alone() -> None:
    """As a size, for all that are there together."""
    capacity, gpus = offered("--gpus", "2", "--resource", "gpu_memory=1 GB")

    assert (capacity["gpu_memory"], capacity["gpu:a100"], gpus[0].memory) == (1000, 2, 500 * SCALE)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("arguments", "text"), [
    (["--gpus", "1.5"], "can't offer gpu=1.5: a node has whole GPUs, of which functions may ask for parts"),
    (["--resource", "gpu:a100=0.5"], "can't offer gpu:a100=0.5: a node has whole GPUs, of which functions may ask for parts"),
    (["--gpus", "1", "--resource", "gpu:a100=2"], "can't offer gpu:a100=2 of gpu=1: every GPU of a kind is one of them"),
    (["--resource", "cluster:license=2"], "--resource cluster:license=2: what the whole cluster shares is said to its coordinator, "
                                          "with handoff coordinator --resource license=2"),
    (["--resource", "cpu=2", "--cpus", "1"], "--resource cpu=2: the amount of cpu is said twice"),
    (["--cpus", "0"], "--cpus 0: cpu=0.0: nothing can run on none of it; say how much there is, or leave it out"),
    (["--resource", "license=0"], "--resource license=0: license=0.0: nothing can run on none of it; "
                                  "say how much there is, or leave it out"),
    (["--cpus", "-1"], "--cpus -1: cpu=-1.0 is negative; an amount is zero or more"),
    (["--memory", "1e30"], "--memory 1e30: memory=1e+30 is absurd; at most 900,719,925,474 of anything can be counted"),
])
def test_what_no_node_can_offer_is_refused(arguments: list[str], text: str) -> None:
    """One error each."""
    with pytest.raises(ConfigError) as caught:
        offered(*arguments)
    assert str(caught.value) == text
