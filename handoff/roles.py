"""Who may say what to whom. Roles contain mistakes, not malice: whoever has the secret can take any role."""

from __future__ import annotations

from handoff.messages import (
    Abandon,
    Absent,
    Accepted,
    Alive,
    Announce,
    Answer,
    Ask,
    Bye,
    Cancel,
    Chunk,
    Collect,
    Coming,
    DeclineBulk,
    Drain,
    DropCode,
    EndRun,
    Failed,
    Forget,
    Missing,
    NodeGone,
    OfferBulk,
    Output,
    Peers,
    Placed,
    Plan,
    Progress,
    Recall,
    Recalled,
    Redirect,
    Refused,
    Release,
    Report,
    Results,
    RunDone,
    RunFailed,
    StopBulk,
    Submit,
    Unreachable,
    Upload,
    Want,
)

# (role of the speaker, role of the listener): what may be said. Anything else closes the connection.
ALLOWED: dict[tuple[str, str], tuple[type, ...]] = {
    ("client", "coordinator"): (Submit, Cancel, Forget, Missing, Ask, Drain, Alive, Bye),
    ("coordinator", "client"): (
        Accepted, Refused, Answer, Peers, Placed, Upload, Progress, NodeGone, Redirect, RunDone, RunFailed, Output,
        Alive, Bye,
    ),
    ("coordinator", "node"): (Plan, Recall, Abandon, Redirect, Release, EndRun, DropCode, Peers, Refused, Alive, Bye),
    ("node", "coordinator"): (Report, Failed, Recalled, Unreachable, Coming, Output, Drain, Alive, Bye),
    ("node", "node"): (Want, Results, Chunk, Absent, OfferBulk, DeclineBulk, StopBulk, Coming, Bye),
    ("client", "node"): (Collect, Want, Results, Chunk, Bye),
    ("node", "client"): (Accepted, Results, Announce, Chunk, Absent, Refused, Bye),
}

# Nobody waits for these: each write wakes the other side, which costs more than the message itself, so they leave with the next one.
LAZY: frozenset[type] = frozenset((Accepted, Forget, EndRun, Release, DropCode))

# These leave a round of the loop later: what is said in the same turn to others, who wait for it, is on its way before they are encrypted.
AFTER: frozenset[type] = frozenset((Report,))
