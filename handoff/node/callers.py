"""Who calls on a node: by whose number, since what is for a peer goes to whoever has its number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from handoff.ids import COORDINATOR, NOBODY, PeerId
from handoff.messages import Hello
from handoff.transport.link import Link


def whose_number(
    link: Link, hello: Hello, mine: Hello, addresses: Mapping[PeerId, tuple[str, int]], names: Mapping[PeerId, str], others: Iterable[Link],
) -> str:
    """Whose number it is that somebody gives as their own; empty: it may be theirs. `others` are links that came with it."""
    peer, name = hello.peer, link.name
    if peer in (COORDINATOR, NOBODY):
        return f"a number that no {hello.role} has"
    if peer == mine.peer:
        return f"and that is node {mine.name}"
    if peer in addresses and (link.role, name) != ("node", names[peer]):
        return f"and that is node {names[peer]}"
    for other in others:
        if (other.role, other.name) != (link.role, name):
            return f"and that is {other.role} {other.name}"
        if other.hello is not None and other.hello.boot != hello.boot:
            return f"and that is {other.role} {other.name}, another process or another connection of it"
    return ""
