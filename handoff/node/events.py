"""What happens on a node, and what its brain asks for, beyond the common words of `handoff.machine`."""

from __future__ import annotations

from handoff.columns import Body
from handoff.ids import PeerId, RunId, WorkerId
from handoff.program import Kind
from handoff.record import record
from handoff.resources import Amounts

# ── events ──────────────────────────────────────────────────────────────────


@record
class Welcomed:
    """The coordinator let us in as `me`; all that came before is void (a resumed session is `Resumed(COORDINATOR)` instead)."""

    me: PeerId
    heartbeat_seconds: float = 0.0   # at most, or it takes us for silent; 0: as we like


@record
class WorkerReady:
    """A worker process that was asked for with Spawn is warm and waits for work; also said of one that we may have taken for deaf."""

    worker: WorkerId


@record
class WorkerLoaded:
    """It has loaded all that it needs: it did not end as it started."""

    worker: WorkerId


@record
class WorkerDeaf:
    """It was given something and begins nothing of it, so it is handed back: what was left there blocks its event loop, or the process is
    stopped. WorkerReady says when it hears us again.
    """

    worker: WorkerId


@record
class WorkerGone:
    """A worker process ended. `running`: the tasks that were executing in it at that moment, known for certain."""

    worker: WorkerId
    reason: str                               # "killed by SIGSEGV", "exited with status 3", "killed: timeout"
    running: tuple[tuple[RunId, int], ...]
    is_garbled: bool = False                  # some of what it said made no sense: it may have finished more than is known
    wrote: str | None = None                  # what it wrote, if it ended as it started, before it looked at what it has; else None
    memory: str = ""                          # what is to be said of this node's memory, where that may be why


@record
class Started:
    """A timed task is in its call: its code and inputs are loaded, and its time runs. Said of coroutines as they begin; of others when
    we Look, since they run one after the other: then it is what executes now.
    """

    worker: WorkerId
    run: RunId
    task: int
    when: float | None                        # on the node's monotonic clock; None: its code and inputs are still being loaded


@record
class Finished:
    """These tasks ended well in this worker, in this order; their values are in the store."""

    worker: WorkerId
    run: RunId
    tasks: tuple[int, ...]
    attempts: tuple[int, ...]
    nbytes: tuple[int, ...]
    seconds: tuple[float, ...]
    ended: tuple[float, ...]                  # on the node's monotonic clock


@record
class Broke:
    """One task failed in this worker, which is fine and goes on with its next one. Fields as in messages.Failed.

    Two more causes: "cancelled" answers CancelTask; "skipped" means that an input from the same batch broke: the brain, which has heard
    of that, has taken the task back already.
    """

    worker: WorkerId
    run: RunId
    task: int
    attempt: int
    cause: str
    type: str
    text: str
    traceback: str
    seconds: float
    body: Body = b""


@record
class Packing:
    """The result of this task, of so many bytes, is being written by this worker."""

    worker: WorkerId
    run: RunId
    task: int
    attempt: int
    nbytes: int


@record
class HandedBack:
    """This worker has not begun these, and will not: what it was given before counts for nothing, as far as they go."""

    worker: WorkerId
    run: RunId
    tasks: tuple[int, ...]


@record
class Arrived:
    """Values from a peer (or uploaded by a client) are complete in the store."""

    peer: PeerId
    run: RunId
    tasks: tuple[int, ...]
    nbytes: tuple[int, ...]


# ── effects ─────────────────────────────────────────────────────────────────


@record
class Spawn:
    """Start a worker process under this id; answered by WorkerReady or WorkerGone."""

    worker: WorkerId


@record
class Kill:
    """End this worker process now (SIGKILL); answered by WorkerGone with this reason."""

    worker: WorkerId
    reason: str


@record
class Look:
    """Say what this worker executes, and since when: answered by Started, or not at all when it executes nothing."""

    worker: WorkerId


@record
class Execute:
    """Give these tasks of one run to a worker, to do one after the other; or side by side, which coroutines can do.

    All inputs are in the store, or made by an earlier task of the same batch. Columns of equal length.
    """

    worker: WorkerId
    run: RunId
    tasks: tuple[int, ...]
    attempts: tuple[int, ...]
    kinds: tuple[Kind, ...]
    literals: tuple[bytes, ...]
    inputs: tuple[tuple[int, ...], ...]
    sources: tuple[tuple[PeerId, ...], ...]   # where each input was made; () where nobody will ask (kind.form is not TREE)
    targets: tuple[PeerId, ...]               # for serializers: where the consumer runs; else NOBODY
    cost: Amounts = ()                        # what they were granted, the same for all: of alternatives, the chosen one
    gpus: tuple[int, ...] = ()                # which GPUs go with that, by their index on this node
    tries: tuple[int, ...] = ()               # the attempts as user code is told of them; () where they are the same
    costs: tuple[Amounts, ...] = ()           # what each was granted, where that is not the same for all; () else
    urgent: tuple[int, ...] = ()              # indices of those whose results somebody waits for who is not of this batch
    is_at_once: bool = False                  # they run side by side


@record
class CancelTask:
    """Cancel those of these coroutines that run in this worker; each answers by Broke or, if it won't end, not at all."""

    worker: WorkerId
    run: RunId
    tasks: tuple[int, ...]


@record
class HandBack:
    """Take from this worker all that it was given so far and has not begun; answered by HandedBack, once for each such task."""

    worker: WorkerId


@record
class Deliver:
    """Send these small values to the peer, as one Results message (the shell puts the bytes in)."""

    peer: PeerId
    run: RunId
    tasks: tuple[int, ...]


@record
class Stream:
    """Send these large values to the peer, one after the other, with back-pressure."""

    peer: PeerId
    run: RunId
    tasks: tuple[int, ...]


@record
class Drop:
    """Free these values."""

    run: RunId
    tasks: tuple[int, ...]


@record
class DropRun:
    """Free every value of this run, and end what is being sent or received of it."""

    run: RunId
