"""An all-to-all shuffle: every maker has a piece for every taker, half of which are on the other node."""

from __future__ import annotations

import time

import raw
from cluster import NODES, warm_client
from figures import Effort, Figure

import handoff
from handoff import DAG, Function

PIECE_BYTES = 100_000


def piece(number: int) -> bytes:
    """What one maker has for one taker."""
    return bytes([number % 256]) * PIECE_BYTES


def take(*pieces: bytes) -> int:
    """Everything for one taker is here."""
    return sum(map(len, pieces))


def exchange(parties: int) -> DAG:
    """So many makers, in turn on the two nodes, and as many takers."""
    dag = DAG()
    for maker in range(parties):
        for taker in range(parties):
            dag.add(Function((maker, taker), code=piece, extra_args=[maker], node=NODES[maker % 2]))
    for taker in range(parties):
        dag.add(Function(taker, [(maker, taker) for maker in range(parties)], code=take, node=NODES[taker % 2]))
    return dag


def seconds_of_shuffle(client: handoff.Client, parties: int) -> tuple[float, int]:
    """Wall time, building the graph and making the pieces included, and the bytes that went from node to node."""
    begin = time.perf_counter()
    run = client.start(exchange(parties), returns=range(parties))
    result = run.result()
    seconds = time.perf_counter() - begin
    if any(result.results[taker] != parties * PIECE_BYTES for taker in range(parties)):
        raise AssertionError("the shuffle lost a piece")
    return seconds, run.bytes_moved


def shuffle(effort: Effort) -> list[Figure]:
    """Rates of a 32 x 32 shuffle of 100 kB pieces over that of a raw socket, measured just before."""
    parties = effort.of(32, 32, 4)
    total = parties * parties * PIECE_BYTES
    handed, moved, raws = [], [], []
    with warm_client() as client:
        for _ in range(effort.repeat):
            raws.append(raw.gigabytes_per_second(total))
            seconds, nbytes = seconds_of_shuffle(client, parties)
            handed.append(total / seconds / 1e9)
            moved.append(nbytes / seconds / 1e9)
    name = f"{parties} x {parties} shuffle of 100 kB pieces"
    return [
        Figure(f"{name}, all pieces", "GB/s", handed),
        Figure(f"{name}, all pieces / raw socket", "ratio", [ours / theirs for ours, theirs in zip(handed, raws, strict=True)], ">= 0.5"),
        Figure(f"{name}, from node to node / raw socket", "ratio", [ours / theirs for ours, theirs in zip(moved, raws, strict=True)]),
    ]
