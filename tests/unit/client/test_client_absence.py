"""The coordinator is away: what was asked of it is lost or not, and what is asked for meanwhile waits for it, or for the one after it."""

from __future__ import annotations

import pytest
from test_client_brain import Bench, of, program, sent

from handoff.client import absence, events
from handoff.greetings import STOPS
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Close, Dropped, Ended, Lost, Resumed, Send
from handoff.messages import Accepted, Ask, Cancel, Drain, Submit


def start(bench: Bench, token: int) -> list[object]:
    """One more run is asked for."""
    return bench.tell(events.Start(Submit(token, "dag", program([True]))))


def test_a_stopped_coordinator_ends_what_it_did_at_once_and_is_waited_for() -> None:
    """Nothing comes of the runs that it had; the next one goes to the coordinator that is started then."""
    bench = Bench().running()
    bench.tell(events.Question(Ask(2, "nodes")))
    effects = bench.tell(Ended(COORDINATOR, STOPS))
    assert of(effects, events.RunOver)[0].failure.text.startswith("the coordinator was stopped, and what it was to do is lost")
    assert of(effects, events.Unanswered)[0].token == 2
    assert bench.tell(Dropped(COORDINATOR)) == []

    assert start(bench, 3) == [] and bench.wait(9.0) == []
    effects = bench.tell(events.Welcomed(PeerId(1)))
    assert effects == [Send(COORDINATOR, Submit(3, "dag", program([True])))]
    assert of(bench.hear(COORDINATOR, Accepted(3, RunId(1))), events.RunAccepted)


def test_a_coordinator_that_was_given_up_is_left() -> None:
    """It may only have been asleep: what was given up here would go on there for nobody, and its results would stay."""
    bench = Bench().running()
    bench.tell(Dropped(COORDINATOR))
    effects = bench.wait(10.1)
    assert of(effects, events.RunOver) and [each.peer for each in of(effects, Close)] == [COORDINATOR]
    bench.tell(events.ForgetRun(1))
    assert bench.tell(events.Welcomed(PeerId(11))) == []
    assert sent(start(bench, 2), Submit)


def test_a_stopped_coordinator_that_does_not_come_back_is_given_up() -> None:
    """After the same ten seconds as one that crashed."""
    bench = Bench()
    bench.tell(Ended(COORDINATOR, STOPS))
    bench.tell(Dropped(COORDINATOR))
    start(bench, 1)
    effects = bench.wait(10.1)
    assert "no connection to it for 10 s" in of(effects, events.RunOver)[0].failure.text
    assert of(start(bench, 2), events.RunOver)[0].failure.code == "ConnectionLost"
    assert sent(bench.tell(events.Welcomed(PeerId(1))), Submit) == []
    assert sent(start(bench, 3), Submit)


def test_what_is_asked_for_while_it_is_away_is_said_when_it_is_back() -> None:
    """Once, in order, whether it went on or began anew: nobody has heard of it yet. What was asked before is lost with the former."""
    for back, lost in ((Resumed(COORDINATOR), 0), (events.Welcomed(PeerId(1)), 1)):
        bench = Bench().running()
        bench.tell(Dropped(COORDINATOR))
        assert start(bench, 2) == [] and start(bench, 3) == []
        assert bench.tell(events.Question(Ask(4, "nodes"))) == [] and bench.tell(events.Question(Drain("n1", 5))) == []
        effects = bench.tell(back)
        assert [each.message.token for each in of(effects, Send)] == [2, 3, 4, 5]
        assert len(of(effects, events.RunOver)) == lost and not of(effects, events.Unanswered)
        assert start(bench, 6)


def test_what_is_asked_about_a_run_is_not_asked_of_another_coordinator() -> None:
    """There its number may be that of another run."""
    bench = Bench().running()
    bench.tell(Dropped(COORDINATOR))
    assert sent(bench.tell(events.Question(Ask(2, "timeline", RunId(7)))), Ask)      # the session keeps it, and it is void with that
    effects = bench.tell(events.Welcomed(PeerId(1)))
    assert of(effects, events.Unanswered)[0].token == 2 and not of(effects, Send)


def test_a_run_that_waits_for_the_coordinator_can_be_cancelled() -> None:
    """Said as soon as it has a number."""
    bench = Bench()
    bench.tell(Dropped(COORDINATOR))
    start(bench, 1)
    assert bench.tell(events.CancelRun(1, "changed my mind")) == []
    bench.tell(events.Welcomed(PeerId(1)))
    assert sent(bench.hear(COORDINATOR, Accepted(1, RunId(1))), Cancel)


def test_a_coordinator_that_leaves_for_good_is_not_waited_for() -> None:
    """That of a cluster inside a program."""
    bench = Bench().running()
    assert of(bench.tell(Lost(COORDINATOR, "its cluster ends")), events.RunOver)
    assert of(start(bench, 2), events.RunOver)[0].failure.text == "the coordinator is gone: its cluster ends (it)"


def test_what_waits_for_a_coordinator_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many requests, and so many bytes of them; what comes then fails at once, and says why. The others are said when it is back."""
    monkeypatch.setattr(absence, "HELD_MAX", 3)
    monkeypatch.setattr(absence, "HELD_BYTES_MAX", 1000)
    bench = Bench()
    bench.tell(Dropped(COORDINATOR))
    assert start(bench, 1) == []
    large = bench.tell(events.Start(Submit(2, "dag", program([True]), body=(bytes(600), bytes(600)))))
    assert "all that may wait for it waits: 1 requests" in of(large, events.RunOver)[0].failure.text
    assert start(bench, 3) == [] and bench.tell(events.Question(Ask(4, "nodes"))) == []
    assert of(start(bench, 5), events.RunOver)[0].failure.code == "ConnectionLost"
    assert of(bench.tell(events.Question(Ask(6, "nodes"))), events.Unanswered)[0].token == 6

    effects = bench.tell(Resumed(COORDINATOR))
    assert [each.message.token for each in of(effects, Send)] == [1, 3, 4]
    bench.tell(Dropped(COORDINATOR))
    assert [start(bench, token) for token in (7, 8, 9)] == [[], [], []]
