"""`wa-relay why`: every decision about a customer, as it was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import printed, run
from tests.story import ANA, EVA, LUIS, Story
from wa_relay.ledger import operator_decisions
from wa_relay.model import Unclear


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story_config = Story(tmp_path / "relay.db")
    yield story_config
    story_config.close()


def decisions(story: Story, phone: str = ANA) -> list[dict[str, Any]]:
    """Returns the output of `why --json`."""
    found: list[dict[str, Any]] = json.loads(printed(story.path, "why", phone, "--json"))
    return found


def test_a_decision_has_its_time_its_reason_its_rule_and_what_it_is_about(story: Story) -> None:
    story.call("conv_1", outcome="voicemail")
    assert decisions(story) == [
        {
            "at": "2026-11-18T11:06:40Z",
            "event": "call",
            "reason": "outcome_not_followed",
            "detail": "calls with this outcome have no opening",
            "call": "conv_1",
            "message_id": None,
            "status": None,
            "error_code": None,
        }
    ]


def test_a_messages_whole_life_is_there_oldest_first(story: Story) -> None:
    story.call("conv_1")
    ((_, sid),) = story.send()
    story.now += 5
    story.receipt(sid, "failed", "63024")
    about = [(each["event"], each["status"], each["reason"], each["error_code"]) for each in decisions(story)]
    assert about == [
        ("message", "queued", None, None),
        ("call", None, None, None),
        ("send", "sending", None, None),
        ("send", "sent", None, None),
        ("receipt", "failed", "undelivered", "63024"),
    ]
    assert all(each["detail"] for each in decisions(story))


def test_a_turn_shows_that_it_was_asked_and_how_it_ended(story: Story) -> None:
    story.call("conv_1")
    story.send()
    story.write("Hola")
    story.answer()
    found = [(each["event"], each["reason"]) for each in decisions(story)]
    assert ("turn", "asked") in found
    assert ("turn", "failed") in found
    assert ("fallback", "turn_failed") in found


def test_the_person_who_acted_is_named(story: Story) -> None:
    story.call("conv_1")
    story.send(Unclear("read timeout"))
    operator_decisions.resolve(story.ledger, 1, "cancel", None, "luis", story.now)
    assert decisions(story)[-1]["detail"] == "cancelled by luis"


def test_a_pause_is_shown_to_those_whose_opening_waited_meanwhile(story: Story) -> None:
    story.call("conv_1")
    story.now += 1
    operator_decisions.pause(story.ledger, "luis", story.now)
    story.now += 10
    operator_decisions.resume(story.ledger, "luis", story.now)
    story.now += 10
    story.call("conv_2", EVA)
    waited = [
        (each["event"], each["reason"], each["detail"]) for each in decisions(story) if each["event"] == "operator"
    ]
    assert waited == [
        ("operator", "pause", "openings are paused, by luis"),
        ("operator", "resume", "openings go out again, by luis"),
    ]
    assert [each for each in decisions(story, EVA) if each["event"] == "operator"] == []


def test_people_read_it_line_by_line(story: Story) -> None:
    story.call("conv_1")
    shown = printed(story.path, "why", "+57", "313", "853-9155").splitlines()
    assert shown[0] == "Wednesday 18 November 2026"
    assert "06:06:40  call conv_1" in shown
    assert all(len(line) <= 80 for line in shown)


def test_an_unknown_customer_is_named(story: Story) -> None:
    done = run(story.path, "why", LUIS)
    assert done.returncode == 1
    assert b"there is no call and no message with +573001112233" in done.stderr
