"""Lines that user code printed somewhere, shown here: "[function @ node] text"."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from handoff.log import log
from handoff.messages import Output

if TYPE_CHECKING:
    from handoff.client.state import RunState


def show(state: RunState, output: Output) -> None:
    """Write the lines to this process's streams, or give them to the callable that the user named; never raises."""
    taker = state.output
    if taker is False:
        return
    try:
        if callable(taker):
            for task, stream, text in zip(output.tasks, output.streams, output.texts, strict=True):
                taker(state.name_of(task), output.node, stream, text)
            return
        for stream in ("stdout", "stderr"):
            lines = [
                f"[{state.name_of(task)} @ {output.node}] {text}\n"
                for task, where, text in zip(output.tasks, output.streams, output.texts, strict=True)
                if (where == "stdout") is (stream == "stdout")
            ]
            target = getattr(sys, stream)
            if lines and target is not None:
                target.write("".join(lines))
                target.flush()
    except BaseException as error:  # a closed stream or a user's callable, `sys.exit` in it included, must not end the connection
        log.warning("output.lost", error=repr(error))
