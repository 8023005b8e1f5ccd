"""Plans for people: as text, for notebooks, and as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import inf
from typing import TYPE_CHECKING

from handoff.client.story.page import picture_of_story
from handoff.client.story.report import path_rows
from handoff.client.story.tables import Row, aligned, amount, brief, clean, html_table, seconds
from handoff.graph.draw import mermaid, svg
from handoff.quoting import quoted
from handoff.resources import SCALE

if TYPE_CHECKING:
    from handoff.client.planning.plan import Plan, Sweep

FUNCTIONS_SHOWN = 40     # in the table; of more, the rest is only counted
UNKNOWN_SHOWN = 6
BEYOND_SHOWN = 6         # nodes that would need more memory than they have; of more, the rest is only counted

_NODES = ("node", "cpus", "functions", "busy", "of its cores", "peak memory")
_PATH = ("", "node", "running", "moving", "waiting", "waits for")
_FUNCTIONS = ("function", "node", "start", "end", "result")


def text_of(plan: Plan) -> str:
    """The whole plan."""
    parts = [headline(plan), *remarks(plan), "", "Nodes", *aligned(_NODES, node_rows(plan))]
    parts += ["", "Critical path", *aligned(_PATH, path_rows(plan.critical_path))]
    rows = function_rows(plan)
    parts += ["", "Functions", *aligned(_FUNCTIONS, rows)]
    left = len(plan.allocations) - len(rows)
    if left > 0:
        parts.append(f"  … and {left:,} more; plan.timeline has all of them")
    return "\n".join(parts)


def html_of(plan: Plan) -> str:
    """The same for notebooks, with the graph; colours stand for nodes."""
    remarked = "".join(f"<br><small>{escape(each)}</small>" for each in remarks(plan))
    return (
        f'<div class="handoff-plan"><p>{escape(headline(plan))}{remarked}</p>{html_table(_NODES, node_rows(plan))}'
        f"<h4>Critical path</h4>{html_table(_PATH, path_rows(plan.critical_path))}"
        f'<div style="overflow:auto;max-height:640px">{svg(picture_of_story(plan.story, plan.critical_path, by_node=True))}</div></div>'
    )


def mermaid_of(plan: Plan) -> str:
    """The graph, each node around what it runs."""
    picture = picture_of_story(plan.story, plan.critical_path, by_node=True)
    return mermaid(picture, [done.node for done in plan.story.tasks.values()])


def headline(plan: Plan) -> str:
    """The plan in one line."""
    count, nodes = len(plan.allocations), len(plan.basis.cluster.nodes)
    over = f", {plan.makespan / plan.lower_bound:.2f} times the lower bound" if plan.lower_bound > 0.0 else ""
    return (f"Plan of {quoted(plan.name)}: {seconds(plan.makespan)} s{over}; {count:,} function{'s' * (count != 1)} on {nodes:,} "
            f"node{'s' * (nodes != 1)}, {amount(plan.bytes_moved)} moved between nodes, placed by {plan.allocator}")


def remarks(plan: Plan) -> list[str]:
    """What to keep in mind."""
    found = list(plan.notes)
    if plan.unknown:
        some = ", ".join(plan.unknown[:UNKNOWN_SHOWN]) + (f" and {len(plan.unknown) - UNKNOWN_SHOWN} more" if
                                                          len(plan.unknown) > UNKNOWN_SHOWN else "")
        index = next(index for index, kind in enumerate(plan.basis.program.kinds) if kind.name == plan.unknown[0])
        assumed = plan.basis.functions[index]["seconds"]
        found.append(f"guessed: {clean(some)} never ran on this cluster, {brief(assumed)} s assumed; "
                     "expected_seconds of a Function says better")
    return found


def beyond_memory(plan: Plan) -> list[str]:
    """A sentence about the nodes on which claims and results take more memory than there is, the worst first; none if all have enough."""
    has = {name: capacity["memory"] for name, capacity in plan.nodes.items() if "memory" in capacity}
    over = {name: peak - has[name] for name, peak in plan.peak_memory.items() if peak > has.get(name, peak)}
    if not over:
        return []
    worst = sorted(over, key=lambda name: (-over[name], name))
    some = ", ".join(f"{name!r} by {amount(over[name] * 1e6)} (it has {amount(has[name] * 1e6)})" for name in worst[:BEYOND_SHOWN])
    more = f" and {len(worst) - BEYOND_SHOWN} more nodes" if len(worst) > BEYOND_SHOWN + 1 else " and one more node"
    return [f"more memory than there is would be taken, by running functions and results together: on {some}"
            + (more if len(worst) > BEYOND_SHOWN else "")]


def node_rows(plan: Plan) -> list[Row]:
    """Per node, by name."""
    busy: dict[str, float] = {}
    taken: dict[str, float] = {}         # of its cores: what costs none, such as a GPU alone, takes none
    count: dict[str, int] = {}
    for done in plan.story.tasks.values():
        if done.worker:
            busy[done.node] = busy.get(done.node, 0.0) + done.seconds * done.slots
            cores = dict(plan.foretold.cost_of(plan.basis, done.task)).get("cpu", 0) / SCALE
            taken[done.node] = taken.get(done.node, 0.0) + done.seconds * cores
        if not done.is_hidden:
            count[done.node] = count.get(done.node, 0) + 1
    rows: list[Row] = []
    nodes = plan.nodes
    for node in sorted(plan.basis.cluster.nodes, key=lambda each: each.name):
        cores, spent = plan.story.cores[node.name], busy.get(node.name, 0.0)
        part = f"{100 * taken.get(node.name, 0.0) / (cores * plan.makespan):.0f} %" if cores and plan.makespan else ""
        peak, has = plan.peak_memory.get(node.name, 0.0), nodes[node.name].get("memory", inf)
        over = f", of {amount(has * 1e6)}" if peak > has else ""
        rows.append((node.name, f"{cores:g}", str(count.get(node.name, 0)), seconds(spent), part, amount(peak * 1e6) + over))
    return rows


def function_rows(plan: Plan) -> list[Row]:
    """The first functions, in the order of their starts."""
    own = [done for done in plan.story.tasks.values() if not done.is_hidden]
    return [(done.name, done.node, seconds(done.started), seconds(done.ended), amount(done.nbytes)) for done in own[:FUNCTIONS_SHOWN]]


def text_of_sweep(sweep: Sweep) -> str:
    """A line for each plan."""
    return "\n".join(aligned(*_sweep_rows(sweep)))


def html_of_sweep(sweep: Sweep) -> str:
    """The same for notebooks."""
    return html_table(*_sweep_rows(sweep))


def _sweep_rows(sweep: Sweep) -> tuple[Row, Sequence[Row]]:
    rows: list[Row] = []
    before: float | None = None
    for value, plan in sweep.plans.items():
        change = f"{100 * (plan.makespan / before - 1):+.0f} %" if before else ""
        rows.append((f"{float(value):g}", seconds(plan.makespan), seconds(plan.lower_bound), amount(plan.bytes_moved), change))
        before = plan.makespan
    return (sweep.what, "makespan", "lower bound", "moved", "than the one before"), rows
