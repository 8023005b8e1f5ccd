"""Small tables as text and as HTML, and numbers with as many digits as say something."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Row = tuple[str, ...]


def aligned(head: Row, rows: Sequence[Row]) -> list[str]:
    """Rows of text; numbers to the right."""
    rows = [tuple(_cut(cell) for cell in row) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numeric = [all(_is_number(row[at]) for row in rows[1:]) for at in range(len(head))]
    return [("  " + "  ".join(cell.rjust(width) if right else cell.ljust(width)
                              for cell, width, right in zip(row, widths, numeric, strict=True))).rstrip() for row in rows]


def html_table(head: Row, rows: Sequence[Row]) -> str:
    """The same as HTML."""
    numeric = [all(_is_number(row[at]) for row in rows) for at in range(len(head))]
    def cells(row: Row, tag: str) -> str:
        return "".join(f'<{tag} style="text-align:{"right" if right else "left"}">{escape(clean(cell))}</{tag}>'
                       for cell, right in zip(row, numeric, strict=True))

    return (f"<table><thead><tr>{cells(head, 'th')}</tr></thead>"
            f"<tbody>{''.join(f'<tr>{cells(row, chr(116) + chr(100))}</tr>' for row in rows)}</tbody></table>")


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()


def _cut(cell: str) -> str:
    text = clean(cell)
    return text if len(text) <= 48 else text[:47] + "…"


def clean(text: str) -> str:
    """Names as one line that any file can hold: people may have written whatever they like."""
    return "".join(each if each.isprintable() else " " for each in text)


def seconds(value: float) -> str:
    """As many digits as say something."""
    return f"{value:.1f}" if value >= 1000 else f"{value:.3f}"


def amount(nbytes: float) -> str:
    """Bytes as a person writes them."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5:           # more is rounded to the next unit, and not written as 1e+03
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB" if nbytes < 999.5 else f"{nbytes:,.0f} TB"


def brief(value: float) -> str:
    """Seconds within a sentence: three digits, and all of those before the point."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
