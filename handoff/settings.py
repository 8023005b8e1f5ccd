"""Every setting, once: type, default and what it is for. Brains get only their own section."""

from __future__ import annotations

from dataclasses import dataclass, field

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """What the coordinator's brain goes by."""

    suspect_seconds: float = 3.0       # silent this long: no new work for that node
    lost_seconds: float = 10.0         # silent or disconnected this long: its tasks run elsewhere
    client_grace_seconds: float = 5.0  # a client whose connection broke may come back this long, then its runs are cancelled
    drain_seconds: float = 30.0        # a node that a client drains is waited for this long, then its tasks run elsewhere
    node_timeout_seconds: float = 30.0 # how long a run waits for a pinned node that is not there, or is cut off
    round_trip_seconds: float = 0.002  # assumed there-and-back of a message; the horizon is a multiple of it
    horizon_round_trips: float = 20.0  # work planned ahead per core, when durations are known and steady
    bandwidth_bytes_per_second: float = 500e6  # assumed between nodes until measured
    relay_bytes: int = 0               # larger values that many nodes take go from node to node; 0: what takes more than four round trips
    crash_limit: int = 3               # a task that killed this many workers is failed
    retry_seconds: float = 0.05        # pause before the second attempt; doubles each time, at most retry_seconds_max
    retry_seconds_max: float = 5.0
    zero_cost_per_cpu: int = 4         # tasks that cost nothing, at once, per core of a node; of coroutines a hundred times as many
    tasks_max: int = 4_000_000         # tasks in unfinished runs; more are refused
    progress_seconds: float = 0.1      # at most one Progress per run and this long
    remember_seconds: float = 10.0     # what was learned is written to the state directory this often, where something was


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node's brain goes by."""

    heartbeat_seconds: float = 1.0     # more often where the coordinator would suspect such a node: a third of its suspect_seconds
    batch_seconds: float = 0.003       # predicted work given to one worker in one message
    batch_max: int = 256               # tasks in one message to a worker
    # Ends of short tasks are reported, and outputs sent to the client, this late at most, as long as more of their run is planned here.
    report_seconds: float = 0.01
    stall_seconds: float = 0.05        # a worker that says nothing for so long hands back what it has not begun
    inline_bytes: int = 64 * KIB       # larger values live in shared memory
    push_bytes: int = 1 * MIB          # larger outputs are announced to the client and fetched when asked for
    workers_max_per_cpu: int = 10      # processes at most, for each core and GPU, when tasks cost less than one: a tenth is common
    async_tasks_max: int = 1000        # coroutines side by side on a node's asyncio worker
    bypass_max: int = 64               # tasks that may overtake one that does not fit yet, before it is waited for
    peer_retry_seconds: float = 0.2    # pause before asking a peer again whose link broke
    peer_lost_seconds: float = 10.0    # a peer unreachable this long is reported to the coordinator
    orphan_seconds: float = 60.0       # keep working this long without a coordinator
    load_seconds: float = 60.0         # code and inputs of a task with a timeout may take this long to load, before its own time runs
    kill_grace_seconds: float = 1.0    # a cancelled coroutine gets this long before its worker is killed


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a client's brain goes by."""

    coordinator_lost_seconds: float = 10.0  # without the coordinator this long: every run of this client fails
    node_retry_seconds: float = 0.2    # pause before asking a node again whose link broke
    node_lost_seconds: float = 30.0    # a node that holds results is out of the client's reach this long: the run fails


@dataclass(frozen=True, slots=True)
class WireSettings:
    """Caps and clocks of connections. Lengths are checked before anything is allocated."""

    hello_bytes_max: int = 4 * KIB     # header of the first frame, before the peer is known
    header_bytes_max: int = 64 * MIB   # header of any later frame: a graph of about two million tasks
    body_bytes_max: int = 64 * MIB     # raw bytes beside one header; larger values are cut into chunks
    chunk_bytes: int = 1 * MIB         # one piece of a large value
    bulk_bytes: int = 64 * KIB         # values from this size on go from node to node over a connection of their own
    bulk_piece_bytes: int = 512 * KIB  # encrypted at once there; each end has two pieces in memory
    unencrypted_values: bool = False   # these go in the clear, unprotected against whoever is on the network, where both nodes allow it
    write_high_bytes: int = 4 * MIB    # a sender waits while more than this is unwritten
    write_low_bytes: int = 1 * MIB
    unacknowledged_bytes_max: int = 256 * MIB  # kept to resend after a reconnect; more ends the session
    acknowledge_bytes: int = 256 * KIB # received this much without sending anything: acknowledge now
    handshake_seconds: float = 5.0
    half_open_max: int = 128           # connections that have not yet said who they are
    reconnect_seconds: float = 0.1     # first pause before dialling again; doubles up to reconnect_seconds_max
    reconnect_seconds_max: float = 2.0


# With nothing of these nothing works, or a daemon is busy doing nothing: they are above zero.
ABOVE_ZERO = frozenset({
    "scheduler.suspect_seconds", "scheduler.lost_seconds", "scheduler.bandwidth_bytes_per_second", "scheduler.zero_cost_per_cpu",
    "scheduler.tasks_max", "scheduler.remember_seconds",
    "node.heartbeat_seconds", "node.batch_max", "node.async_tasks_max", "node.peer_retry_seconds", "node.load_seconds",
    "client.node_retry_seconds",
    "wire.hello_bytes_max", "wire.header_bytes_max", "wire.body_bytes_max", "wire.chunk_bytes", "wire.bulk_piece_bytes",
    "wire.write_high_bytes", "wire.unacknowledged_bytes_max", "wire.handshake_seconds", "wire.half_open_max", "wire.reconnect_seconds",
    "wire.reconnect_seconds_max",
})

# The first is at most the second.
IN_ORDER = (
    ("scheduler.suspect_seconds", "scheduler.lost_seconds"),
    ("wire.write_low_bytes", "wire.write_high_bytes"),
    ("wire.chunk_bytes", "wire.body_bytes_max"),        # what is larger is cut into chunks, each of which is a body
    ("node.inline_bytes", "wire.body_bytes_max"),       # what is not, is part of one
    ("wire.acknowledge_bytes", "wire.unacknowledged_bytes_max"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them."""

    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    node: NodeSettings = field(default_factory=NodeSettings)
    client: ClientSettings = field(default_factory=ClientSettings)
    wire: WireSettings = field(default_factory=WireSettings)
