"""What the whole cluster shares is said to the coordinator, exactly, or refused in one line."""

from __future__ import annotations

import pytest

from handoff.coordinator.__main__ import options
from handoff.resources import amounts


def test_what_the_cluster_shares_is_declared() -> None:
    """By its name alone, or as costs name it."""
    said = options(["--resource", "license=5", "--resource", "cluster:tokens=0.3"])

    assert said.cluster == amounts({"license": 5, "tokens": 0.3})
    assert options([]).cluster == ()


@pytest.mark.parametrize(("said", "text"), [
    (["--resource", "license=many"], "--resource: license='many' is not an amount; write a number"),
    (["--resource", "license=-1"], "--resource: license='-1' is negative; an amount is zero or more"),
    (["--resource", "license=0"], "--resource: license='0': nothing can run on none of it; say how much there is, or leave it out"),
    (["--resource", "a=1", "--resource", "cluster:a=2"], "--resource: the amount of a is said twice"),
    (["--resource", "=1"], "argument --resource:"),
])
def test_nonsense_is_refused(said: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and what is wrong."""
    with pytest.raises(SystemExit) as ended:
        options(said)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err
