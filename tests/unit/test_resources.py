"""Amounts are exact, and what no function can ask for is refused in one sentence that names the resource."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.resources import SCALE, STEPS_MAX, amounts, costs, describe, offered, shown, split


@pytest.mark.parametrize(("said", "steps"), [
    (0.1 + 0.2, 3000), (0.1, 1000), ("0.1", 1000), (0.29, 2900), (1.1, 11000), (3, 30000), ("2.5", 25000), (".5", 5000), (1e-4, 1),
    (1e-9, 1), ("0.00001", 1), (0.7 - 0.4, 3000), (1 - 0.9, 1000), ("0.99999", 9999), (1 / 6, 1666),
    (123456789.1234, 1234567891234), (0, 0), (0.0, 0), (-0.0, 0), ("0", 0),
])
def test_amounts_do_not_drift(said: Any, steps: int) -> None:
    """Ints, floats and decimal strings become the integer that a person would expect."""
    assert amounts({"license": said}) == ((("license", steps),) if steps else ())


@pytest.mark.parametrize("name", ["memory", "gpu_memory"])
@pytest.mark.parametrize(("said", "steps"), [
    ("2 GiB", 21_474_836), ("500MB", 5_000_000), ("1 kb", 10), ("1TiB", 10_995_116_277), (1000, 10_000_000), ("1000", 10_000_000),
    ("0.5 gb", 5_000_000),
])
def test_memory_is_in_megabytes_or_a_size(name: str, said: Any, steps: int) -> None:
    """Plain numbers are MB; sizes are exact to a ten thousandth of one."""
    assert amounts({name: said}) == ((name, steps),)


@given(st.integers(0, STEPS_MAX // 10))
def test_every_amount_is_said_as_it_is_read(steps: int) -> None:
    """What is shown to people, read again, is the same amount, as text and as a float of few digits."""
    assert dict(amounts({"x": shown(steps)})).get("x", 0) == steps
    assert Fraction(shown(steps)) == Fraction(steps, SCALE)


@given(st.integers(1, 1000))
def test_equal_parts_of_a_whole_fit_into_it(parts: int) -> None:
    """Six sixths of a GPU were more than one GPU, and four times 10 MiB more than 40 MiB, by a step for each."""
    assert dict(amounts({"gpu": 1 / parts}))["gpu"] * parts <= SCALE
    assert dict(amounts({"memory": "10 MiB"}))["memory"] * parts <= dict(amounts({"memory": f"{10 * parts} MiB"}))["memory"]


@given(st.lists(st.decimals(0, 100, places=4, allow_nan=False), max_size=20))
def test_sums_of_amounts_are_exact(parts: list[Any]) -> None:
    """Adding amounts is adding integers: the sum is the amount of the sum."""
    together = sum(dict(amounts({"x": float(part)})).get("x", 0) for part in parts)

    assert together == dict(amounts({"x": str(sum(parts))})).get("x", 0)


@pytest.mark.parametrize(("cost", "text"), [
    ({"cpu": -1}, "cpu=-1 is negative; an amount is zero or more"),
    ({"cpu": float("nan")}, "cpu=nan is not a finite amount"),
    ({"license": float("inf")}, "license=inf is not a finite amount"),
    ({"memory": 1e15}, "memory=1000000000000000.0 is absurd; at most 900,719,925,474 of anything can be counted"),
    ({"memory": 10**5000}, "an amount of 5001 digits of memory is absurd; at most"),
    ({"cpu": True}, "cpu=True is not an amount; write a number"),
    ({"cpu": "2 GiB"}, "cpu='2 GiB' is not an amount; write a number"),
    ({"gpu_memory": "8 apples"}, "gpu_memory='8 apples' is not an amount; write a number or a size such as \"2 GiB\""),
    ({"gpu": 1.5}, "gpu=1.5: a part of a GPU never straddles two; ask for less than one, or for whole ones"),
    ({"gpu:a100": 2.25}, "gpu:a100=2.25: a part of a GPU never straddles two; ask for less than one, or for whole ones"),
    ({"gpu": 1, "gpu:a100": 1}, "it asks for gpu and gpu:a100; a function gets GPUs of one sort, so name one of them"),
    ({"gpu:": 1}, '\'gpu:\' names no resource; write what comes after the colon, such as "gpu:a100"'),
    ({"cluster:": 1}, '\'cluster:\' names no resource; write what comes after the colon, such as "cluster:license"'),
    ([{"gpu": 1}, {"cpu": 8}, {"gpu": 1.0}], "two of its alternatives are equal (gpu=1); leave one out"),
    ({"license": "-2"}, "license='-2' is negative; an amount is zero or more"),
    ({"license": "1e300"}, "license='1e300' is not an amount; write a number"),
    ({"memory": "1" * 5000}, "an amount of 5000 digits of memory is absurd; at most"),
    ({"license": 1e300}, "license=1e+300 is absurd; at most 900,719,925,474 of anything can be counted"),
    ({"license": 2**53}, "is absurd"),
    ({"memory": "12 XB"}, "memory='12 XB' is not an amount; write a number or a size such as \"2 GiB\""),
    ({"gpu": 0.5, "gpu_memory": 0}, "gpu_memory=0 beside gpu=0.5: what runs on a GPU takes some of its memory; say how much, or leave it "
                                    "out"),
    ([{"gpu": 1}, {"cpu": 0}], "alternative 2 of 2, {'cpu': 0}, takes nothing, which there is always room for; say what it takes, or leave "
                               "out the others"),
    ([{}, {"cpu": 8}], "alternative 1 of 2, {}, takes nothing"),
    ([], "a cost is a mapping such as {'cpu': 1}, or a list of such alternatives, not []"),
    (["gpu"], "a cost is a mapping such as {'cpu': 1}, not 'gpu'"),
    ({"\0": 1}, "'\\x00' names no resource; use letters that can be printed"),
])
def test_what_nobody_can_ask_for_is_refused(cost: Any, text: str) -> None:
    """One error each, which names the resource."""
    with pytest.raises(ValueError) as caught:
        costs(cost)
    assert text in str(caught.value)


def test_numbers_of_other_libraries_are_amounts() -> None:
    """Of numpy, and Decimals: what code works out is often one of these."""
    said: Any = {"cpu": np.int64(2), "license": np.float32(0.5), "memory": Decimal("0.1")}
    assert costs(said) == costs({"cpu": 2, "license": 0.5, "memory": 0.1})
    assert costs({"cpu": Fraction(1, 4)}) == costs({"cpu": 0.25})
    several: list[Any] = [np.bool_(True), np.arange(2), Decimal("nan"), Decimal("snan"), 1j, Fraction(10**400), Fraction(-(10**400))]
    for wrong in several:
        with pytest.raises(ValueError, match=r"amount.*cpu|cpu=.*amount"):
            costs({"cpu": wrong})


def test_zero_takes_none_of_it() -> None:
    """An amount of zero is as if it were not said, also beside other sorts of GPUs; and a function may take nothing at all."""
    assert costs({"gpu": 0, "gpu:a100": 1, "cpu": 0}) == ((("gpu:a100", SCALE),),)
    assert costs({"cpu": 0, "gpu": 0, "gpu_memory": 0}) == costs({}) == costs([{"cpu": 0}]) == ((),)


@pytest.mark.parametrize("name", ["cpu", "memory", "license", "gpu_memory"])
def test_nobody_offers_nothing(name: str) -> None:
    """In an offer zero can only be a mistake, except that a node may offer none of its GPUs."""
    assert offered({"gpu": 0, "gpu:a100": 0, name: 2}) == amounts({name: 2})
    with pytest.raises(ValueError, match=f"{name}=0: nothing can run on none of it; say how much there is, or leave it out"):
        offered({"gpu": 2, name: 0})


def test_no_node_offers_more_cores_than_any_machine_has() -> None:
    """It would start a process for each."""
    assert offered({"cpu": 10_000}) == amounts({"cpu": 10_000})
    with pytest.raises(ValueError, match="cpu=1000000000 is absurd; a node has a process for each of its cores and GPUs, and at most 10"):
        offered({"cpu": 10**9})
    with pytest.raises(ValueError, match="gpu:a=10001 is absurd"):
        offered({"gpu:a": 10_001})


def test_what_the_cluster_counts_is_told_from_what_a_node_has() -> None:
    """Names that start with "cluster:" are the coordinator's."""
    cost, = costs({"cpu": 1, "cluster:license": 2})

    assert split(cost) == ((("cpu", SCALE),), (("license", 2 * SCALE),))
    assert describe(cost) == "cluster:license=2, cpu=1"
