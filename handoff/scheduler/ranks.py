"""How urgent tasks are beside others of their run: by the longest way from them to its end, as HEFT ranks them (Topcuoglu et al., 2002)."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from handoff.scheduler.estimates import Estimates

if TYPE_CHECKING:
    from handoff.scheduler.runs import Run


def work_out_ranks(run: Run, estimates: Estimates, transfer_per_byte: float) -> None:
    """Walk the graph from its end: a task's rank is its own seconds plus the longest rank behind it."""
    seconds = [estimates.seconds(shape.function) for shape in run.shapes]
    run.rank_seconds = seconds
    if run.following is not None:
        return
    if not run.linked:
        if run.told:    # the longest first, or it would begin last
            run.rank = array("d", [said if said >= 0.0 else seconds[of] for said, of in zip(run.told, run.kind, strict=True)])
        return
    moving = [estimates.nbytes(shape.function) * transfer_per_byte for shape in run.shapes]
    # As often as there are edges: no call, and nothing about a task that is not the same for each edge. What is moved is the task's own
    # result, to whomever it goes, so the longest rank behind it tells.
    behind = [-1.0] * run.total     # of those that take it; -1: nobody does
    kind, starts, inputs, told, told_bytes = run.kind, run.starts, run.inputs, run.told, run.told_bytes
    end = len(inputs)
    for task in range(run.total - 1, -1, -1):
        of = kind[task]
        rank = behind[task]
        if rank < 0.0:
            rank = 0.0
        elif told_bytes and told_bytes[task] >= 0.0:
            rank += told_bytes[task] * transfer_per_byte
        else:
            rank += moving[of]
        rank += told[task] if told and told[task] >= 0.0 else seconds[of]
        behind[task] = rank
        start = starts[task]
        if start != end:
            for each in inputs[start:end]:
                before = behind[each]
                behind[each] = rank if rank > before else before
            end = start
    run.rank = array("d", behind)
