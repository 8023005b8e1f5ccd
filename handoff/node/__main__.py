"""`handoff-node`, or `python -m handoff.node`: options of a node's daemon.

Plain argparse, since an embedded cluster starts this for every program that uses one, and every import would be waited for.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from handoff.address import DEFAULT, parse_address
from handoff.errors import ConfigError
from handoff.files import open_streams
from handoff.ids import NODE_NAME_MAX, is_node_name
from handoff.node.daemon import DRAIN_SECONDS, Daemon
from handoff.node.gpus import Gpu, gpus_of
from handoff.node.probe import Detected, detect, gpu_amounts
from handoff.node.tracker import ResourceTracker, offer_of
from handoff.quoting import quoted
from handoff.resources import CLUSTER, GPU, GPU_KIND, GPU_MEMORY, SCALE, Amounts, describe, offered, shown
from handoff.service import USAGE, Parser, named_in_module, parser, serve, setting, step_aside

EXAMPLE = """examples:
  handoff-node --coordinator alpha:7070                     offers what this machine has (see: handoff node detect)
  handoff-node --coordinator alpha:7070 --cpus 8 --memory "16 GiB" --resource license=2 --label zone=north
"""


def command_line(prog: str) -> Parser:
    """The options there are."""
    made = parser(prog, "Start a node: it offers this machine's resources to a coordinator and runs functions.", EXAMPLE)
    made.add_argument("--coordinator", metavar="HOST:PORT", help=f"where the coordinator is (default: HANDOFF_COORDINATOR, or {DEFAULT})")
    made.add_argument("--name", default=socket.gethostname(), help="this node's name, one of its kind (default: the host's name)")
    made.add_argument("--cpus", metavar="N", help="cores to offer; fractions allowed (default: detected)")
    made.add_argument("--memory", metavar="MB", help='memory to offer, in MB or as "8 GiB" (default: detected)')
    made.add_argument("--gpus", metavar="N", help="GPUs to offer (default: detected)")
    made.add_argument(
        "--resource", metavar="NAME=AMOUNT", type=setting, action="append", default=[],
        help="anything else that can be counted, such as license=2, or kinds of GPUs, such as gpu:a100=2; repeatable",
    )
    made.add_argument("--label", metavar="KEY=VALUE", type=setting, action="append", default=[], help="a note on this node; repeatable")
    made.add_argument("--tracker", metavar="MODULE:CLASS", help="a ResourceTracker of one's own, which decides what may start")
    made.add_argument("--host", default="", help="address to listen on for other nodes (default: all; loopback beside a local coordinator)")
    made.add_argument("--port", type=int, default=0, help="port to listen on for other nodes (default: any)")
    made.add_argument(
        "--unencrypted-values", action="store_true",
        help="large values travel unencrypted to and from nodes that say this, too: faster, and whoever is on the network can read them"
             " and put code of his own in their place, which then runs here. For networks where nobody else is",
    )
    made.add_argument(
        "--drain-seconds", metavar="S", type=float, default=DRAIN_SECONDS,
        help="after SIGTERM: get no new work, end what runs, leave when nobody needs it, at the latest after S seconds; 0: at once"
             f" (default: {DRAIN_SECONDS:g})",
    )
    return made


def capacity(said: argparse.Namespace) -> tuple[Amounts, tuple[Gpu, ...]]:
    """What this node offers, and its GPUs one by one: what is said, and what is detected where nothing is."""
    asked: dict[str, str] = {}
    for name, amount in (("cpu", said.cpus), ("memory", said.memory), ("gpu", said.gpus), *said.resource):
        if amount is not None:
            if name in asked:
                raise ConfigError(f"--resource {name}={amount}: the amount of {name} is said twice")
            asked[name] = amount
    offer: dict[str, int] = {}
    for name, amount in asked.items():
        try:
            offer.update(offered({name: _number(amount)}))
        except ValueError as error:
            raise ConfigError(f"{_option(name)}{amount}: {error}") from None
    found = Detected((), ()) if {"cpu", "memory", "gpu"} <= asked.keys() else detect()
    for name, steps in found.capacity:
        if name in ("cpu", "memory") and name not in asked:
            offer[name] = steps
    for name, amount in asked.items():
        if name.startswith(CLUSTER):
            raise ConfigError(f"--resource {name}={amount}: what the whole cluster shares is said to its coordinator, "
                              f"with handoff coordinator --resource {name.removeprefix(CLUSTER)}={amount}")
    gpus = _gpus(offer, asked, found.gpus)
    return tuple(sorted(offer.items())), gpus


def _gpus(offer: dict[str, int], asked: Mapping[str, str], detected: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """The GPUs that are offered; what follows from them is added to the offer. Those that are there, unless another number is said."""
    kinds = {name: steps for name, steps in offer.items() if name.startswith(GPU_KIND)}
    for name, steps in ((GPU, offer.get(GPU, 0)), *kinds.items()):
        if steps % SCALE:
            raise ConfigError(f"can't offer {name}={shown(steps)}: a node has whole GPUs, of which functions may ask for parts")
    if not kinds and detected and (GPU not in asked or offer.get(GPU, 0) <= len(detected) * SCALE):
        some = detected if GPU not in asked else detected[: offer.get(GPU, 0) // SCALE]
        if GPU_MEMORY in asked:
            some = tuple(replace(gpu, memory=offer.get(GPU_MEMORY, 0) // len(some)) for gpu in some)
        offer.update((name, steps) for name, steps in gpu_amounts(some) if name not in asked)
        return some
    together = sum(kinds.values())
    if GPU in asked and together > offer.get(GPU, 0):
        raise ConfigError(f"can't offer {describe(tuple(sorted(kinds.items())))} of {GPU}={shown(offer.get(GPU, 0))}: "
                          "every GPU of a kind is one of them")
    if GPU not in asked:
        offer.update({GPU: together} if together else {})
    devices = dict(enumerate(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))   # those that this node may use, if that is said
    made = gpus_of(tuple(sorted(offer.items())))
    return tuple(replace(gpu, device=devices.get(index, "").strip() or gpu.device) for index, gpu in enumerate(made))


def _option(name: str) -> str:
    """How the amount of this is said."""
    return {"cpu": "--cpus ", "memory": "--memory ", "gpu": "--gpus "}.get(name, f"--resource {name}=")


def labels_of(said: argparse.Namespace) -> dict[str, str]:
    """What is noted on this node."""
    labels: dict[str, str] = {}
    for key, value in said.label:
        if key in labels:
            raise ConfigError(f"--label {key}={value}: the value of {key} is said twice, before as {labels[key]!r}")
        labels[key] = value
    return labels


def made_tracker(text: str, capacity: Amounts) -> tuple[ResourceTracker, Amounts]:
    """The user's own, and what it offers; ConfigError says what is wrong with it."""
    try:
        tracker: ResourceTracker = named_in_module(text)(capacity)
        for name in ("fits", "take", "give_back"):
            if not callable(getattr(tracker, name, None)):
                raise TypeError(f"it has no method {name}")
        return tracker, offer_of(tracker, capacity)
    except Exception as error:   # whatever a user's module does when it is imported
        raise ConfigError(f"--tracker {text!r} is not MODULE:CLASS of a resource tracker: {error!r}") from error


def _number(text: str) -> float | str:
    """A number where it is one; else the text, which may be a size or is refused by its reader."""
    try:
        return float(text)
    except ValueError:
        return text


def main(arguments: Sequence[str] | None = None, prog: str = "handoff-node") -> int:
    """Run a node until it is stopped; the exit status."""
    open_streams()
    step_aside()
    made = command_line(prog)
    said = made.parse_args(arguments)
    if not is_node_name(said.name):
        made.error(f"--name {quoted(said.name)}: a name has 1 to {NODE_NAME_MAX} printable characters")
    if not 0 <= said.port <= 65535:
        made.error(f"--port {said.port} is not between 0 and 65535")
    if not 0 <= said.drain_seconds < float("inf"):
        made.error(f"--drain-seconds {said.drain_seconds:g}: write a number of seconds, 0 or more")
    try:
        where = "--coordinator" if said.coordinator else "HANDOFF_COORDINATOR"
        coordinator = parse_address(said.coordinator or os.environ.get("HANDOFF_COORDINATOR") or DEFAULT, where)
        offers, gpus = capacity(said)
        labels = labels_of(said)
        tracker = None
        if said.tracker is not None:
            tracker, offers = made_tracker(said.tracker, offers)
    except ConfigError as error:
        made.exit(USAGE, f"{prog}: {error}\n")
    if said.unencrypted_values:
        said.settings.append(("wire.unencrypted_values", "true"))
    return serve(
        said, lambda settings, secret: Daemon(
            settings, secret, coordinator, said.name, offers, labels, said.host, said.port, gpus=gpus, tracker=tracker,
            drain_seconds=said.drain_seconds)
    )


if __name__ == "__main__":
    sys.exit(main(prog="python -m handoff.node"))
