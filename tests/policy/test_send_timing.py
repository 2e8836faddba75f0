"""The time for which Twilio may keep a message waiting."""

from __future__ import annotations

from dataclasses import replace
from datetime import time

import pytest

from tests.ledger.conftest import NOW, PHONE, RULES
from wa_relay import policy

# NOW is 06:06:40 in the rules' time zone.
QUIET = replace(RULES, quiet=(time(21), time(8)))
BRIEF = replace(RULES, quiet=(time(6, 30), time(6)))


@pytest.mark.parametrize(
    ("rules", "now", "seconds"),
    [
        (RULES, NOW, 14_400),
        (QUIET, NOW + 2 * 3600, 14_400),
        (QUIET, NOW + 12 * 3600, 10_400),
        (QUIET, NOW + 14 * 3600 + 3170, 60),
        (BRIEF, NOW, 1400),
    ],
)
def test_an_opening_may_wait_until_its_permitted_hours_end(rules: policy.Rules, now: float, seconds: int) -> None:
    found = policy.validity("opening", template=True, window_ends_at=None, phone=PHONE, rules=rules, now=now)
    assert found == seconds


@pytest.mark.parametrize("kind", ["reply", "notice", "human"])
@pytest.mark.parametrize(
    ("rest", "template", "seconds"),
    [
        (86_400.0, False, 1800),
        (1800.0, False, 1800),
        (900.5, False, 900),
        (0.2, False, 1),
        (-5.0, False, 1800),
        (None, False, 1800),
        (60.0, True, 1800),
    ],
)
def test_everything_else_may_wait_for_the_rest_of_the_window(
    kind: str, rest: float | None, template: bool, seconds: int
) -> None:
    ends = None if rest is None else NOW + rest
    found = policy.validity(kind, template=template, window_ends_at=ends, phone=PHONE, rules=RULES, now=NOW)
    assert found == seconds
