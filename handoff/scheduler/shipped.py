"""The allocators that come with Handoff, by the names that command lines and plans know them by."""

from __future__ import annotations

SHIPPED = {                          # where each is; only the one that is used is imported
    "greedy": "handoff.scheduler.greedy:Greedy", "first-fit": "handoff.scheduler.first_fit:FirstFit",
    "round-robin": "handoff.scheduler.round_robin:RoundRobin", "heft": "handoff.scheduler.heft:Heft",
}
