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
    best = [0.0] * run.total
    kind, starts, inputs, told, told_bytes = run.kind, run.starts, run.inputs, run.told, run.told_bytes
    end = len(inputs)
    for task in range(run.total - 1, -1, -1):
        of = kind[task]
        rank = best[task] + (told[task] if told and told[task] >= 0.0 else seconds[of])
        best[task] = rank
        start = starts[task]
        if start != end:
            for each in inputs[start:end]:     # as often as there are edges: no call
                moved = told_bytes[each] * transfer_per_byte if told_bytes and told_bytes[each] >= 0.0 else moving[kind[each]]
                behind, before = rank + moved, best[each]
                best[each] = behind if behind > before else before
            end = start
    run.rank = array("d", best)
