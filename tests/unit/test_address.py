"""Where a node is depends on who asks."""

from __future__ import annotations

import pytest

from handoff.address import is_loopback, is_same_machine, seen_from_here


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("127.0.1.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("0.0.0.0", False), ("::", False),
    ("fe80::1%eth0", False), ("alpha.example", False), ("", False),
])
def test_loopback_is_known_by_its_address(host: str, loopback: bool) -> None:
    """Names are not looked up."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(("told", "coordinator", "seen"), [
    ("127.0.0.1", "alpha", "alpha"), ("127.0.0.1", "10.0.0.1", "10.0.0.1"), ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("::1", "localhost", "::1"), ("10.0.0.2", "10.0.0.1", "10.0.0.2"), ("10.0.0.2", "127.0.0.1", "10.0.0.2"),
])
def test_who_came_over_loopback_is_beside_the_coordinator(told: str, coordinator: str, seen: str) -> None:
    """The port stays; everybody else is where the coordinator says."""
    assert seen_from_here((told, 7), coordinator) == (seen, 7)


@pytest.mark.parametrize(("one", "other", "same"), [
    ("10.0.0.1", "10.0.0.1", True), ("10.0.0.1", "::ffff:10.0.0.1", True), ("127.0.0.1", "::1", True), ("fe80::1%eth0", "fe80::1", True),
    ("10.0.0.1", "10.0.0.2", False), ("127.0.0.1", "10.0.0.1", False), ("", "", False), ("", "10.0.0.1", False),
])
def test_who_is_on_the_same_machine_for_sure(one: str, other: str, same: bool) -> None:
    """Loopback is the coordinator's machine; an address that is not known is nobody's."""
    assert is_same_machine(one, other) is is_same_machine(other, one) is same
