"""Two sets of figures beside each other: what they were, what they are, and whether the difference is more than chance."""

from __future__ import annotations

from typing import Any

from figures import HIGHER_IS_BETTER
from rich.table import Table

ALONE = 0.10    # figures that were measured once have no spread: what differs by less is the same
Row = dict[str, Any]


def verdict(old: Row, new: Row) -> str:
    """"worse" or "better" where each median lies beyond all that was measured on the other side; else ""."""
    if old["smallest"] <= new["median"] <= old["largest"] or new["smallest"] <= old["median"] <= new["largest"]:
        return ""
    if min(old["repetitions"], new["repetitions"]) == 1 and abs(new["median"] - old["median"]) <= ALONE * abs(old["median"]):
        return ""
    is_higher = new["median"] > old["median"]
    return "better" if is_higher == (new["unit"] in HIGHER_IS_BETTER) else "worse"


def compared(old: list[Row], new: list[Row]) -> Table:
    """Figures by name; those that only one side has are left out."""
    table = Table("measure", "old", "new", "new / old", "unit", "beyond the spread")
    before = {row["name"]: row for row in old}
    for row in new:
        other = before.get(row["name"])
        if other is None or other["unit"] != row["unit"]:
            continue
        ratio = f"{row['median'] / other['median']:.2f}" if other["median"] else ""
        word = verdict(other, row)
        shown = f"[bold red]{word}[/]" if word == "worse" else word
        table.add_row(row["name"], f"{other['median']:,.4g}", f"{row['median']:,.4g}", ratio, row["unit"], shown)
    return table


def worse(old: list[Row], new: list[Row]) -> list[str]:
    """The names of what got worse."""
    before = {row["name"]: row for row in old}
    return [row["name"] for row in new
            if row["name"] in before and before[row["name"]]["unit"] == row["unit"] and verdict(before[row["name"]], row) == "worse"]
