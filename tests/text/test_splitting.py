"""Long answers in parts: each fits, nothing is lost, nothing that belongs together is divided."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.text.graphemes import divides, shorten
from wa_relay.text.splitting import split, units

FAMILY, WAVE, FLAG, KEYCAP = "👨‍👩‍👧‍👦", "👋🏽", "🇨🇴", "1️⃣"
SCOTLAND = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct") + "\U000e007f"
ACCENTED = "e\u0301", "n\u0303", "क\u0941", "\u1112\u1161\u11ab", "❤️‍🔥"
WHOLES = (FAMILY, WAVE, FLAG, KEYCAP, SCOTLAND, *ACCENTED)
WORDS = st.sampled_from(("hola", "¿qué", "tal?", "Sí.", "*negrita*", "_y_", "https://x.co/a_b", "\n", "\n\n", *WHOLES))
TEXTS = st.one_of(
    st.text(max_size=600),
    st.lists(WORDS, max_size=200).map(" ".join),
    st.lists(st.sampled_from(WHOLES), max_size=80).map("".join),
)
MARKED = "*_~`"


def bare(text: str) -> str:
    """A text without blanks and marks, which no cut may remove or change."""
    return "".join(character for character in text if not character.isspace() and character not in MARKED)


@given(TEXTS, st.integers(20, 200))
def test_every_part_fits_and_is_something(text: str, limit: int) -> None:
    for part in split(text, limit):
        assert part.strip()
        assert len(part.encode("utf-16-le", "surrogatepass")) // 2 <= limit


@given(TEXTS, st.integers(20, 200))
def test_nothing_is_lost_but_blanks_at_the_cuts(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert bare("".join(parts)) == bare(text)
    if not any(mark in text for mark in MARKED):
        rest = text.strip()
        for part in parts:
            assert rest.startswith(part)
            rest = rest[len(part) :].lstrip()
        assert rest == ""


@given(st.lists(st.sampled_from(WHOLES), min_size=1, max_size=120), st.integers(40, 90))
def test_no_emoji_flag_or_accent_is_divided(wholes: list[str], limit: int) -> None:
    left = list(wholes)
    for part in split("".join(wholes), limit):
        taken = ""
        while len(taken) < len(part):
            taken += left.pop(0)
        assert taken == part
    assert left == []


@pytest.mark.parametrize("limit", range(40, 56))
@pytest.mark.parametrize("whole", WHOLES)
def test_a_row_of_the_same_is_cut_between_two(whole: str, limit: int) -> None:
    for part in split("a" + whole * 60, limit):
        assert part.removeprefix("a").replace(whole, "") == ""


@given(st.text(max_size=300), st.integers(20, 60))
def test_no_cut_leaves_an_accent_at_the_beginning_of_a_part(text: str, limit: int) -> None:
    text = re.sub(r"[\u0300-\ufaff]", "", text)
    for part in split("á".join(text) + "fin", limit)[1:]:
        assert divides("x" + part, 1)


@pytest.mark.parametrize("limit", [40, 100, 1500])
@pytest.mark.parametrize("before", ["", "mira ", "palabra " * 20, "日本" * 12, "a" * 45])
def test_an_address_that_fits_stays_whole(before: str, limit: int) -> None:
    address = "https://x.co/" + "a_b" * 5
    parts = split(f"{before}{address} y otra vez {before}HTTPS://X.CO/{'c' * 15} fin", limit)
    if "a" * 45 not in before:
        assert sum(address in part for part in parts) == 1
        assert sum(f"HTTPS://X.CO/{'c' * 15}" in part for part in parts) == 1
    assert all(units(part) <= limit for part in parts)


def test_an_address_longer_than_a_part_is_cut_and_nothing_of_it_is_lost() -> None:
    address = "https://x.co/" + "abc" * 1000
    parts = split("mira " + address, 1500)
    assert parts[0].startswith("mira")
    assert "".join(parts).replace("mira ", "").replace("mira", "") == address


@pytest.mark.parametrize("mark", ["*", "_", "~", "`", "```"])
def test_a_mark_that_a_cut_divides_is_closed_before_and_opened_after(mark: str) -> None:
    parts = split(f"Antes {mark}{'palabra ' * 30}fin{mark} después", 60)
    assert len(parts) > 4
    assert parts[0].startswith(f"Antes {mark}palabra")
    assert parts[0].endswith(f"palabra{mark}")
    for part in parts[1:-1]:
        assert part.startswith(f"{mark}palabra")
        assert part.endswith(f"palabra{mark}")
    assert parts[-1].endswith(f"fin{mark} después")


def test_marks_within_marks_are_closed_from_within() -> None:
    first, second, *_ = split(f"*uno _{'dos ' * 40}tres_ cuatro*", 80)
    assert first.endswith("dos_*")
    assert second.startswith("*_dos")


ADDRESS = re.compile(r"https://x\.co/[a-z]*")


@given(
    st.lists(st.sampled_from(("hola", "sí.", "👍", "https://x.co/planes", "https://x.co/a", "\n")), max_size=60),
    st.sampled_from("*_~`"),
    st.integers(40, 90),
)
def test_no_cut_makes_a_mark_touch_an_address(words: list[str], mark: str, limit: int) -> None:
    text = f"{mark}Mira {' '.join(words)} fin{mark}"
    parts = split(text, limit)
    assert [found for part in parts for found in ADDRESS.findall(part)] == ADDRESS.findall(text)
    for part in parts:
        for found in ADDRESS.finditer(part):
            assert part[found.start() - 1 : found.start()] != mark, parts
            assert part[found.end() : found.end() + 1] != mark, parts


def test_a_cut_in_code_keeps_its_marks_on_lines_of_their_own_beside_an_address() -> None:
    parts = split("```" + "https://x.co/planes " * 6 + "```", 60)
    assert parts[0] == "```https://x.co/planes https://x.co/planes\n```"
    assert parts[1].startswith("```\nhttps://x.co/planes")


@pytest.mark.parametrize("mark", ["*", "_", "```"])
@pytest.mark.parametrize("length", range(30, 60))
def test_the_last_part_fits_with_a_mark_that_is_opened_again_before_an_address(mark: str, length: int) -> None:
    parts = split(f"{mark}{'palabra ' * 9}https://x.co/planes {'a' * length}{mark}", 60)
    assert max(map(units, parts)) <= 60, parts


@pytest.mark.parametrize("lone", ["5 * 3 ", "*sin cierre ", "snake_case ", "~5 ", "¯\\_(ツ) ", "* "])
def test_a_lone_mark_is_a_character_and_is_neither_closed_nor_opened(lone: str) -> None:
    text = lone + "palabra " * 40
    assert " ".join(split(text, 60)) == text.strip()


def test_marks_in_an_address_open_nothing() -> None:
    parts = split("https://x.co/_a/*b y " + "palabra " * 30 + "https://x.co/b_/c* fin", 60)
    assert " ".join(parts).count("_") == 2


def test_a_mark_does_not_reach_over_a_blank_line_but_code_does() -> None:
    text = "*uno" + " dos" * 30 + "\n\n" + "tres " * 30 + "cuatro*"
    assert "".join(split(text, 60)).count("*") == 2
    assert "".join(split(text.replace("*", "```"), 60)).count("```") > 2


def test_an_asterisk_within_a_word_is_not_a_mark() -> None:
    assert "".join(split("2*3 " + "palabra " * 30 + "4*5", 60)).count("*") == 2


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Uno dos tres cuatro.\n\nCinco seis.\nSiete. Ocho nueve diez once", "Uno dos tres cuatro."),
        ("Uno dos tres cuatro\nCinco. Seis siete ocho nueve diez once", "Uno dos tres cuatro"),
        ("Uno dos. Tres cuatro. Cinco seis siete ocho nueve diez", "Uno dos. Tres cuatro."),
        ("Uno dos tres cuatro cinco seis siete ocho nueve diez", "Uno dos tres cuatro cinco seis siete"),
    ],
)
def test_the_cut_is_at_a_paragraph_else_a_line_else_a_sentence_else_a_word(text: str, first: str) -> None:
    assert split(text, 38)[0] == first


def test_a_short_text_is_one_part_without_its_outer_blanks() -> None:
    assert split("  Hola,\n  Ana \n", 1500) == ["Hola,\n  Ana"]
    assert split(" \n\t ", 1500) == []
    assert split("a" * 1500, 1500) == ["a" * 1500]
    assert len(split("a" * 1501, 1500)) == 2
    assert len(split("👍" * 751, 1500)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "\n".join(["ab"] * 50_000),
        "a" + "\n" * 100_000 + "b",
        "a" + "\u0301" * 100_000,
        FLAG * 12_500,
        FAMILY * 9_000,
        "*a " * 33_000,
        "*" * 100_000,
        "`*_~" * 25_000,
        "https://x.co/" + "a" * 100_000,
        "https://x.co/a " * 6_600,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_it_takes_no_time_whatever_is_written(text: str) -> None:
    begun = time.process_time()
    parts = split(text, 1500)
    assert time.process_time() - begun < 1.0
    assert bare("".join(parts)) == bare(text)


def test_a_text_is_shortened_between_what_is_seen_as_one_character() -> None:
    assert shorten("ab" + FAMILY, 4) == "ab"
    assert shorten("ab", 2) == "ab"
    assert shorten("a" + "\u0301" * 9, 5) == "a" + "\u0301" * 4
