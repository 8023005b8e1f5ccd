"""What a log says of strangers: each kind in its own words, so that nobody has to guess whether it was the secret, the clock or a scan."""

from __future__ import annotations

import ssl

import pytest

from handoff.transport.listen import _explained


@pytest.mark.parametrize(("reason", "said"), [
    ("TLSV1_ALERT_UNKNOWN_CA", "it does not accept our certificate: another secret, or a wrong clock (TLSV1_ALERT_UNKNOWN_CA)"),
    ("WRONG_VERSION_NUMBER", "TLS handshake failed: not a Handoff peer (WRONG_VERSION_NUMBER)"),
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no certificate: not a member of the cluster"),
])
def test_a_failed_handshake_is_explained(reason: str, said: str) -> None:
    """Another secret is recognised on both sides of the handshake, and is not taken for a peer of another kind."""
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason

    assert _explained(error) == said


def test_a_hang_up_is_explained() -> None:
    """Its word for why may be lost on the way: both explanations are named."""
    assert _explained(ConnectionResetError()) == (
        "hung up during the handshake: a peer with another secret, or none of Handoff (ConnectionResetError)"
    )
