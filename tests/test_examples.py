"""The command lines of the documents that only read are run, on a database that has the customer whom they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.whole import run
from tests.story import NOW, Story
from tests.test_docs import command_lines

SAFE = {"history", "stats", "why", "inbox", "calls", "search", "context", "opt-out export", "opt-out list", "retention"}
"""The commands that change nothing, ask no service and need no daemon."""

LEFT_OUT = {"--follow", "--output", "--config"}
CUSTOMERS = ("+573138539155", "+573001234567")


def examples() -> list[list[str]]:
    """Each line once, without its program and without options that never end or write to a file."""
    found: dict[str, list[str]] = {}
    for _, words in command_lines():
        arguments = words[1:]
        name = " ".join(arguments[:2]) if arguments[:1] == ["opt-out"] else " ".join(arguments[:1])
        if name in SAFE and not LEFT_OUT & set(arguments):
            found[re.sub(r"(?<=\d) (?=\d)", "", " ".join(arguments))] = arguments
    return list(found.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("examples")
    story = Story(made / "wa-relay.db")
    for number, phone in enumerate(CUSTOMERS):
        story.call(f"conv_{number}", phone, agent_id="agent_4701k8fcsvhaes5s1h6tw894g98s", variables={"name": "Ana"})
        story.send()
        story.now = NOW + 10 * number
        story.write("¿Cuál es el precio del plan?", phone)
    story.close()
    return made


@pytest.mark.parametrize("arguments", examples(), ids=" ".join)
def test_an_example_of_the_documents_runs(folder: Path, arguments: list[str]) -> None:
    code, _, err = run(folder, *arguments)
    assert (code, err) == (0, "")


def test_enough_examples_are_run() -> None:
    assert len(examples()) >= 9
