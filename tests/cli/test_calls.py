"""`wa-relay calls` and `wa-relay search` as people and programs run them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import printed, run
from tests.story import ANA, LUIS, Story
from wa_relay.ledger import indexing


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    driven = Story(tmp_path / "relay.db")
    driven.call("conv_1", client_name="Ana García", batch_id="b1", batch_name="Octubre")
    driven.call("conv_2", LUIS, outcome="voicemail", batch_id="b2")
    driven.send()
    driven.now += 60.0
    driven.write("¿Cuál es el PRECIO\n\x1b[31m del plan?")
    while indexing.index_more(driven.ledger, 100):
        pass
    yield driven
    driven.close()


def test_the_table_has_a_line_for_each_call_and_their_number(story: Story) -> None:
    shown = printed(story.path, "calls", COLUMNS="160")
    assert [line.split()[2] for line in shown.splitlines() if line.startswith("2026-")] == [ANA, LUIS]
    assert "skipped: outcome_not_followed" in shown
    assert shown.splitlines()[-1].strip() == "2 calls"


def test_json_is_an_array_and_an_empty_one_too(story: Story) -> None:
    for arguments in (("--json",), ("--format", "json")):
        found = json.loads(printed(story.path, "calls", *arguments))
        assert [call["elevenlabs_conversation_id"] for call in found] == ["conv_1", "conv_2"]
    assert json.loads(printed(story.path, "calls", "--json", "--batch", "none")) == []


def test_csv_has_a_header_and_a_row_a_call(story: Story) -> None:
    header, *rows = csv.reader(io.StringIO(printed(story.path, "calls", "--format", "csv", "--batch", "b1")))
    assert (header[:3], len(rows)) == (["elevenlabs_conversation_id", "phone_number", "client_name"], 1)


@pytest.mark.parametrize("arguments", [("--since", "nonsense"), ("--json", "--format", "csv"), ("--format", "html")])
def test_wrong_usage_of_calls_ends_with_2(story: Story, arguments: tuple[str, ...]) -> None:
    assert run(story.path, "calls", *arguments).returncode == 2


def test_a_message_is_found_without_accents_and_shown_harmlessly(story: Story) -> None:
    shown = printed(story.path, "search", "precio", "cual")
    assert "2026-11-18 06:07  ← +573138539155 Ana García  (message 2)" in shown
    assert "¿Cuál es el PRECIO" in shown
    assert "\x1b" not in shown


def test_search_prints_json(story: Story) -> None:
    (found,) = json.loads(printed(story.path, "search", "PREC*", "--json"))
    assert list(found) == ["phone_number", "client_name", "message_id", "direction", "sent_at", "snippet"]
    assert (found["phone_number"], found["direction"], found["message_id"]) == (ANA, "inbound", 2)


def test_nothing_found_is_a_success(story: Story) -> None:
    assert json.loads(printed(story.path, "search", "factura", "--json")) == []
    assert "no message" in printed(story.path, "search", "factura")


@pytest.mark.parametrize("arguments", [(), ("¿?",), ("hola", "--limit", "0")])
def test_wrong_usage_of_search_ends_with_2(story: Story, arguments: tuple[str, ...]) -> None:
    assert run(story.path, "search", *arguments).returncode == 2


@pytest.mark.parametrize("command", [("calls",), ("search", "hola"), ("tail",)])
def test_without_a_database_they_end_with_74(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert run(tmp_path / "none.db", *command).returncode == 74


def test_tail_needs_a_daemon(story: Story) -> None:
    done = run(story.path, "tail")
    assert done.returncode == 75
    assert b"no daemon is running" in done.stderr
