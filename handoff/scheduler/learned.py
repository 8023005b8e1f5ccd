"""All that was learned, as plain rows: what a coordinator keeps when it ends, and begins with when it starts again."""

from __future__ import annotations

from typing import Any

from handoff.scheduler.ledger import Ledger

Rows = dict[str, list[tuple[Any, ...]]]   # by table: "functions", "nodes", "links"

COLUMNS: dict[str, tuple[str, ...]] = {   # the first ones, as many as KEYS says, name the thing
    "functions": (
        "codes", "name", "count", "warm", "colds", "graded", "seconds", "spread", "nbytes", "cold", "first", "level", "sizes",
    ),
    "nodes": ("name", "hardware", "speed", "runs"),
    "links": ("source", "target", "nbytes", "seconds"),
}
KEYS = {"functions": 1, "nodes": 1, "links": 2}


def remembered(ledger: Ledger, most: int) -> Rows:
    """What changed since the last time; of functions so many at most, the rest comes next time."""
    rows = {"functions": ledger.estimates.remembered(most), "nodes": ledger.speeds.remembered(), "links": ledger.links.remembered()}
    return {table: several for table, several in rows.items() if several}


def recall(ledger: Ledger, rows: Rows) -> None:
    """Begin with these."""
    ledger.estimates.recall(rows.get("functions", ()))
    ledger.speeds.recall(rows.get("nodes", ()))
    ledger.links.recall(rows.get("links", ()))
