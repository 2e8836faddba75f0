"""Agents' Markdown becomes WhatsApp's marks, and nothing else changes."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.text.markdown import LONGEST, to_whatsapp


@pytest.mark.parametrize(
    ("markdown", "whatsapp"),
    [
        ("**negrita** y __fuerte__", "*negrita* y *fuerte*"),
        ("*cursiva* y _también_", "_cursiva_ y _también_"),
        ("***las dos***", "_*las dos*_"),
        ("_*una vez*_ y **__fuerte__**", "_una vez_ y *fuerte*"),
        ("~~tachado~~", "~tachado~"),
        ("**Precio:** $5.000", "*Precio:* $5.000"),
        ("🎉**Oferta**🎉 ¿**sí**?", "🎉*Oferta*🎉 ¿*sí*?"),
        ("**dos\nlíneas**", "*dos*\n*líneas*"),
        ("# Título", "*Título*"),
        ("## Con **negrita** y _más_\ntexto", "*Con negrita y _más_*\ntexto"),
        ("Título\n======\ntexto", "*Título*\ntexto"),
        ("[web](https://x.co/a_b*c*)", "web: https://x.co/a_b*c*"),
        ("[https://x.co](https://x.co)", "https://x.co"),
        ("[aquí](https://x.co/ñandú)", "aquí: https://x.co/ñandú"),
        ("[**aquí**](https://x.co)", "*aquí*: https://x.co"),
        ("[w](https://es.wikipedia.org/wiki/Foo_(bar))", "w: https://es.wikipedia.org/wiki/Foo_(bar)"),
        ("mira <https://x.co/a_b>", "mira https://x.co/a_b"),
        ("a <ana@x.co> o [ana@x.co](mailto:ana@x.co)", "a ana@x.co o ana@x.co"),
        ("![foto](https://x.co/f_1.png)", "https://x.co/f_1.png"),
        ("* uno\n* dos", "- uno\n- dos"),
        ("+ uno\n+ dos", "- uno\n- dos"),
        ("* uno\n  * dentro\n    1. más\n* dos", "- uno\n  - dentro\n    1. más\n- dos"),
        ("3. tres\n4. cuatro", "3. tres\n4. cuatro"),
        ("1) uno\n2) dos", "1. uno\n2. dos"),
        ("0. cero\n1. **uno**", "0. cero\n1. *uno*"),
        ("2. dos\n5. **cinco**", "2. dos\n5. *cinco*"),
        ("1. uno\n1. dos\n1. tres", "1. uno\n2. dos\n3. tres"),
        ("1. **uno**\n   - dentro\n2. dos", "1. *uno*\n  - dentro\n2. dos"),
        ("Hay:\n* uno\n* dos\n\nAdiós", "Hay:\n- uno\n- dos\n\nAdiós"),
        ("| a | **b** |\n|---|---|\n| 1 | 2 |\n\nfin", "a | *b*\n1 | 2\n\nfin"),
        ("```py\nx = **1**\n# no\n```\nfin", "```x = **1**\n# no```\nfin"),
        ("usa `a * b * c`", "usa `a * b * c`"),
        ("uno\n\n---\n\ndos", "uno\n\ndos"),
        ("uno\n***\ndos", "uno\ndos"),
        ("uno  \ndos\\\ntres", "uno\ndos\ntres"),
        ("> cita **x**\n> más", "> cita *x*\n> más"),
        ("1986\\. Un año", "1986. Un año"),
        ("**uno**\n\n\n\ndos", "*uno*\n\ndos"),
        ("**[Ver planes](https://x.co/planes)**", "*Ver planes:* https://x.co/planes"),
        ("**https://x.co/planes**", "https://x.co/planes"),
        ("__<https://x.co/a_b>__", "https://x.co/a_b"),
        ("**Mira https://x.co/planes**", "*Mira* https://x.co/planes"),
        ("**Mira https://x.co/planes.** Y más", "*Mira* https://x.co/planes. Y más"),
        ("**Mira https://x.co/a y https://x.co/b hoy**", "*Mira* https://x.co/a *y* https://x.co/b *hoy*"),
        ("**Mira (https://x.co/a), es _lo mejor_**", "*Mira* (https://x.co/a), *es _lo mejor_*"),
        ("***Mira https://x.co/a***", "_*Mira*_ https://x.co/a"),
        ("**Ver:**https://x.co/a", "*Ver:* https://x.co/a"),
        ("https://x.co/a **ya**", "https://x.co/a *ya*"),
        ("[ver](https://x.co/a)**ya**", "ver: https://x.co/a *ya*"),
        ("[ver](https://x.co/a)y [más](https://x.co/b)", "ver: https://x.co/a y más: https://x.co/b"),
        ("**¡Mira! https://x.co/a 👍 !**", "*¡Mira!* https://x.co/a 👍 !"),
        ("# Planes: https://x.co/a_b*c", "*Planes:* https://x.co/a_b*c"),
        ("# https://x.co/planes", "https://x.co/planes"),
        ("# [Planes](https://x.co/planes)", "*Planes:* https://x.co/planes"),
        ("~~https://x.co/a~~", "https://x.co/a"),
        ("`https://x.co/a`", "https://x.co/a"),
        ("```\ncurl https://x.co/a\n```", "```\ncurl https://x.co/a\n```"),
        ("- **https://x.co/a**\n- **b**", "- https://x.co/a\n- *b*"),
        ("**uno https://x.co/a\ndos**", "*uno* https://x.co/a\n*dos*"),
        ("| **a** |\n|---|\n| **https://x.co/a** |", "*a*\nhttps://x.co/a"),
        ("** https://x.co/a**", "** https://x.co/a **"),
        ("\\*https://x.co/a", "* https://x.co/a"),
        ("**![foto](https://x.co/f.png)**", "https://x.co/f.png"),
    ],
)
def test_markdown_is_written_in_whatsapps_marks(markdown: str, whatsapp: str) -> None:
    assert to_whatsapp(markdown) == whatsapp


@pytest.mark.parametrize(
    "text",
    [
        "2*3*4 = 24",
        "10*20*30 cm y 2**3**4",
        "un_nombre_largo y foo__bar__baz",
        "5 * 3 * 2",
        "a * b",
        "https://x.co/a_b_c*d*e",
        "ver https://x.co/?q=a_b_&c=*d*&e=_f_ ya",
        "https://x.co/*a y https://x.co/b*",
        "~5 y ~6",
        "cuesta $5 y 1. no es lista",
        "1. uno\n2. dos",
        "- uno\n- dos",
        "Hay:\n- uno\n- dos\nAdiós",
        "1. uno\n\n2. dos",
        "[sin enlace] y [1]",
        "a | b",
        "#etiqueta #1",
        "+57 313 853 9155",
        "&amp; 3 < 4 > 2",
        "Línea\n  con sangría\n\n\n\ny vacías",
        "`código *sin* cambios`",
        "C:\\Temp\\x",
        "¡Hola, Ana! ¿Cómo estás? 😀👩‍👩‍👧 — “bien”…",
    ],
)
def test_text_without_markdown_stays_unchanged(text: str) -> None:
    assert to_whatsapp(text) == text


@given(st.text(st.characters(exclude_characters="*_~`#[]|<>\\-+=.)\r\x00 \t", exclude_categories=("Cs", "Cc"))))
def test_a_text_without_marks_comes_through_to_the_letter(text: str) -> None:
    assert to_whatsapp(text) == text.strip()


@given(st.text(alphabet="ab12 *_~`#[]()|<>!\\-+=.\n:/áñ👍", max_size=120))
def test_no_letter_and_no_digit_is_lost_whatever_the_marks(text: str) -> None:
    if "`" in text or "|" in text or "[" in text:
        to_whatsapp(text)  # fences name languages, tables and links have their own order: it only has to end
        return
    kept = [character for character in to_whatsapp(text) if character in "abáñ👍"]
    assert kept == [character for character in text if character in "abáñ👍"]


URLS = st.sampled_from(
    ("https://x.co", "https://x.co/planes", "http://x.co/a_b-c?d=e&f=1#g", "https://x.co/a_b*c/d", "https://x.co/a.b/ñ")
)
PLAIN = st.sampled_from(("Mira", "Ver planes:", "¡hola!", "👍", "a, b.", "(sí)", "$5.000", "1.", "…"))
MARKED = st.sampled_from(("**{}**", "__{}__", "*{}*", "_{}_", "~~{}~~", "***{}***", "`{}`", "**_{}_**", "({})", "{}"))
LINKS = st.tuples(PLAIN, URLS).map(lambda pair: f"[{pair[0]}]({pair[1]})")
INLINE = st.recursive(
    st.one_of(PLAIN, URLS, LINKS, URLS.map("<{}>".format)),
    lambda inner: st.one_of(
        st.tuples(MARKED, inner).map(lambda pair: pair[0].format(pair[1])),
        st.lists(inner, min_size=2, max_size=4).map(" ".join),
    ),
    max_leaves=6,
)
BLOCKS = st.one_of(
    st.tuples(st.sampled_from(("{}", "# {}", "- {}", "> {}", "1. {}")), INLINE).map(
        lambda pair: pair[0].format(pair[1])
    ),
    st.lists(st.one_of(PLAIN, URLS), min_size=1).map(" ".join).map("```\n{}\n```".format),
)
PAGES = st.lists(BLOCKS, min_size=1, max_size=4).map("\n\n".join).filter(lambda page: "~~~" not in page)  # no fences
KNOWN = re.compile(r"https?://[a-z0-9./_*?=&#ñ-]*[a-z0-9ñ]")


@given(PAGES)
def test_no_address_touches_a_mark_and_each_stays_as_it_was_written(markdown: str) -> None:
    shown = to_whatsapp(markdown)
    for found in KNOWN.finditer(shown):
        assert shown[found.start() - 1 : found.start()] not in tuple("*_~`"), shown
        assert shown[found.end() : found.end() + 1] not in tuple("*_~`"), shown
    written = [url.rstrip("*_") for url in KNOWN.findall(markdown)]
    assert sorted(KNOWN.findall(shown)) == sorted(written), shown


def test_control_characters_and_lone_surrogates_are_taken_out() -> None:
    assert to_whatsapp("a\x00b\x1b[31m **c**\r\nd\ud800") == "ab[31m *c*\nd\ufffd"


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\n" * (LONGEST - 10) + "b *c*",
        "*" * 90_000,
        "*a _b " * 15_000,
        "**a*" * 20_000,
        "[" * 90_000,
        "![" * 45_000,
        "[a](" * 20_000,
        "<a@" * 30_000,
        "> " * 45_000 + "a",
        "- " * 45_000 + "a",
        "`" * 90_000,
        "".join("`" * n + " " for n in range(1, 400)),
        "|a" * 45_000,
        "|a" * 300 + "\n" + "|-" * 300 + "\n" + "|\n" * 40_000,
        "a" + " \n" * (LONGEST // 2 - 5) + "*a*",
        "https://x.co/*_" * 6_000,
        "a  \n" * 22_000,
        "*a*" + "://" * 30_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_it_takes_little_time_whatever_is_written(text: str) -> None:
    begun = time.process_time()
    to_whatsapp(text[:LONGEST])
    assert time.process_time() - begun < 5.0
