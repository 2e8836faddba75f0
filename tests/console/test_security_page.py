"""docs/security.md: each test that it names exists, and the console's messages are whole."""

from __future__ import annotations

import re
import string
from pathlib import Path

from wa_relay.console.messages import Messages

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"


def test_each_test_that_the_page_names_exists() -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^(?:async )?def (test_\w+)", written, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 40
    assert named <= known


def test_forty_attacks_are_listed() -> None:
    rows = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 41))


def test_both_languages_have_the_same_messages_with_the_same_values() -> None:
    spanish, english = Messages.load("es"), Messages.load("en")
    assert spanish.keys == english.keys
    for key in spanish.keys - {"author.customer"}:
        texts = [messages(key) for messages in (spanish, english)]
        values = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in texts]
        assert all(texts), key
        assert values[0] == values[1], key
