"""How far a run is, as its user counts: functions, and none of the tasks that carry values to them."""

from __future__ import annotations

from scheduler_story import Cluster, Flag, kind, program

from handoff.messages import Answer, Ask, Progress

VALUE, STEP = kind("value", {}, flags=Flag.OBJECT), kind("step", {}, flags=Flag.SERIALIZER)


def test_values_and_serializers_are_no_functions() -> None:
    """Of two functions and two hidden tasks: none is done, then one, then both; a result that is lost counts no more."""
    make, take = kind("make"), kind("take", node="n2")
    cluster = Cluster(progress_seconds=0.0).client().join("n1", cpu=1)
    run = cluster.submit(program([(VALUE, ()), (make, (0,)), (STEP, (1,)), (take, (2,))]), wait_for_nodes=True)

    def said() -> tuple[int, int]:
        cluster.hear("client", Ask(1, "runs"))
        [answer] = cluster.told(Answer, "client")
        [line] = answer.data
        assert line["done"] + line["running"] <= line["total"]
        return line["done"], line["total"]

    assert said() == (0, 2)
    cluster.done(0)
    assert said() == (0, 2)
    cluster.done(1)
    assert said() == (1, 2)
    cluster.lose("n1")
    assert said() == (0, 2)
    cluster.join("n1", cpu=1).join("n2", cpu=1)
    cluster.finish(run)
    assert said() == (2, 2)
    told = [message for _, message in cluster.said if isinstance(message, Progress)]
    assert told and all(message.total == 2 and message.done + message.running <= 2 for message in told)


def test_the_error_of_a_run_out_of_time_counts_likewise() -> None:
    """An upload is no function that was done."""
    cluster = Cluster().client().join("n1", cpu=1)
    cluster.submit(program([(VALUE, ()), (kind("use"), (0,))]), timeout=2.0)
    cluster.done(0)
    failed = [message for _, message in cluster.wait(3.0) if hasattr(message, "code")]
    assert [message.text for message in failed] == ["the run took longer than 2 s; 0 of 1 function was done"]
