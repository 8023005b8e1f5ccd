"""Which pairs of processes trust each other: handshakes in memory, without sockets or clocks."""

from __future__ import annotations

import itertools
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from handoff.errors import ConfigError, ProtocolError
from handoff.trust import certificates, secret
from handoff.trust.certificates import Authority, Identity, context, peer_role
from handoff.trust.secret import Secret

OURS = secret.generate()
NODE = Identity(OURS, "node", "n1")
COORDINATOR = Identity(OURS, "coordinator", "coordinator")


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, hostname: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after a handshake through memory; raises what either end raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    accepting = server.wrap_bio(to_server, to_client, server_side=True)
    dialling = client.wrap_bio(to_client, to_server, server_hostname=hostname)
    unfinished = [dialling, accepting]
    for _ in range(10):
        for end in list(unfinished):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            unfinished.remove(end)
    assert not unfinished
    return accepting, dialling


def meet(server: Identity, client: Identity) -> tuple[tuple[str, str], tuple[str, str]]:
    """Whom the server and the client see."""
    accepting, dialling = handshake(server.server_context(), client.client_context(), client.hostname)
    return server.peer_role(accepting), client.peer_role(dialling)


def test_members_of_a_cluster_see_each_other() -> None:
    """Each side reads the other's role and name from its certificate, over TLS 1.3."""
    assert meet(COORDINATOR, NODE) == (("node", "n1"), ("coordinator", "coordinator"))
    accepting, _ = handshake(COORDINATOR.server_context(), NODE.client_context(), NODE.hostname)
    assert accepting.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["a/b", "ümläut", "sp ace", "", "x" * 200, "a%2Fb", "\ud800", "handoff://x/node/y"])
def test_any_name_survives_its_certificate(name: str) -> None:
    """Names are percent-encoded, so none can pose as another role."""
    role, seen = meet(COORDINATOR, Identity(OURS, "client", name))[0]

    assert (role, seen) == ("client", name)


def test_the_authority_is_the_same_everywhere() -> None:
    """Two processes derive the same bytes from the same secret, and others from another."""
    assert Authority(OURS.keys[0]).pem == Authority(OURS.keys[0]).pem != Authority(secret.generate().keys[0]).pem
    assert COORDINATOR.hostname == f"{OURS.cluster_id}.handoff"


def test_another_secret_is_refused_by_both_sides() -> None:
    """Neither a stranger's client nor a stranger's server gets through."""
    stranger = Identity(secret.generate(), "node", "n1")
    for server, client in ((COORDINATOR, stranger), (stranger, NODE)):
        with pytest.raises(ssl.SSLError):
            handshake(server.server_context(), client.client_context(), server.hostname)


def test_no_certificate_is_refused() -> None:
    """A client that shows nothing gets nothing."""
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE

    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(COORDINATOR.server_context(), anonymous, COORDINATOR.hostname)


def test_older_protocols_are_refused() -> None:
    """TLS 1.2 is not spoken."""
    old = context(Authority(OURS.keys[0]).pem, Authority(OURS.keys[0]).mint("node", "n"), is_server=False)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2

    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(COORDINATOR.server_context(), old, COORDINATOR.hostname)


@pytest.mark.parametrize(("days", "said"), [(-8, "certificate has expired"), (8, "certificate is not yet valid")])
def test_a_certificate_out_of_its_time_is_refused(days: int, said: str) -> None:
    """Expired ones, and ones from a clock that is far ahead."""
    authority = Authority(OURS.keys[0])
    then = context(authority.pem, authority.mint("node", "n", now=datetime.now(UTC) + timedelta(days=days)), is_server=True)

    with pytest.raises(ssl.SSLCertVerificationError, match=said):
        handshake(then, NODE.client_context(), NODE.hostname)


def test_clocks_may_differ_by_a_day() -> None:
    """A certificate of a machine whose clock is 23 hours ahead is good."""
    authority = Authority(OURS.keys[0])
    ahead = context(authority.pem, authority.mint("node", "n", now=datetime.now(UTC) + timedelta(hours=23)), is_server=True)

    assert peer_role(handshake(ahead, NODE.client_context(), NODE.hostname)[1]) == ("node", "n")


def test_a_member_can_not_vouch_for_others() -> None:
    """A process's own certificate signs nothing that anybody believes."""
    authority, impostor = Authority(OURS.keys[0]), Authority(OURS.keys[0])
    impostor._private = Ed25519PrivateKey.generate()
    forged = context(authority.pem, impostor.mint("coordinator", "c"), is_server=True)

    with pytest.raises(ssl.SSLError):
        handshake(forged, NODE.client_context(), NODE.hostname)


def test_secrets_are_replaced_without_a_gap() -> None:
    """Add the new one everywhere, swap, drop the old one: at each step old and new processes meet, in both directions."""
    new = secret.generate()
    steps = [OURS, Secret(OURS.keys + new.keys), Secret(new.keys + OURS.keys), new]

    for before, after in itertools.pairwise(steps):
        for server, client in ((before, after), (after, before), (after, after)):
            assert meet(Identity(server, "coordinator", "c"), Identity(client, "node", "n")) == (("node", "n"), ("coordinator", "c"))


def test_contexts_are_kept_until_half_of_the_certificates_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same context serves all connections; after three and a half days a new certificate takes its place."""
    now = 1e9
    monkeypatch.setattr("time.time", lambda: now)
    identity = Identity(OURS, "node", "n")
    first = identity.server_context()

    now += 3.4 * 86400
    assert identity.server_context() is first
    now += 0.2 * 86400
    second = identity.server_context()
    assert second is not first
    now -= 0.4 * 86400
    assert identity.server_context() is second
    now -= 0.2 * 86400  # the clock was set right: what was made in the future would not be good yet
    assert identity.server_context() is not second


def test_sessions_are_not_resumed_and_keys_are_not_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """No tickets are given out, and SSLKEYLOGFILE has no effect."""
    monkeypatch.setenv("SSLKEYLOGFILE", f"{tmp_path}/keys")
    made = Identity(OURS, "node", "n").server_context()

    assert made.num_tickets == 0
    assert made.keylog_filename is None
    assert made.verify_flags & ssl.VERIFY_X509_STRICT


def test_keys_load_where_files_in_memory_are_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memfd a temporary file serves."""
    def forbidden(*_: object) -> int:
        raise PermissionError("memfd_create")

    monkeypatch.setattr("os.memfd_create", forbidden)

    assert meet(COORDINATOR, Identity(OURS, "node", "n"))[0] == ("node", "n")


def test_wrong_roles_and_names_are_refused() -> None:
    """A role that does not exist and a name too long for a certificate are named."""
    with pytest.raises(ConfigError, match="role 'boss' is not known; a process is one of coordinator, node, client"):
        Identity(OURS, "boss", "n")
    with pytest.raises(ConfigError, match="too long; 200 bytes are the most"):
        Identity(OURS, "node", "x" * 201)


@pytest.mark.parametrize("uris", [(), ("handoff://c/boss/n",), ("https://c/node/n",), ("handoff://c/node/n", "handoff://c/client/n")])
def test_a_certificate_without_one_clear_role_is_refused(uris: tuple[str, ...]) -> None:
    """Exactly one name of the right form counts."""
    class Strange:
        def getpeercert(self) -> dict[str, object]:
            return {"subjectAltName": tuple(("URI", uri) for uri in uris)}

    with pytest.raises(ProtocolError, match="does not say which role it plays"):
        certificates.peer_role(Strange())
