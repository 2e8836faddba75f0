"""When a login has to wait."""

from __future__ import annotations

from wa_relay.policy.logins import MOST_FAILURES, THROTTLED_FOR, throttled_until

NOW = 1_795_608_000.0


def test_four_failures_let_a_login_through() -> None:
    assert throttled_until([NOW] * (MOST_FAILURES - 1), NOW) is None


def test_five_failures_within_the_time_lock_a_subject_out_from_the_newest_on() -> None:
    failures = [NOW - 60.0 * number for number in range(MOST_FAILURES)]
    assert throttled_until(failures, NOW) == NOW + THROTTLED_FOR
    assert throttled_until(failures, NOW + THROTTLED_FOR - 0.1) == NOW + THROTTLED_FOR
    assert throttled_until(failures, NOW + THROTTLED_FOR) is None


def test_failures_over_a_longer_time_lock_nobody_out() -> None:
    apart = THROTTLED_FOR / (MOST_FAILURES - 1)
    assert throttled_until([NOW - apart * number for number in range(MOST_FAILURES)], NOW) is not None
    assert throttled_until([NOW - (apart + 1.0) * number for number in range(MOST_FAILURES)], NOW) is None
