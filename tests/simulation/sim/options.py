"""What kind of world a seed is: its size, its settings, and which faults may strike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from handoff.resources import SCALE, Amounts
from handoff.scheduler.first_fit import FirstFit
from handoff.settings import NodeSettings, Settings
from sim.workload import Offer

PROFILES: dict[str, tuple[str, ...]] = {
    "calm": (),
    "trouble": ("mishaps",),
    "resets": ("resets",),
    "cuts": ("cuts", "resets"),
    "pauses": ("pauses",),
    "kills": ("kills", "mishaps"),
    "vanish": ("vanish", "joins"),
    "joins": ("joins", "mishaps"),
    "clients": ("client_kills", "resets"),
    "late": ("kills", "vanish", "mishaps", "late"),
    "apart": ("apart", "relays", "mishaps"),
    "stragglers": ("stragglers", "joins", "resets"),
    "failing-stragglers": ("stragglers", "mishaps", "resets"),
    "lost-stragglers": ("stragglers", "kills", "apart", "drains"),
    "drains": ("drains", "joins", "mishaps", "resets"),
    "hasty-drains": ("drains", "hasty", "relays", "kills", "pauses", "resets"),
    "broadcasts": ("broadcasts", "joins", "mishaps", "resets"),
    "lost-broadcasts": ("broadcasts", "kills", "vanish", "apart", "drains", "mishaps"),
    "halts": ("halts", "pauses", "kills", "resets"),
    "restarts": ("restarts", "mishaps", "resets"),
    "lost-restarts": ("restarts", "halts", "drains", "kills", "cuts", "client_kills", "joins"),
    "heirs": ("heirs", "client_kills", "resets", "mishaps"),
    "heirs-of-losses": ("heirs", "client_kills", "kills", "vanish", "drains", "restarts"),
    "everything": ("mishaps", "resets", "cuts", "pauses", "kills", "vanish", "joins", "client_kills"),
    "limits": ("limits", "joins", "mishaps", "resets"),
    "lost-limits": ("limits", "kills", "vanish", "apart", "drains", "mishaps", "pauses"),
    "workers": ("worker_kills", "worker_stops", "mishaps"),
    "barren": ("barren", "worker_kills", "mishaps", "joins"),
    "flaps": ("flaps", "relays", "mishaps"),
    "users": ("cancels", "questions", "leaves", "resets", "mishaps"),
    "slow": ("slow", "stragglers", "worker_stops"),
    "wishes": ("wishes", "full", "joins", "worker_kills"),
    "storm": (),
}
# In a storm some of these strike, whichever: faults that nobody thought of together.
STORM = (
    "mishaps", "resets", "flaps", "cuts", "apart", "pauses", "halts", "kills", "vanish", "joins", "drains", "hasty", "late", "restarts",
    "client_kills", "heirs", "leaves", "cancels", "questions", "worker_kills", "worker_stops", "barren", "slow",
    "relays", "stragglers", "broadcasts", "limits", "wishes", "full",
)
LIVES = 1000                # numbers of runs and peers in each life of the coordinator: the real ones begin anew, here they tell them apart
FIRST_RUN = 700_000_001     # so high that nothing else has such a number
RUNS_AT_ONCE = 100_000      # there are fewer
HARMLESS = {"mishaps", "resets", "joins", "late", "relays", "stragglers", "broadcasts", "limits", "wishes",
            "worker_kills", "worker_stops", "flaps", "slow", "cancels", "questions"}  # no node is ever lost by these


def default_allocator() -> Any:
    """The scheduler's own."""
    return None


@dataclass(frozen=True, slots=True)
class Options:
    """One world."""

    seed: int
    profile: str
    faults: tuple[str, ...]
    offers: tuple[Offer, ...]
    joiners: tuple[Offer, ...]
    clients: int
    jobs: int
    tasks_max: int
    fault_seconds: float          # faults strike before this moment
    delay_seconds: float
    link_seconds: float           # how much longer values may take between nodes, and from nodes to clients
    news_seconds: float           # how much longer what nodes and coordinator say to each other may take
    slow_host: str                # where some executions take far too long
    encoded: bool                 # through the codec
    spawn_trouble: float
    settings: Settings
    first_run: int = FIRST_RUN
    is_slow_to_load: bool = False    # workers are ready some time before they have loaded all that they need
    checks: bool = True           # the brains' own invariants, after each turn
    events_max: int = 150_000
    allocator: Callable[[], Any] = default_allocator

    @property
    def has_losses(self) -> bool:
        """Whether something may be lost at all."""
        return not set(self.faults) <= HARMLESS


def draw_options(seed: int, profile: str | None = None) -> Options:
    """The world of a seed."""
    lots = Random(f"{seed}/options")
    names = list(PROFILES)
    profile = profile or names[seed % len(names)]
    faults = PROFILES[profile]
    if profile == "storm":
        storm = Random(f"{seed}/storm")
        faults = tuple(sorted(storm.sample(STORM, storm.randint(3, 8))))
    offers = tuple(_offer(lots, f"node-{number}", number) for number in range(1, lots.choice((1, 2, 3, 3, 4, 5)) + 1))
    joiners = tuple(_offer(lots, f"late-{number}", 0) for number in range(lots.randint(1, 2))) if "joins" in faults else ()
    node = NodeSettings(inline_bytes=lots.choice((64, 400)), push_bytes=lots.choice((200, 800)), batch_max=lots.choice((3, 256)))
    if {"relays", "stragglers", "broadcasts", "limits"} & set(faults):
        while len(offers) < (5 if "broadcasts" in faults else 3):
            offers += (_offer(lots, f"node-{len(offers) + 1}", 1),)
    if "relays" in faults:
        node = replace(node, peer_lost_seconds=lots.choice((0.5, 6.0)))
    limit = Random(f"{seed}/drains").choice((0.5, 5.0)) if "hasty" in faults else 30.0
    scheduler = replace(Settings().scheduler, drain_seconds=limit)
    if "broadcasts" in faults:   # every value is a large one, on links on which some are, and on others on which none seems to be
        scheduler = replace(scheduler, relay_bytes=500, bandwidth_bytes_per_second=Random(f"{seed}/links").choice((2e5, 500e6)))
        node = replace(node, peer_lost_seconds=Random(f"{seed}/patience").choice((2.0, 10.0)))
    settings = replace(Settings(), node=node, scheduler=scheduler)
    return Options(
        seed=seed,
        profile=profile,
        faults=faults,
        offers=offers,
        joiners=joiners,
        clients=lots.choice((1, 1, 2)),
        jobs=lots.choice((1, 1, 2, 3)) + (4 if "restarts" in faults else 0),   # some for each of its lives
        tasks_max=lots.choice((8, 20, 40)) if "stragglers" not in faults else 60,
        fault_seconds=lots.choice((2.0, 10.0, 30.0)),
        delay_seconds=lots.choice((0.0001, 0.0005, 0.01)),
        link_seconds=lots.choice((0.0, 0.0, 0.01, 0.3)) + (0.3 if "broadcasts" in faults else 0.0),
        news_seconds=Random(f"{seed}/news").choice((0.05, 0.5)) if "late" in faults else 0.0,
        slow_host="node-1" if "stragglers" in faults else "",
        encoded=lots.random() < 0.2,
        spawn_trouble=lots.choice((0.0, 0.0, 0.1)),
        settings=settings,
        is_slow_to_load=bool({"worker_kills", "worker_stops", "barren"} & set(faults)),
        allocator=FirstFit if lots.random() < 0.15 else default_allocator,
    )


def _offer(lots: Random, name: str, number: int) -> Offer:
    capacity: dict[str, int] = {"cpu": lots.choice((1, 2, 4)) * SCALE, "memory": lots.choice((500, 2000)) * SCALE}
    if lots.random() < 0.3:
        capacity["gpu"] = lots.choice((1, 2)) * SCALE
    amounts: Amounts = tuple(sorted(capacity.items()))
    return Offer(name, amounts, stays=number > 0)
