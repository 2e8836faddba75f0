"""Reading a query, and showing where it was found."""

from __future__ import annotations

import pytest

from wa_relay.text.search_terms import SNIPPET, Word, fold, parse_query, snippet, words_of


@pytest.mark.parametrize(("text", "folded"), [("Adiós", "adios"), ("ÑANDÚ", "nandu"), ("Straße", "straße"), ("İ", "i")])
def test_case_and_accents_do_not_matter(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_words_are_runs_of_letters_and_digits_each_once() -> None:
    assert words_of("¿Precio, precio? $99/mes_y más… 👍") == ["precio", "99", "mes", "y", "mas"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Hola adiós", (Word("hola"), Word("adios"))),
        ("inter*", (Word("inter", is_prefix=True),)),
        ("foo-ba*", (Word("foo"), Word("ba", is_prefix=True))),
        ('a AND "b" NEAR(c) -d', (Word("a"), Word("and"), Word("b"), Word("near"), Word("c"), Word("d"))),
        ("* ' % ¿?", ()),
        ("hola HOLA", (Word("hola"),)),
        ("a*b", (Word("a"), Word("b"))),
    ],
)
def test_a_query_is_words_and_prefixes_and_nothing_else(query: str, words: tuple[Word, ...]) -> None:
    assert parse_query(query) == words


def test_a_short_text_is_shown_whole_on_one_line() -> None:
    assert snippet("Hola\n  Ana", (Word("ana"),)) == "Hola Ana"


def test_a_long_text_is_cut_around_the_first_word_that_was_found() -> None:
    text = "palabra " * 40 + "el PRECIO del plan " + "palabra " * 40
    shown = snippet(text, (Word("prec", is_prefix=True),))
    assert "el PRECIO del plan" in shown
    assert shown.startswith("…palabra")
    assert shown.endswith("palabra…")
    assert len(shown) <= SNIPPET + 2


def test_a_long_text_without_a_blank_is_cut_too() -> None:
    assert len(snippet("x" * 500, (Word("y"),))) == SNIPPET + 1
