"""A run as one page that needs nothing from outside: timeline per worker, graph, report, table. The data travel in it as compact JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import pairwise
from os import PathLike
from typing import Any

from handoff.client.story.causes import Leg
from handoff.client.story.records import Done, Story, Undone
from handoff.client.story.report import RunReport, report_of
from handoff.client.story.tables import brief, clean
from handoff.client.story.trace import row_name
from handoff.files import write_file
from handoff.graph.draw import colours, svg
from handoff.graph.picture import Arrow, Box, Picture


def page_of(story: Story) -> str:
    """The page as HTML."""
    report = report_of(story)
    page = files("handoff.client.story").joinpath("page.html").read_text(encoding="utf-8")
    title = f"Run {story.run} of {story.name}"
    # Each is put in at once and not searched again, so that nothing in a user's names can stand for a part of the page.
    parts = {"TITLE": escape(clean(title)), "REPORT": report._repr_html_(), "GRAPH": svg(picture_of_story(story, report.critical_path)),
             "DATA": _script_safe(json.dumps(data_of(story, report), separators=(",", ":")))}
    return "".join(parts.get(piece, piece) for piece in page.split("@@"))


def write_page(story: Story, path: str | PathLike[str]) -> None:
    """The page as a file."""
    write_file(path, "page", page_of(story))


def picture_of_story(story: Story, path: Sequence[Leg], by_node: bool = False) -> Picture:
    """The graph of what ran, the critical path marked; colours stand for functions, or for nodes. Of a run that came to nothing also what
    was not done."""
    on_path = [leg.task for leg in path]
    marked = set(on_path)
    steps = set(pairwise(on_path))
    place = {number: position for position, number in enumerate(story.tasks)}
    boxes = [
        Box(done.name, done.node if by_node else done.function, "hidden" if done.is_hidden else "regular",
            f"{brief(done.seconds)} s · {done.node}",
            f"{done.name}: {done.function}\n{done.node}, {row_name(done.place)}\nfrom {done.started:.3f} s for {done.seconds:.3f} s\n"
            f"{done.nbytes:,} bytes", done.task in marked)
        for done in story.tasks.values()
    ]
    undone = story.ending.undone if story.ending is not None else ()
    place.update((each.task, position) for position, each in enumerate(undone, len(boxes)))
    boxes += [_not_done(story, each) for each in undone]
    takers: list[Done | Undone] = [*story.tasks.values(), *undone]
    arrows = [Arrow(place[source], place[each.task], (source, each.task) in steps)
              for each in takers for source in dict.fromkeys(each.inputs) if source in place]
    return Picture(story.name, boxes, arrows)


def _not_done(story: Story, undone: Undone) -> Box:
    """How far it came: of short ones that had their inputs only their node knows whether they had begun."""
    said = {"failed": "failed", "running": "still ran at the end"}.get(undone.how, "never begun")
    if undone.how == "placed" and all(each in story.tasks for each in undone.inputs):
        said = "with a node, not done"
    elif said == "never begun" and undone.task in story.vain_of:
        said = "came to nothing"
    kind = undone.how if undone.how == "failed" else "cut" if said != "never begun" else "hidden" if undone.is_hidden else "undone"
    why = f"\n{story.ending.why}" if kind == "failed" and story.ending is not None else ""
    return Box(undone.name, undone.function, kind, said, f"{undone.name}: {undone.function}\n{said}{why}")


def data_of(story: Story, report: RunReport) -> dict[str, Any]:
    """What the script of the page draws: columns over the tasks, in the order of their starts, then attempts in vain."""
    tasks = [*story.tasks.values(), *story.cut]
    place = {number: index for index, number in enumerate(story.tasks)}
    by_row = sorted({done.place for done in tasks})
    rows = {each: index for index, each in enumerate(by_row)}
    functions = {name: index for index, name in enumerate(dict.fromkeys(done.function for done in tasks))}
    return {
        "seconds": round(story.until if story.ending else story.makespan, 6), "over": story.is_over, "nodes": story.nodes,
        "ended": story.ending.state if story.ending else "", "done": len(story.tasks),
        "bytes": story.bytes_moved if story.is_over else None,       # it is told when all is over
        "rows": [[each[0], row_name(each)] for each in by_row],
        "functions": list(functions), "colours": list(colours(list(functions)).values()),
        "name": [done.name for done in tasks], "function": [functions[done.function] for done in tasks],
        "row": [rows[done.place] for done in tasks],
        "started": [round(done.started, 6) for done in tasks], "took": [round(done.seconds, 6) for done in tasks],
        "waited": [round(done.waited, 6) for done in tasks], "attempt": [done.attempt for done in tasks],
        "nbytes": [done.nbytes for done in tasks],
        "inputs": [[place[each] for each in dict.fromkeys(done.inputs) if each in place] for done in tasks],
        "path": [place[leg.task] for leg in report.critical_path],
    }


def _script_safe(text: str) -> str:
    """JSON that can't end the script that it stands in."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
