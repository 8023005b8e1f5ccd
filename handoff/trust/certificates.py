"""Who is who on the wire: every process derives the cluster's authority from the secret and gives itself a short-lived certificate.

The authority is the same, byte for byte, on every host that has the secret, so nothing has to be distributed but the secret. A
process's own key lives in its memory alone. Both sides of a connection show a certificate and check the other's: TLS 1.3, on
loopback too. The name in the certificate that is checked is the cluster's, never a host's, since hosts have many names.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from handoff.errors import ConfigError, ProtocolError
from handoff.files import NO_FILES
from handoff.trust.secret import Secret, derive

ROLES = ("coordinator", "node", "client")
BACKDATED = timedelta(hours=24)       # clocks of machines differ
LIFETIME = timedelta(days=7)
NAME_LENGTH_MAX = 200                 # of a peer, in bytes once percent-encoded; the common name holds 64
COMMON_NAME_LENGTH_MAX = 64


class Authority:
    """What one key of the secret vouches with."""

    def __init__(self, key: bytes) -> None:
        self.cluster_id = derive(key, b"cluster-id", 8).hex()
        self._private = Ed25519PrivateKey.from_private_bytes(derive(key, b"ca-ed25519", 32))
        public = self._private.public_key()
        name = _common_name(f"handoff {self.cluster_id}")
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(int.from_bytes(derive(key, b"ca-serial", 16), "big") >> 1)   # at most 127 bits: a serial is positive
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2099, 12, 31, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(is_authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._private, None)
        )

    @property
    def pem(self) -> str:
        """The public certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def mint(
        self, role: str, name: str, *, also: tuple[str, ...] = (), now: datetime | None = None, lifetime: timedelta = LIFETIME
    ) -> bytes:
        """A fresh private key and its certificate for this peer, as PEM.

        `also`: ids of this cluster under its other key. While the secret is being replaced, some look for the one and some for the other.
        """
        private, now = Ed25519PrivateKey.generate(), now or datetime.now(UTC)
        public = private.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_common_name(_safe(name)[:COMMON_NAME_LENGTH_MAX] or role))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=False), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([
                    *(x509.DNSName(hostname(each)) for each in (self.cluster_id, *also)),
                    x509.UniformResourceIdentifier(f"handoff://{self.cluster_id}/{role}/{_safe(name)}"),
                ]),
                critical=False,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._private.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._private, None)
        )
        return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)


class Identity:
    """Who this process is: its role, its name, and the TLS contexts that prove both."""

    def __init__(self, secret: Secret, role: str, name: str) -> None:
        if role not in ROLES:
            raise ConfigError(f"role {role!r} is not known; a process is one of {', '.join(ROLES)}")
        if len(_safe(name)) > NAME_LENGTH_MAX:
            raise ConfigError(f"the name {name[:40]!r}... is too long; {NAME_LENGTH_MAX} bytes are the most")
        self.role, self.name = role, name
        self._authorities = tuple(Authority(key) for key in secret.keys)
        self.cluster_id = self._authorities[0].cluster_id
        self.hostname = hostname(self.cluster_id)   # what a dialler expects in the other side's certificate
        self._own = b""
        self._minted_at = 0.0                       # on the clock that others judge a certificate by: it goes on while a machine sleeps
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def server_context(self) -> ssl.SSLContext:
        """For accepting; ask for it again for each new listener or connection, it changes at half of the certificate's life."""
        return self._context(is_server=True)

    def client_context(self) -> ssl.SSLContext:
        """For dialling, with `server_hostname=identity.hostname`; ask for it again for each connection."""
        return self._context(is_server=False)

    def peer_role(self, ssl_object: Any) -> tuple[str, str]:
        """Role and name of the other side of a finished handshake."""
        return peer_role(ssl_object)

    def _context(self, *, is_server: bool) -> ssl.SSLContext:
        now = time.time()
        if not -BACKDATED.total_seconds() / 2 < now - self._minted_at < LIFETIME.total_seconds() / 2:
            first, *others = self._authorities
            self._own = first.mint(self.role, self.name, also=tuple(each.cluster_id for each in others))
            self._minted_at = now
            self._contexts.clear()
        if is_server not in self._contexts:
            self._contexts[is_server] = context("".join(each.pem for each in self._authorities), self._own, is_server=is_server)
        return self._contexts[is_server]


def context(trusted: str, own: bytes, *, is_server: bool) -> ssl.SSLContext:
    """A TLS context that trusts these authorities alone and shows this certificate.

    Not `ssl.create_default_context`: that one trusts the system's authorities and writes session keys wherever SSLKEYLOGFILE says.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=trusted)
    _load_key(made, own)
    made.verify_mode = ssl.CERT_REQUIRED
    if is_server:
        made.num_tickets = 0   # a resumed session would skip the look at the certificate
    return made


def hostname(cluster_id: str) -> str:
    """The name that every certificate of the cluster carries."""
    return f"{cluster_id}.handoff"


def peer_role(ssl_object: Any) -> tuple[str, str]:
    """Role and name in the other side's certificate, which the handshake has already found to be good."""
    names = (ssl_object.getpeercert() or {}).get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    parts = uris[0].split("/") if len(uris) == 1 else []
    if len(parts) != 5 or parts[0] != "handoff:" or parts[3] not in ROLES:
        raise ProtocolError("the other side's certificate does not say which role it plays")
    return parts[3], unquote(parts[4], errors="surrogatepass")


def _load_key(into: ssl.SSLContext, pem: bytes) -> None:
    """OpenSSL takes keys from files only: a file in memory where there are such, else one that is gone before anyone can look."""
    try:
        memory = os.memfd_create("handoff-key", os.MFD_CLOEXEC)
        with os.fdopen(memory, "wb", buffering=0) as file:
            file.write(pem)
            into.load_cert_chain(f"/proc/self/fd/{memory}")
            return
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno in NO_FILES:   # a file on disk is one as well
            raise
    with tempfile.NamedTemporaryFile(prefix="handoff-") as disk:   # mode 0600
        disk.write(pem)
        disk.flush()
        into.load_cert_chain(disk.name)


def _safe(name: str) -> str:
    return quote(name, safe="", errors="surrogatepass")


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )
