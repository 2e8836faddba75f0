"""The ranks of many numbers are those that sorting them finds."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.reports.ranks import FEW, SAMPLE, median, percentile

MANY = 3 * FEW + 7
SHAPES: dict[str, Callable[[int, random.Random], float]] = {
    "in no order": lambda _, dice: dice.expovariate(0.1),
    "rising": lambda at, _: float(at),
    "falling": lambda at, _: -float(at),
    "all the same": lambda _at, _dice: 2.5,
    "two values": lambda at, _: float(at % 2),
    "one far away": lambda at, _: 1e9 if at == 0 else 1.0,
    "a sample unlike the rest": lambda at, _: 0.0 if at % (MANY // SAMPLE) == 0 else float(at),
}


@pytest.mark.parametrize("count", [MANY, MANY + 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_ranks_of_many_values_are_exact_whatever_their_order(shape: str, count: int) -> None:
    dice = random.Random(1)
    values = [SHAPES[shape](at, dice) for at in range(count)]
    assert median(values) == round(statistics.median(values), 3)
    for part in (0.95, 0.5, 1.0):
        assert percentile(values, part) == round(sorted(values)[math.ceil(part * count) - 1], 3)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_the_ranks_of_few_values_are_exact(values: list[float]) -> None:
    assert median(values) == round(statistics.median(values), 3)
    assert percentile(values, 0.95) == round(sorted(values)[math.ceil(0.95 * len(values)) - 1], 3)


def test_nothing_has_no_ranks() -> None:
    assert median([]) is None
    assert percentile([], 0.95) is None
