"""Customers' texts do no harm to a terminal and to a spreadsheet."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.text.escaping import csv_cell, one_line, printable


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mrojo\x1b[0m", "\\x1b[31mrojo\\x1b[0m"),
        ("\x1b]0;título\x07", "\\x1b]0;título\\x07"),
        ("a\x9b2J", "a\\x9b2J"),
        ("a\rb", "a\\x0db"),
        ("a\tb", "a    b"),
        ("uno\ndos", "uno\ndos"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("a\u2028b", "a\\u2028b"),
        ("a\U000e0041", "a\\U000e0041"),
        ("a\ud800", "a\\ud800"),
        ("👩‍👧 hola", "👩‍👧 hola"),
        ("a\u200db", "a\\u200db"),
        ("¡Mañana! 👍🏽", "¡Mañana! 👍🏽"),
    ],
)
def test_control_characters_for_a_terminal_are_shown_as_escapes(written: str, shown: str) -> None:
    assert printable(written) == shown


@given(st.text(st.characters()))
def test_nothing_that_is_printed_is_obeyed_or_fails(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert all(character == "\n" or unicodedata.category(character) != "Cc" for character in shown)
    assert printable(shown) == shown


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029", "\n\n  "])
def test_a_name_with_line_breaks_is_shown_on_one_line(line_break: str) -> None:
    assert one_line(f"Ana{line_break}Agente: ya pagaste").split() == ["Ana", "Agente:", "ya", "pagaste"]


@given(st.text(st.characters()))
def test_one_line_is_one_line_whatever_is_in_it(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_begins_like_a_formula_gets_an_apostrophe(start: str) -> None:
    assert csv_cell(f"{start}1+1") == f"'{start}1+1"


@given(st.text(st.characters(exclude_characters="\x00")))
def test_a_cell_is_read_back_as_it_was_written_but_for_the_apostrophe(text: str) -> None:
    written = io.StringIO()
    csv.writer(written).writerow([csv_cell(text)])
    (row,) = csv.reader(io.StringIO(written.getvalue(), newline=""))
    assert row[0] in (text, "'" + text)
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))
