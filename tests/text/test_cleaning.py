"""Cleaning, keywords, and visibility."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.text.cleaning import clean, keyword, visible


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("¡BAJA!", "baja"),
        ("baja 🙏", "baja"),
        ("Dar de baja.", "dar de baja"),
        ("BÁJA", "baja"),
        ("ba\u0301ja", "baja"),
        ("  dar   de\nBAJA  ", "dar de baja"),
        ("*BAJA*", "baja"),
        ("“Baja”…", "baja"),
        ("ＢＡＪＡ", "baja"),
        ("BAJA\u200b", "baja"),
        ("ba\u00adja", "baja"),
        ("STOP✋🏽", "stop"),
        ("no molestar!!!", "no molestar"),
        ("NIÑO", "nino"),
        ("🙏", ""),
        ("", ""),
    ],
)
def test_a_keyword_is_the_same_whatever_its_case_accents_and_punctuation(written: str, normal: str) -> None:
    assert keyword(written) == normal


@pytest.mark.parametrize("other", ["bajar", "no quiero baja", "trabaja", "baja 1", "ba ja"])
def test_a_keyword_is_the_whole_message(other: str) -> None:
    assert keyword(other) != keyword("BAJA")


@given(st.text())
def test_the_normal_form_is_its_own(text: str) -> None:
    assert keyword(keyword(text)) == keyword(text)


@pytest.mark.parametrize("text", ["a", "5", "$", "🙏", "👍🏽", "...", "—", "¿?", "*a*"])
def test_a_text_with_a_visible_character_is_visible(text: str) -> None:
    assert visible(text)


@pytest.mark.parametrize(
    "text", ["", " \n\t", "**", "```", "*_~`", "\u200b\u200d\ufeff", "\ufe0f", "\u2800", "\u3164", "\u115f"]
)
def test_blanks_marks_and_fillers_are_nothing(text: str) -> None:
    assert not visible(text)


def test_line_breaks_and_tabs_stay_other_control_characters_go() -> None:
    assert clean("a\r\nb\rc\td\x00\x07\x1b\x7f\x9fe") == "a\nb\nc\tde"


@given(st.text(st.characters()))
def test_a_clean_text_can_always_be_sent(text: str) -> None:
    clean(text).encode()
    assert clean(clean(text)) == clean(text)
