"""A client in a process that may open no more files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from witness import cluster_with

import handoff

SCRIPT = """
import asyncio, os, resource, sys
import handoff
from handoff import aio, errors

def fill(left):
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 9, 4096))
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        for _ in range(left):
            os.close(taken.pop())
    return taken

def free(taken):
    for each in taken:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))

async def attach():
    client = await aio.connect()
    await client.close()

async def main():
    for left in range(9):
        taken = fill(left)
        for how in ("handoff", "aio"):
            try:
                if how == "aio":
                    await attach()
                else:
                    handoff.connect().close()
            except errors.ConnectionLost as error:
                print("said" if "can't open one more file" in str(error) and "ulimit -n" in str(error) else error)
            except Exception as error:
                print(type(error).__name__, error)
        free(taken)
    with handoff.connect() as client:
        print(client.submit(abs, -1).result(20))

with handoff.connect():    # all is loaded that it takes
    pass
asyncio.run(main())
"""


@pytest.fixture
def cluster() -> Iterator[handoff.LocalCluster]:
    """With a node that runs what one client calls in the end."""
    with cluster_with(1, cpus=1) as made:
        yield made


def test_a_client_that_can_open_no_more_files_is_told_so(cluster: handoff.LocalCluster) -> None:
    """However few are missing, with and without `await`; and where some are closed, it connects."""
    environment = {**os.environ, "HANDOFF_COORDINATOR": cluster.address, "HANDOFF_SECRET": cluster.secret.text}
    environment.pop("HANDOFF_SECRET_FILE", None)
    ended = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=100, check=False)
    *said, last = ended.stdout.splitlines()
    assert last == "1", ended
    assert said and set(said) == {"said"}, ended.stdout
