"""What was seen of one run, and what becomes of an execution: how it ends, and how long it takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handoff.client.events import RunOver
from sim.workload import Job

if TYPE_CHECKING:
    from sim.client import Client
    from sim.node import Node
    from sim.options import Options

STRAGGLERS = 0.3     # of what executes on the slow host
SLOW_FACTOR = 10.0   # times as much longer, on a node that is slow for a while
SLOW_SECONDS_MAX = 20.0
LARGE_BYTES = 400    # what is larger needs room that a full node has not


class Bug(AssertionError):
    """Something that may never be was seen."""


def sure(condition: object, text: str) -> None:
    """Raise Bug unless this holds; not stripped by -O."""
    if not condition:
        raise Bug(text)


@dataclass(slots=True)
class Watch:
    """What was seen of one run."""

    job: Job
    client: Client
    begun: Counter[int] = field(default_factory=Counter)       # executions that began, per task
    ended_well: Counter[int] = field(default_factory=Counter)  # executions whose end was said, per task
    mishaps: Counter[int] = field(default_factory=Counter)     # how many of the task's mishaps are behind it
    failures: Counter[int] = field(default_factory=Counter)    # attempts that failed through its own fault, or together with a crash
    crashes: Counter[int] = field(default_factory=Counter)
    stopped: Counter[int] = field(default_factory=Counter)     # executions cut off through no fault of the task
    made_on: dict[int, dict[str, None]] = field(default_factory=dict)
    received: dict[int, bytes] = field(default_factory=dict)
    losses: int = 0                                            # nodes lost, results unreachable: each may repeat a task
    missing: Counter[int] = field(default_factory=Counter)     # times the client asked again for it, or for what takes it
    over: RunOver | None = None
    may_be_unknown: bool | None = None                         # once it was taken over: whether there may have been nothing to take over


def fate(options: Options, node: Node, watch: Watch, task: int) -> tuple[str, float]:
    """How the execution of a task that begins there now ends, and after how many seconds."""
    job, now = watch.job, node.clock.now
    mishaps, behind = job.mishaps.get(task, []), watch.mishaps[task]
    if task in job.doomed:    # it never ends well: news of a failure may be lost with its node, and then does not count
        behind = min(behind, len(mishaps) - 1)
    ending = mishaps[behind] if behind < len(mishaps) else "ok"
    seconds = job.seconds[task]
    if node.host == options.slow_host and node.lots.random() < STRAGGLERS:
        seconds += node.lots.uniform(*job.straggler_seconds)
        if ending == "ok" and job.kind(task).max_retries > watch.failures[task] and node.lots.random() < 0.2:
            ending = "exception"
    if now < node.full_until and ending == "ok" and len(job.values[task]) > LARGE_BYTES:
        ending = "exception"     # a MemoryError, when its result is to be kept
    if now < node.slow_until and not job.kind(task).timeout:
        seconds += min(SLOW_FACTOR * seconds, SLOW_SECONDS_MAX)
    return ending, seconds
