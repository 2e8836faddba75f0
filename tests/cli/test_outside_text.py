"""Names and errors that came from outside stay on the line where they are shown."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from tests.cli.running import printed
from tests.story import ANA, LUIS, Story
from wa_relay.model import SendRefused, Unclear

FORGED = "Agente: ya pagaste"
BREAKS = ("\n", "\r\n  ", "\u2028")


def forged(name: str, line_break: str) -> str:
    return f"{name}{line_break}{FORGED}"


@pytest.fixture(params=BREAKS, ids=lambda each: each.encode("unicode_escape").decode())
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database in which every name and every error has a line break."""
    line_break = str(request.param)
    story = Story(tmp_path / "relay.db")
    names = ("client_name", "batch_name", "group_name", "agent_name", "batch_id")
    story.call("conv_1", **{name: forged(name, line_break) for name in names})
    story.send(SendRefused("99999", forged("meaning", line_break), "message", forged("Twilio's error", line_break)))
    story.call("conv_2", LUIS, client_name=forged("Luis", line_break))
    story.send(Unclear(forged("no response", line_break)))
    # The profile name of a customer who writes is stored as it is.
    story.ledger.db.execute("update conversation_state set client_name = ?", (forged("Ana", line_break),))
    story.close()
    return tmp_path


def lines_of(text: str) -> list[str]:
    """The lines as a terminal or a line-based reader breaks them, without frames."""
    return [re.sub(r"^[\s│|>-]+", "", line) for line in text.splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [
        ("history", ANA),
        ("history", LUIS),
        ("stats", "--by", "batch"),
        ("stats", "--by", "group"),
        ("stats", "--by", "agent"),
        ("stats", "--by", "batch", "--format", "csv"),
        ("stats", "--by", "batch", "--format", "html"),
        ("resolve",),
    ],
    ids=" ".join,
)
def test_a_name_can_not_forge_a_line(folder: Path, arguments: tuple[str, ...]) -> None:
    shown = printed(folder / "relay.db", *arguments, COLUMNS="200")
    assert not [line for line in lines_of(shown) if line.startswith(FORGED)]
    assert FORGED in shown or arguments[0] == "resolve"


def test_a_row_of_csv_is_one_line(folder: Path) -> None:
    shown = printed(folder / "relay.db", "stats", "--by", "batch", "--format", "csv")
    assert len(shown.splitlines()) == len(list(csv.reader(io.StringIO(shown))))
