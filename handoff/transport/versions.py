"""Who fits together: the same protocol, the same minor version of Handoff, the same Python (code travels as bytecode)."""

from __future__ import annotations

from handoff.messages import Hello, Refused


def check_versions(mine: Hello, theirs: Hello) -> Refused | None:
    """Why these two can't talk, naming both sides' versions; None when they can."""
    pairs = (
        ("protocol", str(mine.protocol), str(theirs.protocol), "install the same version of Handoff on both"),
        ("Handoff", mine.version, theirs.version, "install the same version of Handoff on both"),
        ("Python", mine.python, theirs.python, "functions travel as bytecode: use the same Python on both"),
    )
    for what, here, there, advice in pairs:
        if _series(here) != _series(there):
            return Refused("Refused", f"{_who(mine)} has {what} {here}, {_who(theirs)} has {there}; {advice}")
    return None


def _who(hello: Hello) -> str:
    return f"{hello.role} {hello.name}" if hello.name != hello.role else f"the {hello.role}"


def _series(version: str) -> list[str]:
    """What has to be equal: 0.1.7 fits 0.1.0."""
    return version.split(".")[:2]
