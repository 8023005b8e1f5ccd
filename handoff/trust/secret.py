"""The cluster secret: 32 random bytes that say who belongs together, and where they are kept.

Whoever has the secret may run any code on every node of its cluster, so it is never taken from a command line, never shown in a log,
and a file that others can read is refused. It is always random: any stranger can fetch a certificate that was derived from it and
try guesses against that in peace, so a password would not do.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from handoff.errors import ConfigError
from handoff.quoting import cut

PREFIX = "hof1_"
KEY_BYTES = 32
CHECKSUM_BYTES = 4
TEXT_LENGTH = len(PREFIX) + -(-(KEY_BYTES + CHECKSUM_BYTES) * 8 // 5)   # 63 characters
FILE_BYTES_MAX = 64 * 1024            # a larger file is something else, named by mistake


@dataclass(frozen=True, slots=True)
class Secret:
    """One key, or two while the secret is being replaced: the first makes certificates, all are trusted."""

    keys: tuple[bytes, ...] = field(repr=False)
    source: str = field(default="generated", compare=False)   # where it was found, for people

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= 2 or any(len(key) != KEY_BYTES for key in self.keys):
            raise ConfigError(f"{self.source}: a secret is one or two keys of {KEY_BYTES} bytes")

    @property
    def cluster_id(self) -> str:
        """The public name of the cluster whose certificates this secret makes."""
        return derive(self.keys[0], b"cluster-id", 8).hex()

    @property
    def text(self) -> str:
        """What is written to a file: one line per key."""
        return "".join(f"{encode(key)}\n" for key in self.keys)


def derive(key: bytes, label: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869): independent bytes for each label; knowing some says nothing about the others or the key."""
    extracted = hmac.digest(b"handoff-v1", key, "sha256")
    made, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + label + bytes([counter]), "sha256")
        made += block
    return made[:length]


def generate() -> Secret:
    """A new secret, from the system's randomness."""
    return Secret((secrets.token_bytes(KEY_BYTES),))


# ── text ────────────────────────────────────────────────────────────────────


def encode(key: bytes) -> str:
    """A key as text that notices when it is copied wrongly."""
    return PREFIX + base64.b32encode(key + _checksum(key)).decode().rstrip("=").lower()


def decode(text: str, where: str = "secret") -> bytes:
    """The key in this text. The ConfigError says what is wrong with it and never shows it."""
    if not text.lower().startswith(PREFIX):
        raise ConfigError(
            f"{where}: this is not a Handoff secret, which starts with {PREFIX!r}. A password can't take its place, since it can be"
            " guessed; make a secret with `handoff secret new`"
        )
    if len(text) != TEXT_LENGTH:
        what = "truncated" if len(text) < TEXT_LENGTH else "too long"
        raise ConfigError(f"{where}: the secret is {what}: it has {len(text)} characters instead of {TEXT_LENGTH}; copy it again")
    body = text[len(PREFIX):].upper()
    try:
        raw = base64.b32decode(body + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError):
        raise ConfigError(f"{where}: the secret is mistyped: it has characters other than a-z and 2-7; copy it again") from None
    key, checksum = raw[:KEY_BYTES], raw[KEY_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(key)):
        raise ConfigError(f"{where}: the secret is mistyped: its checksum does not fit; copy it again")
    return key


def parse(text: str, where: str = "secret") -> Secret:
    """The secret in a file's text: one or two keys, one a line; empty lines and those that start with # are skipped."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    kept = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not kept:
        raise ConfigError(f"{where}: there is no secret in it; make one with `handoff secret new`")
    if len(kept) > 2:
        raise ConfigError(f"{where}: there are {len(kept)} secrets in it; two are the most, while one replaces the other")
    return Secret(tuple(decode(line, f"{where}, line {number}") for number, line in kept), where)


def _checksum(key: bytes) -> bytes:
    return hashlib.sha256(b"handoff secret checksum" + key).digest()[:CHECKSUM_BYTES]


# ── places ──────────────────────────────────────────────────────────────────

_inherited = {"text": ""}             # what HANDOFF_SECRET held when it was taken out of the environment


def default_path() -> Path:
    """Where a user's secret lives unless told otherwise."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore a relative path: it would mean another file in every directory.
    if base.startswith("/"):
        return Path(base) / "handoff" / "secret"
    try:
        return Path.home() / ".config" / "handoff" / "secret"
    except RuntimeError:   # as of a user id in a container that nobody has a name for
        raise ConfigError(f"user id {os.getuid()} has no home directory, and HOME does not name one, so there is no place for a secret;"
                          " name its file with --secret-file or HANDOFF_SECRET_FILE") from None


def find(explicit: Path | str | None = None, create: bool = False) -> Secret:
    """The first secret found: `explicit` file, HANDOFF_SECRET_FILE, HANDOFF_SECRET, the service manager's credentials, the user's file.

    With `create`, the user's file is made when there is none anywhere.
    """
    # Taken out at once, whether used or not, so that no child process inherits it; kept for the next time that this process asks.
    inherited = _inherited["text"] = os.environ.pop("HANDOFF_SECRET", "") or _inherited["text"]
    if explicit is not None:
        return read(Path(explicit))
    if named := os.environ.get("HANDOFF_SECRET_FILE", ""):
        return read(Path(named), "HANDOFF_SECRET_FILE")
    if inherited:
        return parse(inherited.replace(",", "\n"), "HANDOFF_SECRET")
    if credentials := os.environ.get("CREDENTIALS_DIRECTORY", ""):
        path = Path(credentials) / "handoff-secret"
        if path.exists():
            return read(path, is_credential=True)
    default = default_path()
    if os.path.lexists(default):
        return read(default)
    if create:
        return create_file(default)
    raise ConfigError(
        f"no cluster secret: {default} is not there, and none of --secret-file, HANDOFF_SECRET_FILE, HANDOFF_SECRET names one."
        " Copy that file from the coordinator's machine, or make a new one with `handoff secret new`"
    )


def read(path: Path, why: str = "", is_credential: bool = False) -> Secret:
    """The secret in this file, if it belongs to us and nobody else can read it.

    A credential is root's, and the service manager lets the service's user read it by an access list: the bit that says so is the group's.
    """
    if path.name.lower().startswith(PREFIX) and not path.exists():
        raise ConfigError(f"{why or 'what names the secret file'} is a secret itself, and has to be the path of a file in which it stands")
    named = f"secret file {cut(str(path))}" + (f" (from {why})" if why else "")
    try:
        # Opened once and judged by its descriptor, so that it can't be exchanged between the look and the reading.
        # O_NONBLOCK: a named pipe in its place must not stop us.
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(f"{named} is not there; copy it from the coordinator's machine, or make one with `handoff secret new`") from None
    except OSError as error:
        raise ConfigError(f"{named} can't be opened: {error.strerror}") from None
    try:
        _refuse_if_open_to_others(os.fstat(opened), path, named, 0o037 if is_credential else 0o077)
        text = os.read(opened, FILE_BYTES_MAX + 1)
    finally:
        os.close(opened)
    if len(text) > FILE_BYTES_MAX:
        raise ConfigError(f"{named} is larger than {FILE_BYTES_MAX} bytes: it is not a secret file")
    try:
        return parse(text.decode("ascii"), named)
    except UnicodeDecodeError:
        raise ConfigError(f"{named} is not text; make a new one with `handoff secret new`") from None


def create_file(path: Path, secret: Secret | None = None) -> Secret:
    """Write a new secret where there is none. When another process was first, its secret is the one; an error if `secret` is given."""
    made = secret if secret is not None else generate()
    try:
        path = path.absolute()
    except OSError as error:   # the working directory was removed
        raise ConfigError(f"secret file {path} can't be written: the working directory is not there: {error.strerror}") from None
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written beside its place and then linked into it: nobody ever reads half a secret, and of two writers one wins.
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write("# Handoff cluster secret: whoever has it can run code on every node. Keep it at mode 0600.\n" + made.text)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    except FileExistsError:
        if secret is not None:
            raise ConfigError(f"secret file {path} exists already; move it away first, or name another file") from None
        return read(path)
    except OSError as error:
        raise ConfigError(f"secret file {path} can't be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return Secret(made.keys, f"secret file {path}")


def read_fd(fd: int) -> Secret:
    """The throwaway secret of an embedded cluster, from a pipe that its parent wrote and closed."""
    try:
        with os.fdopen(fd, "rb") as pipe:
            text = pipe.read(FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"file descriptor {fd} for the secret can't be read: {error.strerror}") from None
    return parse(text.decode("ascii", "replace"), f"file descriptor {fd}")


def _refuse_if_open_to_others(status: os.stat_result, path: Path, named: str, others: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{named} is not a regular file")
    if status.st_uid not in (os.getuid(), 0):   # root may place it: a service manager's credentials belong to root
        raise ConfigError(f"{named} belongs to user id {status.st_uid}, not to you ({os.getuid()}); run: chown {os.getuid()} {path}")
    if status.st_mode & others:
        raise ConfigError(f"{named} can be read or changed by others (mode {stat.S_IMODE(status.st_mode):04o}); run: chmod 600 {path}")
