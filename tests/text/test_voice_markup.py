"""Markup for a voice is not shown; ordinary brackets and comparisons are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.text.markdown import to_whatsapp
from wa_relay.text.voice_markup import without_voice_marks


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[laughs] ¡Claro que sí!", "¡Claro que sí!"),
        ("¡Claro! [laughs]", "¡Claro!"),
        ("Hola [excited], Ana", "Hola, Ana"),
        ("Hola [laughs softly] Ana", "Hola Ana"),
        ("[Excited][whispers] Hola", "Hola"),
        ("[pausa larga] Bueno", "Bueno"),
        ("[Se ríe] Bueno", "Bueno"),
        ("[con entusiasmo] ¡Sí!", "¡Sí!"),
        ("[strong French accent] Oui", "Oui"),
        ("[tono de asombro] ¡Oh!", "¡Oh!"),
        ("[clears throat] Mire", "Mire"),
        ("**[excited]** Hola", "Hola"),
        ("Uno\n[laughs]\ndos", "Uno\ndos"),
        ("Uno\n\n[laughs]\n\ndos", "Uno\n\ndos"),
        ("[laughs]", ""),
        ('Cuesta <break time="1s"/> $99', "Cuesta $99"),
        ('Cuesta<break time="1s" />$99', "Cuesta$99"),
        ("<speak>Hola</speak>", "Hola"),
        ('<prosody rate="slow">Despacio</prosody>, por favor', "Despacio, por favor"),
        ('Marque <say-as interpret-as="digits">123</say-as>', "Marque 123"),
        ('<mstts:express-as style="cheerful">Hola</mstts:express-as>', "Hola"),
        ("<laugh/> Hola <Sigh>", "Hola"),
        ("Una <b>gran</b> <i>oferta</i>", "Una gran oferta"),
        ("Uno<br>dos<br/>tres", "Uno\ndos\ntres"),
        ("<p>Uno</p><p>Dos</p>", "Uno\n\nDos"),
        ("<ul><li>uno</li><li>dos</li></ul>", "- uno\n\n- dos"),
        ('Mira <a href="https://x.co/a?b=1&amp;c=2">los planes</a>', "Mira los planes: https://x.co/a?b=1&c=2"),
        ("a<!-- nota -->b", "ab"),
        ("Hola <script>alert('x')</script>Ana", "Hola Ana"),
        ("Ho<b>la</b>", "Hola"),
    ],
)
def test_markup_for_a_voice_is_removed(written: str, shown: str) -> None:
    assert to_whatsapp(written) == shown


@pytest.mark.parametrize(
    "text",
    [
        "[1] y [2, 3]",
        "Hola [Nombre]",
        "Escribe [tu correo]",
        "[x] hecho [ ] pendiente",
        "[Ver planes] abajo",
        "[feliz cumpleaños] para todos",
        "[alta] o [baja]",
        "[Bogotá, 10 a.m.]",
        "3 < 4 > 2 y a<b",
        "<nombre> y <su correo>",
        "`<b>` y `[laughs]`",
        "a <- b -> c",
        "<3",
    ],
)
def test_ordinary_brackets_stay(text: str) -> None:
    assert to_whatsapp(text) == text


def test_code_keeps_its_tags() -> None:
    assert to_whatsapp("```html\n<b>x</b>\n[laughs]\n```") == "```<b>x</b>\n[laughs]```"


def test_a_links_text_stays_although_it_is_a_cue() -> None:
    assert to_whatsapp("[Feliz](https://x.co/f)") == "Feliz: https://x.co/f"


@given(st.text(alphabet="ab <>/[]laughs*\n!-`=\"'", max_size=80))
def test_no_gap_is_left_and_twice_is_once(text: str) -> None:
    once = without_voice_marks(text)
    assert "\x00" not in once


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "<" * 100_000,
        "<a" * 50_000,
        "<b>" * 33_000,
        "[laughs]" * 12_000,
        "`" * 100_001,
        "<!--" * 25_000,
        "<b " + "x" * 100_000,
        "[" + "a" * 100_000,
        " " * 50_000 + "[laughs]" + " " * 50_000,
        "a" + " " * 100_000 + "b [laughs]",
        "<a href=x>" * 10_000,
        "<script>" * 12_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_it_takes_little_time_whatever_is_written(text: str) -> None:
    begun = time.process_time()
    without_voice_marks(text)
    assert time.process_time() - begun < 1.0
