"""What a secret is, where it is found, and which files are refused, each with the words that a user reads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from handoff.errors import ConfigError
from handoff.trust import secret
from handoff.trust.secret import Secret


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with nothing in it, and an environment that names no secret."""
    for name in ("HANDOFF_SECRET", "HANDOFF_SECRET_FILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setitem(secret._inherited, "text", "")
    return tmp_path


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    """A file with this text and mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(text: str) -> str:
    """What is said about this text."""
    with pytest.raises(ConfigError) as caught:
        secret.parse(text, "here")
    assert text.strip() == "" or text not in str(caught.value)
    return str(caught.value)


def test_a_key_survives_its_text() -> None:
    """What is encoded decodes to the same key, in any case of letters."""
    key = secret.generate().keys[0]

    text = secret.encode(key)

    assert text.startswith("hof1_") and len(text) == 63
    assert secret.decode(text) == secret.decode(text.upper()) == key


def test_derived_bytes_follow_the_standard() -> None:
    """HKDF here gives what the cryptography package gives, so any other implementation can join."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    for length in (8, 32, 100):
        theirs = HKDF(SHA256(), length, b"handoff-v1", b"label").derive(b"k" * 32)
        assert secret.derive(b"k" * 32, b"label", length) == theirs


def test_a_truncated_text_is_named_as_such() -> None:
    """Half a paste is told apart from a wrong one."""
    text = secret.generate().text.strip()

    assert "here, line 1: the secret is truncated: it has 53 characters instead of 63" in refused(text[:-10])
    assert "too long" in refused(text + "a")


def test_every_mistyped_character_is_noticed() -> None:
    """One wrong character anywhere makes the checksum fail or is not in the alphabet."""
    text = secret.encode(b"\x01" * 32)

    for at in range(5, len(text)):
        wrong = text[:at] + ("b" if text[at] != "b" else "c") + text[at + 1:]
        if at < len(text) - 1:   # the last character holds three spare bits
            assert "the secret is mistyped: its checksum does not fit" in refused(wrong)
    assert "characters other than a-z and 2-7" in refused(text[:20] + "!" + text[21:])


def test_a_password_is_refused() -> None:
    """Only random secrets are taken, and the message says why and what to do."""
    said = refused("correct horse battery staple")

    assert "not a Handoff secret" in said and "password" in said and "handoff secret new" in said


def test_a_file_may_hold_two_secrets_and_comments() -> None:
    """The first makes certificates and both are trusted."""
    old, new = secret.generate(), secret.generate()

    both = secret.parse(f"# rotation\n\n{new.text}  {old.text}")

    assert both.keys == new.keys + old.keys
    assert both.cluster_id == new.cluster_id != old.cluster_id
    assert "there are 3 secrets in it" in refused(old.text * 3)
    assert "there is no secret in it" in refused("# nothing\n")


def test_a_secret_is_not_shown_by_accident() -> None:
    """Neither repr nor str of a secret holds its key."""
    made = secret.generate()

    assert repr(made.keys[0]) not in repr(made) and made.text.strip() not in f"{made} {made!r}"


def test_a_key_of_another_length_is_refused() -> None:
    """A secret holds one or two keys of 32 bytes."""
    with pytest.raises(ConfigError, match="one or two keys of 32 bytes"):
        Secret((b"short",))


def test_a_file_that_others_can_read_is_refused(home: Path) -> None:
    """The message has the command that repairs it."""
    path = written(home / "s", secret.generate().text, 0o640)

    with pytest.raises(ConfigError, match=rf"can be read or changed by others \(mode 0640\); run: chmod 600 {path}"):
        secret.find(path)


def test_a_file_of_someone_else_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns the file could exchange it; the message has the command that repairs it."""
    path = written(home / "s", secret.generate().text)
    if os.getuid() == 0:
        os.chown(path, 4321, 4321)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 4321)

    with pytest.raises(ConfigError, match=r"belongs to user id \d+, not to you .*; run: chown \d+ "):
        secret.find(path)


def test_what_is_no_secret_file_is_refused(home: Path) -> None:
    """A missing file, a directory, a pipe, a binary and a huge file are each named, and none of them blocks."""
    os.mkfifo(home / "pipe", 0o600)
    (home / "binary").write_bytes(b"\xff\xfe")
    (home / "binary").chmod(0o600)
    written(home / "huge", "#" * 70_000)

    for name, said in {
        "missing": "is not there; copy it", ".": "is not a regular file", "pipe": "is not a regular file",
        "binary": "is not text", "huge": "is larger than",
    }.items():
        with pytest.raises(ConfigError, match=said):
            secret.find(home / name)


def test_places_are_asked_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit file, then what the environment says, then the credentials directory and the user's file."""
    made = [secret.generate() for _ in range(5)]
    explicit = written(home / "explicit", made[0].text)
    monkeypatch.setenv("HANDOFF_SECRET_FILE", str(written(home / "named", made[1].text)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(written(home / "cred" / "handoff-secret", made[2].text).parent))
    written(home / "config" / "handoff" / "secret", made[3].text)
    monkeypatch.setenv("HANDOFF_SECRET", made[4].text)

    assert secret.find(explicit) == made[0]
    assert "HANDOFF_SECRET" not in os.environ
    assert secret.find() == made[1]
    monkeypatch.delenv("HANDOFF_SECRET_FILE")
    assert secret.find() == secret.find() == made[4]    # also when it is not in the environment any more
    monkeypatch.setitem(secret._inherited, "text", "")
    assert secret.find() == made[2]
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert secret.find() == made[3]


def test_the_credential_of_a_service_with_a_user_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An access list lets that user read it, which shows as a bit of the group's; a file that anybody can read is refused there, too."""
    made = secret.generate()
    credential = written(home / "cred" / "handoff-secret", made.text)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credential.parent))
    credential.chmod(0o440)
    assert secret.find() == made
    with pytest.raises(ConfigError, match="mode 0440"):
        secret.find(credential)
    for mode in (0o444, 0o460):
        credential.chmod(mode)
        with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
            secret.find()


def test_a_secret_in_the_place_of_its_file_is_not_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever mistakes one for the other finds no secret in the error, nor in what logs it."""
    text = secret.generate().text
    for given in (text, text.strip(), text.upper()):
        with pytest.raises(ConfigError, match="is a secret itself") as caught:
            secret.find(given)
        assert text.strip() not in str(caught.value).lower()
    monkeypatch.setenv("HANDOFF_SECRET_FILE", text)
    with pytest.raises(ConfigError, match="HANDOFF_SECRET_FILE is a secret itself"):
        secret.find()


def test_no_secret_anywhere_says_what_to_do(home: Path) -> None:
    """The message names the file that was looked for and the two ways out."""
    with pytest.raises(ConfigError, match=r"no cluster secret: .*config/handoff/secret is not there.*Copy.*handoff secret new"):
        secret.find()


def test_a_relative_configuration_directory_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CONFIG_HOME counts only when it is absolute."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "somewhere")

    assert secret.default_path() == home / ".config" / "handoff" / "secret"


def test_who_has_no_home_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id of a container, say, that no name belongs to; a secret that is named does all the same."""
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 123_456_789)

    with pytest.raises(ConfigError, match=r"user id 123456789 has no home directory.*--secret-file or HANDOFF_SECRET_FILE"):
        secret.find(create=True)
    monkeypatch.setenv("HANDOFF_SECRET", secret.generate().text)
    assert secret.find(create=True).source == "HANDOFF_SECRET"


def test_first_use_makes_the_file(home: Path) -> None:
    """It is private, in a private directory, and found again."""
    made = secret.find(create=True)

    path = home / "config" / "handoff" / "secret"
    assert secret.find() == made
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]


def test_many_first_uses_at_once_agree(home: Path) -> None:
    """Who loses the race reads what the winner wrote."""
    found: list[Secret] = []
    threads = [threading.Thread(target=lambda: found.append(secret.find(create=True))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(found) == 8 and len({each.keys for each in found}) == 1


def test_a_secret_is_never_overwritten(home: Path) -> None:
    """Writing a given secret where one is already is an error, and the old one stays."""
    old = secret.find(create=True)

    with pytest.raises(ConfigError, match="exists already"):
        secret.create_file(secret.default_path(), secret.generate())
    assert secret.find() == old


def test_a_place_that_can_not_be_written_is_named(home: Path) -> None:
    """A file in the way of the directory gives one clear error."""
    written(home / "config", "in the way")

    with pytest.raises(ConfigError, match=r"config/handoff/secret can't be (opened|written)"):
        secret.create_file(secret.default_path())


def test_a_throwaway_secret_comes_through_a_pipe() -> None:
    """It is read until the writer closes, and the descriptor is closed."""
    made = secret.generate()
    receiver, sender = os.pipe()
    os.write(sender, made.text.encode())
    os.close(sender)

    assert secret.read_fd(receiver) == made
    with pytest.raises(ConfigError, match=rf"file descriptor {receiver} for the secret can't be read"):
        secret.read_fd(receiver)
