"""Pictures as text: SVG that stands by itself, Mermaid, and Graphviz's DOT. Whatever people wrote in ids and names is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from unicodedata import east_asian_width

from handoff.graph.layout import layout
from handoff.graph.picture import Arrow, Box, Picture, by_function

BOXES_MAX = 400          # more are drawn as one box for each function name; and of these no more than this
ARROWS_MAX = 4000        # likewise: of more, nobody could follow one
PALETTE = (
    "#4269d0", "#c26a1b", "#2f8a5b", "#a04aa8", "#b3393e", "#2b8ca3", "#8a6d1d", "#6a57c9", "#57792a", "#b8437f", "#476a8f", "#8b5a3c",
)

_HEIGHT, _GAP, _ACROSS = 38, 12, 62     # of a box; between boxes of a layer; between layers
_WIDEST = 220
_LONGEST = 100                          # letters of a label or detail for other programs, which draw all that they are given
_LETTER, _SMALL = 7.4, 6.3              # widths of letters, about: a reader may have other fonts
_DASHES = {"inline": "5 3", "hidden": "2 3", "missing": "4 3", "cut": "7 3", "undone": "4 3"}
_RED, _PALE = "#d1342b", "#9aa3b2"


def colours(groups: list[str]) -> dict[str, str]:
    """A colour for each group, in the order in which they come."""
    return {group: PALETTE[index % len(PALETTE)] for index, group in enumerate(dict.fromkeys(groups))}


def readable(picture: Picture) -> tuple[Picture, str]:
    """The picture, or its summary where it has too much to be looked at; and a sentence about what was left out."""
    if len(picture.boxes) <= BOXES_MAX and len(picture.arrows) <= ARROWS_MAX:
        return picture, ""
    made, note = by_function(picture), f"{len(picture.boxes):,} functions, drawn by name"
    if len(made.boxes) > BOXES_MAX:
        note += f": the {BOXES_MAX} most frequent of {len(made.boxes):,} names"
    kept = sorted(range(len(made.boxes)), key=lambda index: (-made.boxes[index].count, index))[:BOXES_MAX]
    place = {index: position for position, index in enumerate(sorted(kept))}
    arrows = [Arrow(place[arrow.source], place[arrow.target], arrow.is_marked, arrow.count)
              for arrow in made.arrows if arrow.source in place and arrow.target in place]
    if len(arrows) > ARROWS_MAX:
        note += f"; {ARROWS_MAX:,} of {len(arrows):,} arrows"
        arrows = sorted(arrows, key=lambda arrow: (not arrow.is_marked, -arrow.count))[:ARROWS_MAX]
    return Picture(made.name, [made.boxes[index] for index in sorted(kept)], arrows), note


def svg(picture: Picture) -> str:
    """The picture as an SVG element that needs nothing from outside; large ones are summed up by function name."""
    picture, note = readable(picture)
    boxes = picture.boxes
    if not boxes:
        return _framed(picture.name, 260, 60, ['<text x="16" y="34" class="small">a graph without functions</text>'])
    found = layout(len(boxes), [(arrow.source, arrow.target) for arrow in picture.arrows], _HEIGHT + _GAP)
    widths = [0.0] * found.layers
    for box, layer in zip(boxes, found.layer, strict=True):
        widths[layer] = max(widths[layer], _width(box))
    lefts, edge = [], 16.0
    for width in widths:
        lefts.append(edge)
        edge += width + _ACROSS
    top = 34.0 if note else 12.0
    middle = [top + place for place in found.place]
    colour = colours([box.group or box.label for box in boxes])
    parts = [f'<text x="16" y="22" class="small">{_said(note)}</text>'] if note else []
    for arrow, bends in sorted(zip(picture.arrows, found.bends, strict=True), key=lambda pair: pair[0].is_marked):
        source, target = found.layer[arrow.source], found.layer[arrow.target]
        right = lefts[source] + _width(boxes[arrow.source])
        if target <= source:             # it closes a circle: back below the boxes
            parts.append(_back(right - 20, middle[arrow.source], lefts[target] + 20, middle[arrow.target]))
            continue
        points = [(right, middle[arrow.source])]
        for layer, place in bends:
            points += [(lefts[layer], top + place), (lefts[layer] + widths[layer], top + place)]
        points.append((lefts[target] - 1, middle[arrow.target]))
        parts.append(_line(points, arrow))
    for box, layer, place in zip(boxes, found.layer, middle, strict=True):
        parts.append(_drawn(box, lefts[layer], place, colour[box.group or box.label]))
    below = 44 if any(found.layer[arrow.target] <= found.layer[arrow.source] for arrow in picture.arrows) else 12
    return _framed(picture.name, edge - _ACROSS + 16, top + found.breadth + below, parts)


def _framed(name: str, width: float, height: float, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="handoff-graph" role="img" aria-label="{_said(name)}" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, sans-serif" font-size="12.5">'
        '<style>.handoff-graph .small{font-size:10.5px;fill:#667}.handoff-graph .arrow{fill:none;stroke:#9aa3b2;stroke-width:1.3}'
        '.handoff-graph .marked{stroke:#d1342b;stroke-width:2.4}.handoff-graph text{fill:#1c2333}</style>'
        '<defs><marker id="handoff-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" '
        'orient="auto"><path d="M0 .8 7.5 4 0 7.2z" fill="#7d8798"/></marker></defs>'
        f'<rect width="100%" height="100%" rx="6" fill="#fff"/>{"".join(parts)}</svg>'
    )


def _width(box: Box) -> float:
    return min(_WIDEST, max(64.0, _letters(box.label) * _LETTER + 26, _letters(box.detail) * _SMALL + 26))


def _line(points: list[tuple[float, float]], arrow: Arrow) -> str:
    """A smooth line that leaves and enters level."""
    (x, y), words = points[0], [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for further, place in points[1:]:
        half = (further - x) / 2
        words.append(f"L{further:.1f} {place:.1f}" if abs(place - y) < .05 else
                     f"C{x + half:.1f} {y:.1f} {further - half:.1f} {place:.1f} {further:.1f} {place:.1f}")
        x, y = further, place
    tip = f"<title>{arrow.count:,} dependencies</title>" if arrow.count > 1 else ""
    return f'<path class="arrow{" marked" if arrow.is_marked else ""}" d="{"".join(words)}" marker-end="url(#handoff-tip)">{tip}</path>'


def _back(x: float, y: float, to_x: float, to_y: float) -> str:
    y, to_y = y + _HEIGHT / 2, to_y + _HEIGHT / 2 + 1
    low = max(y, to_y) + 46
    line = f"M{x:.1f} {y:.1f}C{x:.1f} {low:.1f} {to_x:.1f} {low:.1f} {to_x:.1f} {to_y:.1f}"
    return (f'<path class="arrow marked" stroke-dasharray="5 3" d="{line}" marker-end="url(#handoff-tip)">'
            "<title>closes a circle</title></path>")


def _drawn(box: Box, left: float, middle: float, colour: str) -> str:
    width, top = _width(box), middle - _HEIGHT / 2
    is_red = box.is_marked or box.kind == "failed"
    edge = _RED if is_red or box.kind == "missing" else _PALE if box.kind == "undone" else colour
    fill = "#fff" if box.kind in ("hidden", "missing", "undone") else _RED if box.kind == "failed" else colour
    dashes = f' stroke-dasharray="{_DASHES[box.kind]}"' if box.kind in _DASHES else ""
    shape = (f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_HEIGHT}" rx="{19 if box.kind == "input" else 6}" '
             f'fill="{fill}" fill-opacity=".13" stroke="{edge}" stroke-width="{2.6 if is_red else 1.3}"{dashes}/>')
    bar = "" if box.kind in ("input", "hidden", "missing", "undone") else (
        f'<rect x="{left:.1f}" y="{top + 5:.1f}" width="4" height="{_HEIGHT - 10}" rx="2" fill="{colour}"/>')
    label = f'<text x="{left + 13:.1f}" y="{middle + (-2 if box.detail else 4.5):.1f}">{_said(_cut(box.label, width, _LETTER))}</text>'
    detail = (f'<text x="{left + 13:.1f}" y="{middle + 12:.1f}" class="small">{_said(_cut(box.detail, width, _SMALL))}</text>'
              if box.detail else "")
    return f"<g><title>{_said(box.tip or box.label)}</title>{shape}{bar}{label}{detail}</g>"


def _said(text: str) -> str:
    return escape(_clean(text))


def _clean(text: str) -> str:
    """Without characters that XML forbids, or that no file could hold."""
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)


def _cut(text: str, width: float, letter: float) -> str:
    most = int((width - 22) / letter)
    if _letters(text) <= most:
        return text
    kept = text[: max(1, most - 1)]
    while len(kept) > 1 and _letters(kept) >= most:
        kept = kept[:-1]
    return kept + "…"


def _letters(text: str) -> int:
    """As how many it is wide: those of East Asia, and emoji, take the room of two."""
    return len(text) if text.isascii() else len(text) + sum([east_asian_width(each) in "WF" for each in text])


# ── text for other programs ─────────────────────────────────────────────────


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


_MERMAID = {"inline": ("[/", "/]"), "input": ("([", "])"), "hidden": ("[(", ")]"), "missing": ("{{", "}}")}


def mermaid(picture: Picture, rooms: Sequence[str] = ()) -> str:
    """The picture as a Mermaid flowchart; `rooms` may say of each box what is drawn around it and others."""
    lines = ["flowchart LR"]
    for number, room in enumerate(dict.fromkeys(rooms) if rooms else ("",)):
        if rooms:
            lines.append(f'    subgraph r{number}["{_entities(room)}"]')
        for position, box in enumerate(picture.boxes):
            if not rooms or rooms[position] == room:
                begin, end = _MERMAID.get(box.kind, ("[", "]"))
                text = _entities(_short(box.label)) + (f"<br/><small>{_entities(_short(box.detail))}</small>" if box.detail else "")
                lines.append(f'    f{position}{begin}"{text}"{end}')
        if rooms:
            lines.append("    end")
    for arrow in picture.arrows:
        label = f'|"{arrow.count:,}"|' if arrow.count > 1 else ""
        lines.append(f"    f{arrow.source} {'==>' if arrow.is_marked else '-->'}{label} f{arrow.target}")
    marked = [f"f{position}" for position, box in enumerate(picture.boxes) if box.is_marked]
    missing = [f"f{position}" for position, box in enumerate(picture.boxes) if box.kind == "missing"]
    if marked or missing:
        lines.append("    classDef marked stroke:#d1342b,stroke-width:3px")
        lines.append(f"    class {','.join(marked + missing)} marked")
    return "\n".join(lines) + "\n"


def _entities(text: str) -> str:
    """Mermaid's own escapes: what is neither letter, digit nor harmless as a number, since quotes, brackets and # mean something.

    Labels are read as Markdown, too: "1. load" and "- load" would be lists, which it does not show, and __init__ would be bold. Within a
    word dots, dashes and underscores are harmless.
    """
    padded = f" {text} "
    return "".join([
        each if each.isalnum() or (each in " ,·=" and at) or (each in "_-." and before.isalnum() and after.isalnum())
        else f"#{ord(each)};" if each.isprintable() else " "
        for at, (before, each, after) in enumerate(zip(padded, text, padded[2:], strict=False))])


_DOT = {
    "inline": ' style="rounded,dashed"', "input": " shape=ellipse",
    "hidden": ' style="rounded,dotted"', "missing": ' style="rounded,dashed"',
}


def dot(picture: Picture) -> str:
    """The picture in Graphviz's language."""
    colour = colours([box.group or box.label for box in picture.boxes])
    lines = [f"digraph {_quoted(picture.name)} {{", "    rankdir=LR", '    node [shape=box style="rounded" fontname="sans-serif"]']
    for position, box in enumerate(picture.boxes):
        label = f"{_short(box.label)}\n{_short(box.detail)}" if box.detail else _short(box.label)
        edge = _RED if box.is_marked or box.kind == "missing" else colour[box.group or box.label]
        more = " penwidth=3" if box.is_marked else ""
        tip = _escaped(box.tip or box.label)
        lines.append(f'    f{position} [label={_escaped(label)} tooltip={tip} color="{edge}"{more}{_DOT.get(box.kind, "")}]')
    for arrow in picture.arrows:
        said = [f'label="{arrow.count:,}"'] if arrow.count > 1 else []
        said += ['color="#d1342b" penwidth=2'] if arrow.is_marked else []
        lines.append(f"    f{arrow.source} -> f{arrow.target}{f' [{chr(32).join(said)}]' if said else ''}")
    return "\n".join([*lines, "}"]) + "\n"


def _escaped(text: str) -> str:
    """What Graphviz shows: there &lt; would be <."""
    return _quoted(text.replace("&", "&amp;"))


def _quoted(text: str) -> str:
    return '"' + _clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
