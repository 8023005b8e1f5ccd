"""The vocabulary: everything one part says to another. Who has read this knows what the system can say.

What is said about tasks is said about many at once, as columns: arrays of machine integers, the same length, one entry a task.
Code and values travel as raw bytes in `body`, never parsed by coordinator or node daemon.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, TypeAlias, Union

from handoff.columns import Blobs, Body, Floats, Ints, Longs, floats, ints
from handoff.greetings import Alive, Bye, Coming, DeclineBulk, Hello, OfferBulk, Refused, StopBulk, Welcome
from handoff.ids import NO_RUN, NOBODY, PeerId, RunId
from handoff.program import Kind, Program
from handoff.record import record

# ── client -> coordinator ───────────────────────────────────────────────────


WEIGHT_MIN, WEIGHT_MAX = 1e-6, 1e6    # of a run; beyond, shares could not be told apart


@record
class Submit:
    """Run this. Answered by Accepted or Refused under the same token."""

    token: int
    name: str
    program: Program
    max_concurrency: int = 0      # at most this many tasks at once; 0: as many as fit
    timeout: float = 0.0          # seconds the whole run may take; 0: no limit
    detach: bool = False          # goes on when the client leaves
    wait_for_nodes: bool = False  # wait for a node that can, instead of refusing a cost that nobody meets
    ids: bytes = b""              # pickled function ids and names of hidden tasks, for who attaches later; opaque here
    weight: float = 1.0           # its share of the cluster beside other runs of the same priority
    follow: Ints = field(default_factory=ints)      # a plan to follow, per task: index into follow_names, or NOBODY; empty: none
    follow_names: tuple[str, ...] = ()              # names of nodes
    follow_ranks: Floats = field(default_factory=floats)  # per task: the higher the sooner
    values_only: bool = False     # its client waits for values alone: what is said of the run itself may come with later messages
    body: Body = b""              # code, in the order of program.codes


@record
class Cancel:
    """End this run now."""

    run: RunId
    reason: str = ""


@record
class Forget:
    """I am done with this run: its results may go."""

    run: RunId
    others: Ints = field(default_factory=ints)      # and with these


@record
class Missing:
    """These outputs did not reach me and their node is gone: make them again."""

    run: RunId
    tasks: Ints


@record
class Ask:
    """A question about the state of things.

    topic is "nodes", "runs", "run", "timeline", "graph", "attach", "explain", "corrections" or "outlook".
    """

    token: int
    topic: str
    run: RunId = NO_RUN
    task: int = 0xFFFFFFFF        # for "explain"
    codes: tuple[tuple[bytes, ...], ...] = ()   # for "outlook": of each kind, what is called
    names: tuple[str, ...] = ()   # for "outlook": of each kind, its name


@record
class Drain:
    """This node is to take no new work and to leave when nothing needs it any more; also from a node, about itself (name empty)."""

    name: str = ""
    token: int = 0                # answered by Answer or Refused, unless 0
    seconds: float = 0.0          # at most so long; 0: as long as the coordinator's settings say


# ── coordinator -> client ───────────────────────────────────────────────────


@record
class Accepted:
    """The run exists; nothing is lost from here on. Also from a node, before the first values of a run that may not wait for the word."""

    token: int
    run: RunId


@record
class Answer:
    """What was asked, as plain data (dicts with string keys, lists, numbers, strings)."""

    token: int
    data: Any


@record
class Peers:
    """Nodes that may be talked to: to clients and nodes, before the first message that needs them, all known or new ones."""

    peers: Ints
    names: tuple[str, ...]
    addresses: tuple[tuple[str, int], ...]


@record
class Placed:
    """These nodes (new ones since the last time) work for the run: collect your outputs there."""

    run: RunId
    nodes: Ints


@record
class Upload:
    """Put the values of these object tasks on these nodes."""

    run: RunId
    tasks: Ints
    nodes: Ints


@record
class Progress:
    """How far a run is."""

    run: RunId
    done: int
    running: int                  # planned on nodes
    total: int
    waits_for: str = ""           # why nothing moves, when nothing does


@record
class NodeGone:
    """A node is lost; ask for what you still miss from it with Missing."""

    run: RunId
    node: PeerId


@record
class RunDone:
    """Every task is done. `nodes`: per task, where it ran (a peer id)."""

    run: RunId
    nodes: Ints
    bytes_moved: int = 0          # from node to node, for this run
    token: int = 0                # of a single call: that it was accepted under this token, and placed on `nodes`, is said with this, too


@record
class RunFailed:
    """The run is over without a result: one function is exhausted, or something it needs is not there."""

    run: RunId
    code: str                     # error class: FunctionFailed, NodeLost, RunCancelled, RunTimeout, NodeTimeout, AllocationError ...
    text: str                     # for people
    task: int = 0xFFFFFFFF
    node: str = ""
    attempt: int = 0
    type: str = ""                # the user's exception: qualified type name
    traceback: str = ""
    body: Body = b""              # the pickled exception, if it survives pickling


@record
class Output:
    """What user code printed or logged: worker -> node -> coordinator -> client."""

    run: RunId
    tasks: Ints
    streams: tuple[str, ...]      # "stdout" | "stderr" | "log"
    texts: tuple[str, ...]        # one line each
    node: str = ""                # set by the coordinator


# ── coordinator -> node ─────────────────────────────────────────────────────


PRIORITY_WEIGHT = 1e6     # an urgency is the task's priority times this, and its rank (seconds to the end of the run) ...
RANK_MAX = 999_999.0      # ... of so many at most, so that a priority stands above every rank


def foremost(urgency: float) -> float:
    """The highest urgency of the same priority: what is above that is of a higher one."""
    return urgency // PRIORITY_WEIGHT * PRIORITY_WEIGHT + RANK_MAX


@record
class Plan:
    """Do these, in this order of urgency, as their inputs arrive and their costs fit."""

    run: RunId
    tasks: Ints
    attempts: Ints                # from 1; reports on other attempts change nothing
    kind: Ints                    # index into this run's kinds
    literals: Blobs
    fan_in: Ints
    inputs: Ints
    sources: Ints                 # per input: the node that has or will have it (maybe this one)
    urgencies: Floats             # the higher the sooner, comparable between plans and runs
    targets: Ints = field(default_factory=ints)  # pairs (task, node): where the consumer of a serializer will run
    new_kinds: tuple[tuple[int, Kind], ...] = ()  # kinds that this node has not seen in this run
    codes: tuple[tuple[bytes, int], ...] = ()     # code that this node has not seen: digest and size; bytes in body
    collector: PeerId = NOBODY    # the run's client: if a link with it stands, it need not say Collect
    choices: Ints = field(default_factory=ints)   # pairs (task, alternative): tasks that are to claim Kind.alternatives[alternative]
    token: int = 0                # under which the collector submitted it, if it is to hear Accepted from the node; else 0
    relays: Ints = field(default_factory=ints)    # pairs (input, node): inputs to be asked for there, where they are or will be fetched
    unbegun: Ints = field(default_factory=ints)   # pairs (task, count): so many of its attempts never began; user code counts the others
    at_most: int = 0              # from now on, so many of the run's tasks at once on this node; 0: as many as fit
    body: Body = b""


@record
class Recall:
    """Give back those of these tasks that have not started."""

    run: RunId
    tasks: Ints
    attempts: Ints


@record
class Abandon:
    """These attempts are of no use any more: end them if they run, give them back if they do not; nothing is reported of them."""

    run: RunId
    tasks: Ints
    attempts: Ints


@record
class Redirect:
    """These results come from these nodes instead: ask there. (To a client: outputs of lost nodes, of which these have copies.)"""

    run: RunId
    tasks: Ints
    nodes: Ints


@record
class Release:
    """Nobody needs these results any more."""

    run: RunId
    tasks: Ints


@record
class EndRun:
    """The run is over: kill what runs of it, forget all of it."""

    run: RunId


@record
class DropCode:
    """Forget this code; it will be sent again if it is needed again."""

    digests: tuple[bytes, ...]


# ── node -> coordinator ─────────────────────────────────────────────────────


@record
class Report:
    """These are done and their results are kept here. At most one per run and turn of the loop."""

    run: RunId
    tasks: Ints
    attempts: Ints
    nbytes: Longs                 # size of each result
    seconds: Floats               # how long each ran
    ages: Floats                  # how long before this report each ended
    fetched_bytes: int = 0        # taken from other nodes since the last report
    workers: Ints = field(default_factory=ints)     # which of the node's workers ran it, from 1; 0: none (a value that was uploaded)
    waited: Floats = field(default_factory=floats)  # seconds from when its inputs were here to its start


@record
class Failed:
    """One attempt failed. `cause`: "exception", "timeout", "crash", "unpicklable" (result), "unloadable" (code or arguments)."""

    run: RunId
    task: int
    attempt: int
    cause: str
    type: str = ""
    text: str = ""
    traceback: str = ""
    seconds: float = 0.0
    body: Body = b""


@record
class Recalled:
    """These were given back; they did not start."""

    run: RunId
    tasks: Ints
    attempts: Ints


@record
class Unreachable:
    """These inputs can't be had from that node: I could not talk to it for as long as the settings allow, or it says it has none."""

    run: RunId
    node: PeerId
    tasks: Ints
    is_absent: bool = False      # the latter; or it is I, who have them no more


# ── node <-> node, client <-> node ──────────────────────────────────────────


@record
class Want:
    """Send me these results as soon as they exist. Asking twice is harmless."""

    run: RunId
    tasks: Ints


@record
class Collect:
    """Client to node: send me every output of this run that you have or come to have."""

    run: RunId


@record
class Results:
    """Here they are, back to back in the body. Client to node: the values of uploaded objects."""

    run: RunId
    tasks: Ints
    sizes: Longs
    body: Body = b""


@record
class Announce:
    """These outputs exist here but are large: ask with Want when you need them."""

    run: RunId
    tasks: Ints
    sizes: Longs


@record
class Chunk:
    """A piece of one large value, in order of offset; the value is there when offset + len(body) == total."""

    run: RunId
    task: int
    offset: int
    total: int
    body: Body = b""


@record
class Absent:
    """I do not have these results and shall not get them."""

    run: RunId
    tasks: Ints


PROTOCOL = 1
Message: TypeAlias = Union[
    Hello, Welcome, Refused, Bye, Alive,
    Submit, Cancel, Forget, Missing, Ask,
    Accepted, Answer, Peers, Placed, Upload, Progress, NodeGone, RunDone, RunFailed, Output,
    Plan, Recall, Redirect, Release, EndRun, DropCode,
    Report, Failed, Recalled, Unreachable, Want, Collect, Results, Announce, Chunk, Absent,
    Drain, Abandon, OfferBulk, DeclineBulk, StopBulk, Coming,
]  # the order is the wire's tag: add at the end, never reorder within a protocol
