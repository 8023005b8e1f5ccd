"""The first words on every connection, and those that keep it: who I am, whether I am in, that I live, what else to open, that I leave."""

from __future__ import annotations

from dataclasses import field

from handoff.columns import Floats, Ints, Longs, floats, ints, longs
from handoff.ids import NOBODY, PeerId, RunId
from handoff.record import record
from handoff.resources import Amounts


@record
class Hello:
    """Who I am. The first frame on every connection."""

    protocol: int                 # PROTOCOL
    version: str                  # Handoff's
    python: str                   # "3.11"; code is shipped as bytecode, so it must be the same everywhere
    role: str                     # "node" | "client", as in the certificate
    name: str                     # a node's name; a client's description
    boot: bytes                   # 16 random bytes of this process
    pid: int = 0
    peer: PeerId = NOBODY         # who I already am, when coming back or when talking to a node
    received: int = 0             # when coming back: the last frame that I have from you
    address: tuple[str, int] = ("", 0)  # where a node listens for peers; empty host: where I come from
    capacity: Amounts = ()
    labels: tuple[tuple[str, str], ...] = ()
    coordinator: bytes = b""      # the boot of the one that gave me my number, when talking to a node; empty: none did yet
    processes: int = 0            # how many tasks that take less than a core, or GPU, a node runs at once; 0: it does not say
    gpus: tuple[tuple[str, int], ...] = ()   # of a node, one by one: (kind, memory); empty: it does not say


@record
class Welcome:
    """You are in; nothing before this counts as connected."""

    peer: PeerId                  # who you are from now on
    resumed: bool = False         # your session goes on; otherwise forget all that came before
    received: int = 0             # the last frame that I have from you
    name: str = ""
    me: PeerId = NOBODY           # who I am, if I know it: a node that was started anew at the same address is another one
    coordinator: bytes = b""      # my boot, from a coordinator: its numbers mean nothing to who has theirs from another one
    heartbeat_seconds: float = 0.0  # a node is to give word at least this often, or it counts as silent; 0: as it likes


@record
class Refused:
    """You are not in, or what you asked (token) is not done; `code` names an error class of `handoff.errors`."""

    code: str
    text: str
    token: int = 0
    task: int = 0xFFFFFFFF        # the task in question, where there is one


DRAINED = "drained"   # the reason with which a coordinator takes leave of a node that it was told to drain
STOPS = "the coordinator was stopped"   # ... and of everybody when it is stopped itself, perhaps to be started again


@record
class Bye:
    """I leave now and do not come back."""

    reason: str = ""


@record
class Alive:
    """A heartbeat; from a node with what is free now. Carries acknowledgements when nothing else does."""

    free: Amounts = ()
    running: int = 0
    queued: int = 0
    resident_bytes: int = 0
    # What came from other nodes since the last heartbeat: per peer, bytes of large values and the seconds in which they flowed.
    sources: Ints = field(default_factory=ints)
    moved_bytes: Longs = field(default_factory=longs)
    moved_seconds: Floats = field(default_factory=floats)
    fault: str = ""               # why nothing can run there now; empty: it can


@record
class OfferBulk:
    """Large values for you come over a connection of their own: open it to me, with this. See `transport/bulk.py`."""

    ticket: bytes                 # names this offer; good once
    key: bytes = field(repr=False)
    clear: bool                   # the values may travel unencrypted, if you allow it, too
    piece_bytes: int


@record
class DeclineBulk:
    """That connection will not come: send large values over this one."""

    ticket: bytes
    reason: str


@record
class Coming:
    """The value that you want from me is being written: it has so many bytes. Have memory for it by the time it is here."""

    run: RunId
    task: int
    attempt: int
    nbytes: int


@record
class StopBulk:
    """I do not want the rest of this value, which you are sending me."""

    run: RunId
    task: int
