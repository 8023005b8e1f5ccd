"""The client's links to nodes, when their coordinator was started again and gives new numbers."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

from witness import PATIENCE_SECONDS

from handoff.client.links import NodeLinks
from handoff.ids import PeerId, RunId
from handoff.messages import PROTOCOL, Collect, Hello
from handoff.settings import WireSettings
from handoff.trust import secret
from handoff.trust.certificates import Identity

NODE = PeerId(4)


async def test_a_node_of_former_numbers_is_not_dialled_to_the_end(tmp_path: Path) -> None:
    """It would be taken for the one that has its number now, and be told what was to be said to the former one."""
    loop, said = asyncio.get_running_loop(), list[Any]()
    hello = Hello(protocol=PROTOCOL, version="0", python="3", role="client", name="c", boot=b"")
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        slow.setblocking(False)
        identity = Identity(secret.create_file(tmp_path / "secret"), "client", "c")
        peers = {NODE: ("n", slow.getsockname())}
        links = NodeLinks(identity, WireSettings(handshake_seconds=3 * PATIENCE_SECONDS), lambda: hello, peers, said.append, "127.0.0.1")
        links.send(NODE, Collect(RunId(1)))
        connection, _ = await loop.sock_accept(slow)
        links.forget_all()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await loop.sock_recv(connection, 65_536):
                pass
        connection.close()
        assert said == []
        links.send(NODE, Collect(RunId(1)))     # by the new number: dialled anew
        connection, _ = await loop.sock_accept(slow)
        connection.close()
        await links.close()
