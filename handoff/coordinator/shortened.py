"""What is said in the place of a message that is larger than a message may be: nobody's long names or texts may be the end of all runs."""

from __future__ import annotations

from dataclasses import replace

from handoff.columns import ints
from handoff.messages import Answer, Message, Output, Progress, Refused, RunFailed

TEXT_MAX = 10_000    # characters; of what is longer the beginning stays


def shortened(message: Message, reason: str) -> Message | None:
    """The same in few words; None where nothing can be left out."""
    match message:
        case Answer(token):
            return Refused("ProtocolError", f"the answer is too large to be sent: {reason}", token)
        case Refused():
            return replace(message, text=_cut(message.text))
        case RunFailed():
            return replace(message, text=_cut(message.text), type=_cut(message.type), traceback=_cut(message.traceback))
        case Progress():
            return replace(message, waits_for=_cut(message.waits_for))
        case Output():
            lines = f"[{len(message.texts):,} lines left out: together they are too large to be sent]"
            return replace(message, tasks=ints(message.tasks[:1]), streams=("stderr",), texts=(lines,))
        case _:
            return None


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}... ({len(text) - TEXT_MAX:,} more characters)"
