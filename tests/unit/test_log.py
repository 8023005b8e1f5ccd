"""How events look, and that a library says nothing unasked."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from handoff import log as room
from handoff.errors import ConfigError
from handoff.log import configure, log


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    """The standard logger is left as it was."""
    logger = logging.getLogger("handoff")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def said(format: str = "text", level: str = "info") -> io.StringIO:
    """Where the events go from now on."""
    stream = io.StringIO()
    configure(format, level, stream)
    return stream


def test_a_text_line_has_time_level_event_and_fields() -> None:
    """Values that are one word stand bare, others are quoted."""
    stream = said()

    log.warning("node.lost", node="n1", reason="silent for 10 s", seconds=0.1 + 0.2, peer=3)

    line = stream.getvalue()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning ", line)
    assert line.endswith(' node.lost node=n1 reason="silent for 10 s" seconds=0.3 peer=3\n')


def test_nobody_forges_a_line() -> None:
    """A name with a line break, a quote or an equals sign stays inside its quotes."""
    stream = said()

    log.info("node.joined", node='x\n2026 error all=lost "', other="100%s")

    assert stream.getvalue().count("\n") == 1
    assert 'node="x\\n2026 error all=lost \\"" other=100%s' in stream.getvalue()


def test_json_lines_are_objects() -> None:
    """One object per event; fields keep their types and never hide time, level or event."""
    stream = said("json")

    log.bind(node="n1").info("task.done", seconds=0.25, level="high", what=RuntimeError("x"))

    one = json.loads(stream.getvalue())
    assert one.pop("time").endswith("Z")
    assert one == {"level": "info", "event": "task.done", "node": "n1", "seconds": 0.25, "level_": "high", "what": "x"}


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_brings_its_traceback(format: str) -> None:
    """`exception` adds the traceback of what is being handled."""
    stream = said(format)

    try:
        raise RuntimeError("broken")
    except RuntimeError:
        log.exception("loop.broken", where="here")

    assert "Traceback" in stream.getvalue() and "RuntimeError: broken" in stream.getvalue()


def test_levels_filter() -> None:
    """What is below the level is not written; configuring again replaces the stream."""
    first = said(level="warning")
    log.debug("a")
    log.info("b")
    log.error("c")
    second = said(level="debug")
    log.debug("d")

    assert [line.split()[2] for line in first.getvalue().splitlines()] == ["c"]
    assert [line.split()[2] for line in second.getvalue().splitlines()] == ["d"]


def test_a_library_prints_nothing_and_speaks_to_standard_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Unconfigured events reach whoever listens to the logger "handoff", and nobody else."""
    log.warning("node.lost", node="n1")
    program = "from handoff.log import log; log.error('x', y=1)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert [record.getMessage() for record in caplog.records] == ["node.lost node=n1"]
    assert (ran.stdout, ran.stderr) == ("", "")


def test_unknown_formats_and_levels_are_refused() -> None:
    """Each with the choices there are."""
    with pytest.raises(ConfigError, match="log format 'xml' is not known; choose one of text, json"):
        configure("xml")
    with pytest.raises(ConfigError, match="log level 'loud' is not known; choose one of debug, info, warning, error"):
        room.configure(level="loud")
