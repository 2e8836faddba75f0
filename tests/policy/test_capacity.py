"""The limit that all agent sessions share adapts to what ElevenLabs admits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wa_relay.policy import AdaptiveLimit


def test_without_refusals_only_the_configured_most_limits_the_sessions() -> None:
    limit = AdaptiveLimit(3)
    assert limit.room == 3
    numbers = [limit.opened() for _ in range(3)]
    assert limit.room == 0
    limit.closed(numbers[0], admitted=True)
    assert (limit.room, limit.limit) == (1, 3)


def test_a_burst_of_refusals_leaves_no_more_than_what_was_admitted() -> None:
    limit = AdaptiveLimit(128)
    numbers = [limit.opened() for _ in range(40)]
    for number in numbers[5:]:
        limit.closed(number, admitted=False)
    assert (limit.limit, limit.room) == (5, 0)


def test_one_burst_lowers_the_limit_by_its_factor_once() -> None:
    limit = AdaptiveLimit(16)
    numbers = [limit.opened() for _ in range(16)]
    limit.closed(numbers[15], admitted=False)
    lowered = limit.limit
    limit.closed(numbers[14], admitted=False)
    assert lowered == limit.limit == 11


def test_answers_raise_the_limit_again_one_by_one() -> None:
    limit = AdaptiveLimit(16)
    limit.closed(limit.opened(), admitted=False)
    assert limit.limit == 1
    for _ in range(400):
        limit.closed(limit.opened(), admitted=True)
    assert limit.limit == 16


def test_a_session_that_ends_otherwise_changes_nothing() -> None:
    limit = AdaptiveLimit(4)
    limit.closed(limit.opened(), admitted=None)
    assert (limit.limit, limit.room) == (4, 4)


@given(st.lists(st.sampled_from(["open", True, False, None]), max_size=200))
def test_there_is_always_room_for_one_session_and_never_for_too_many(steps: list[object]) -> None:
    limit, numbers = AdaptiveLimit(8), []
    for step in steps:
        if step == "open":
            if limit.room:
                numbers.append(limit.opened())
        elif numbers:
            admitted = step if isinstance(step, bool) else None
            limit.closed(numbers.pop(), admitted=admitted)
        assert 1 <= limit.limit <= 8
        assert len(numbers) <= 8
        assert limit.room >= 1 or numbers
