"""A graph as one draws it: boxes and arrows. Made from a DAG or from anything else that has them; `draw` and `layout` know no more."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handoff.graph.function import Argument, Collocated, Function, Near, labels_of, name_of
from handoff.graph.references import Reference, references_in
from handoff.quoting import shown
from handoff.resources import costs, describe

if TYPE_CHECKING:
    from handoff.graph.dag import DAG


@dataclass(frozen=True, slots=True)
class Box:
    """One function of the picture, or all functions of one name."""

    label: str
    group: str = ""                # boxes of one group have one colour
    kind: str = "regular"          # "regular", "inline", "input", "hidden" (a value or a serializer), "missing" (named and not there);
                                   # of a run that came to nothing also "failed", "cut" (begun, and not done), "undone" (never begun)
    detail: str = ""               # a second, smaller line
    tip: str = ""                  # what is shown to who points at it
    is_marked: bool = False        # drawn with emphasis
    count: int = 1                 # how many functions it stands for


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a box to one that takes its result; by position in `Picture.boxes`."""

    source: int
    target: int
    is_marked: bool = False
    count: int = 1                 # how many dependencies it stands for


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes and arrows; circles are allowed, so that they can be seen."""

    name: str
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]


def picture_of(dag: DAG) -> Picture:
    """The picture of a graph, also of one that is not complete or not right: what is named and not there is drawn as missing."""
    functions = list(dag.functions.values())
    boxes = [_box(function, label) for function, label in zip(functions, labels_of(list(dag.functions)), strict=True)]
    place: dict[Hashable, int] = {function.id: position for position, function in enumerate(functions)}
    arrows: dict[tuple[int, int], None] = {}
    for target, function in enumerate(functions):
        for wanted in needs_of(function):
            key = wanted if _has_hash(wanted) else shown(wanted)
            source = place.get(key)
            if source is None:
                source = place[key] = len(boxes)
                tip = f"{shown(wanted)} is not in the graph"
                boxes.append(Box(labels_of([wanted])[0], kind="missing", detail="not in the graph", tip=tip))
            arrows[source, target] = None
    return Picture(str(dag.id), boxes, [Arrow(source, target) for source, target in arrows])


def needs_of(function: Function) -> Iterator[Any]:
    """What a function names as its dependencies, inside its other arguments, too: ids, where it is right. Fields that are no lists and
    no dict name nothing."""
    args, extra_args, extra_kwargs = function.args, function.extra_args, function.extra_kwargs
    for argument in args if isinstance(args, (list, tuple)) else ():
        wanted = argument.id if isinstance(argument, Argument) else argument
        yield wanted.id if isinstance(wanted, Reference) else wanted
    parts = [list(extra_args) if isinstance(extra_args, (list, tuple)) else [],
             list(extra_kwargs.values()) if isinstance(extra_kwargs, Mapping) else []]
    for reference in references_in(parts):
        yield reference.id


def by_function(picture: Picture) -> Picture:
    """The same with one box for all functions of a name and one arrow for all dependencies between two names."""
    place: dict[tuple[str, str], int] = {}
    members: list[list[int]] = []
    of = []
    for position, box in enumerate(picture.boxes):
        key = (box.group or box.label, box.kind)
        if key not in place:
            place[key] = len(members)
            members.append([])
        members[place[key]].append(position)
        of.append(place[key])
    boxes = []
    for (name, kind), positions in zip(place, members, strict=True):
        count = sum(picture.boxes[each].count for each in positions)
        first = picture.boxes[positions[0]]
        said = f" {first.detail}" if kind in ("failed", "undone") else " not done" if kind == "cut" else ""
        detail = f"{count:,} functions{said}" if count > 1 else first.label if first.label != name and not said else first.detail
        some = "\n".join(picture.boxes[each].label for each in positions[:12])
        tip = f"{name}\n{some}" + (f"\n… and {len(positions) - 12:,} more" if len(positions) > 12 else "")
        boxes.append(Box(name, name, kind, detail, tip, any(picture.boxes[each].is_marked for each in positions), count))
    counts: dict[tuple[int, int], int] = {}
    marked: dict[tuple[int, int], bool] = {}
    for arrow in picture.arrows:
        pair = of[arrow.source], of[arrow.target]
        if pair[0] != pair[1]:
            counts[pair] = counts.get(pair, 0) + arrow.count
            marked[pair] = marked.get(pair, False) or arrow.is_marked
    return Picture(picture.name, boxes, [Arrow(*pair, marked[pair], count) for pair, count in counts.items()])


def _box(function: Function, label: str) -> Box:
    kind = str(function.type)
    name = name_of(function.code) if function.code is not None else ""
    parts, tips = [], [f"{shown(function.id)}: {name}" if name else shown(function.id)]
    if kind != "regular":
        parts.append(kind)
        tips.append(f"type: {kind}")
    elif name and name != label:
        parts.append(name)
    if function.cost is not None:
        cost = _cost(function)
        parts.append(cost)
        tips.append(f"cost: {cost}")
    if isinstance(function.node, (Collocated, Near)):
        how = "collocated with" if isinstance(function.node, Collocated) else "near"
        tips.append(f"{how} {shown(function.node.id)}")
    elif function.node is not None:
        parts.append(f"on {function.node}")
        tips.append(f"node: {function.node}")
    for field in ("max_retries", "timeout", "priority", "expected_seconds", "expected_bytes"):
        value = getattr(function, field)
        if value:
            tips.append(f"{field}: {value}")
    return Box(label, name or label, kind, " · ".join(parts), "\n".join(tips))


def _cost(function: Function) -> str:
    try:
        return " or ".join(map(describe, costs(function.cost or {})))
    except ValueError:
        return shown(function.cost)


def _has_hash(wanted: Any) -> bool:
    """Whether it can be an id; of a tuple its type does not tell."""
    try:
        hash(wanted)
    except TypeError:
        return False
    return True
