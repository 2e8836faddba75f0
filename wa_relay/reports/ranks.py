"""The middle and the 95th percentile of many numbers, without sorting all of them. Pure.

A report over 5,000,000 messages has 2,300,000 lengths of turns: finding two ranks takes less time than sorting them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FEW = 20_000
"""That many are simply sorted."""

SAMPLE = 4_000
MARGIN = 160
"""Places of the sample on either side of a rank: five standard deviations of a median's place."""


def median(values: Sequence[float]) -> float | None:
    """The middle of the values, the mean of the middle two of an even number; None without any."""
    if not values:
        return None
    middle = _at_ranks(values, (len(values) - 1) // 2, len(values) // 2)
    return round(sum(middle) / len(middle), 3)


def percentile(values: Sequence[float], part: float) -> float | None:
    """The least of the values that `part` of them do not exceed (nearest rank); None without any."""
    if not values:
        return None
    rank = math.ceil(part * len(values)) - 1
    return round(_at_ranks(values, rank, rank)[0], 3)


def _at_ranks(values: Sequence[float], first: int, last: int) -> Sequence[float]:
    """Returns those that would be at the places `first` to `last` if all were sorted; the places are neighbours."""
    if len(values) > FEW:
        sample = sorted(values[:: len(values) // SAMPLE])
        low, high = around(sample, first / len(values))
        below = len([value for value in values if value < low])
        near = sorted([value for value in values if low <= value <= high])
        if below <= first and last < below + len(near):
            return near[first - below : last - below + 1]
    # Few values, or a sample that is unlike the rest.
    return sorted(values)[first : last + 1]


def around(sample: Sequence[float], part: float) -> tuple[float, float]:
    """Returns two values of a sorted sample between which the value at that part of the whole almost surely lies."""
    place = int(part * len(sample))
    return sample[max(0, place - MARGIN)], sample[min(len(sample) - 1, place + MARGIN)]
