"""What happens at a client, and what its brain asks for, beyond the common words of `handoff.machine`.

A run is named by its `token` (given by this client, at once) until and after the coordinator gave it a run id.
"""

from __future__ import annotations

from typing import Any

from handoff.columns import Body, Ints, Longs
from handoff.ids import PeerId, RunId
from handoff.messages import Ask, Drain, Output, Progress, RunDone, Submit
from handoff.record import record

# ── events ──────────────────────────────────────────────────────────────────


@record
class Welcomed:
    """The coordinator let us in as `me`. Said again: it does not know us any more, and all that came before is void."""

    me: PeerId
    is_other: bool = False        # another process than the one that let us in before


@record
class Start:
    """Submit this; `submit.token` is new. With `forget`, the run is given up as soon as it is over and nothing of it lies elsewhere."""

    submit: Submit
    forget: bool = False


@record
class Attach:
    """Take over a detached run under this new token."""

    token: int
    run: RunId


@record
class Question:
    """Say this, under the token that it carries, to the coordinator; answered by `Answered`, or by `Unanswered`."""

    message: Ask | Drain
    of: int | None = None     # the token of the run of this client that it is about


@record
class CancelRun:
    """End this run now; answered by `RunOver` unless it was over already."""

    token: int
    reason: str = ""


@record
class CancelOther:
    """End a run that this client may never have seen."""

    run: RunId
    reason: str = ""


@record
class ForgetRun:
    """Nobody here asks for anything of this run any more. One that is not over goes on, and is forgotten when it is over."""

    token: int


@record
class Fetch:
    """Someone needs the value of this announced output now."""

    token: int
    task: int


# ── effects ─────────────────────────────────────────────────────────────────


@record
class RunAccepted:
    """The run exists, under this id."""

    token: int
    run: RunId


@record
class Attached:
    """A detached run is ours again; `data` is the coordinator's answer (function ids, outputs, state)."""

    token: int
    run: RunId
    data: Any


@record
class Arrived:
    """These values are here for the first time, back to back in the body, in the order in which they came."""

    token: int
    tasks: Ints
    sizes: Longs
    body: Body


@record
class Assembled:
    """All chunks of this value have come from this peer, and it was not here yet."""

    token: int
    peer: PeerId
    task: int
    nbytes: int


@record
class Available:
    """These outputs exist but are large; `Fetch` brings one here."""

    token: int
    tasks: Ints
    sizes: Longs


@record
class UploadValue:
    """Send the values of these object tasks to that node."""

    peer: PeerId
    token: int
    run: RunId
    tasks: Ints


@record
class Progressed:
    """How far a run is."""

    token: int
    progress: Progress


@record
class Printed:
    """User code printed these lines."""

    token: int
    output: Output


@record
class Failure:
    """Why a run, a question or a fetch has no result: an error class of `handoff.errors`, and what RunFailed says."""

    code: str
    text: str
    task: int = 0xFFFFFFFF
    node: str = ""
    attempt: int = 0
    type: str = ""
    traceback: str = ""
    body: Body = b""


@record
class RunOver:
    """The run ended: with `done` when every output is here or announced, else with `failure`. Said once for each run."""

    token: int
    run: RunId
    done: RunDone | None = None
    failure: Failure | None = None


@record
class Answered:
    """What was asked, as plain data."""

    token: int
    data: Any


@record
class Unanswered:
    """The question has no answer, for this reason."""

    token: int
    failure: Failure


@record
class Unfetched:
    """This value can't be had any more, for this reason."""

    token: int
    task: int
    failure: Failure
