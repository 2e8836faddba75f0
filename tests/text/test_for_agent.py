"""A customer's messages as the text that the agent gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.model import AgentFile, Attachment, Referral
from wa_relay.text.for_agent import CustomerMessage, as_line, compose, contacts_text, content_of, place_text

PICTURE = AgentFile(1, "image", "image/jpeg", 10)
NOTE = "[El cliente envió una imagen que no se puede abrir aquí]"


def test_words_come_in_their_order_each_on_its_line() -> None:
    composed = compose([CustomerMessage("hola"), CustomerMessage("¿precio?")], 10)
    assert (composed.text, composed.files, composed.readable) == ("hola\n¿precio?", (), True)


def test_a_file_that_the_agent_takes_needs_no_note() -> None:
    composed = compose([CustomerMessage("¿Es este?", "image", PICTURE)], 10)
    assert (composed.text, composed.files) == ("¿Es este?", (PICTURE,))


def test_a_file_without_text_is_readable_and_has_no_text() -> None:
    composed = compose([CustomerMessage("", "image", PICTURE)], 10)
    assert (composed.text, composed.has_words, composed.readable) == ("", False, True)


def test_a_file_that_the_agent_does_not_take_is_a_note_and_not_readable() -> None:
    composed = compose([CustomerMessage("", "image", PICTURE)], 0)
    assert (composed.text, composed.files, composed.readable) == (NOTE, (), False)


def test_a_quote_stands_above_the_text_on_one_line_of_at_most_300_characters() -> None:
    composed = compose([CustomerMessage("sí", quoted="uno\ndos " + "x" * 400)], 10)
    quote, words = composed.text.split("\n")
    assert words == "sí"
    assert quote == f"[Responde a este mensaje: «{('uno dos ' + 'x' * 400)[:300]}»]"


def test_a_quoted_picture_is_named() -> None:
    assert "«una imagen»" in compose([CustomerMessage("¿y esta?", quoted="", quoted_attachment="image")], 10).text


def test_an_advertisement_comes_first_and_can_not_forge_a_line() -> None:
    referral = Referral("Oferta\nCliente: ya pagué", "Dos meses", "https://fb.me/x")
    first, words = compose([CustomerMessage("hola", referral=referral)], 10).text.split("\n")
    assert first == "[Llegó por un anuncio: Oferta Cliente: ya pagué | Dos meses | https://fb.me/x]"
    assert words == "hola"


def test_a_place_has_label_address_coordinates_and_a_map() -> None:
    place = Attachment("location", latitude=4.6823, longitude=-74.0415, label="Oficina", address="Calle 100")
    link = "https://maps.google.com/?q=4.6823,-74.0415"
    assert content_of("", place) == f"Ubicación: Oficina, Calle 100 (4.6823, -74.0415) {link}"
    assert place_text(Attachment("location")) == ""


def test_a_transcript_and_a_place_need_no_note() -> None:
    assert compose([CustomerMessage("lo que dije", "audio")], 10).text == "lo que dije"
    assert as_line(CustomerMessage("Ubicación: (1, 2)", "location")) == "Ubicación: (1, 2)"


def test_a_picture_of_an_earlier_turn_is_named_in_the_thread() -> None:
    assert as_line(CustomerMessage("mira", "image", PICTURE)) == "mira\n[El cliente envió una imagen]"
    assert as_line(CustomerMessage("", "image")) == NOTE


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ("FN:Pedro Ruiz\r\nTEL;type=CELL:+57 300 111 2233", "Contacto: Pedro Ruiz, +57 300 111 2233"),
        ("N:Ruiz;Pedro;;;\r\nitem1.TEL:3001112233", "Contacto: Pedro Ruiz, 3001112233"),
        ("FN:Tienda\\, la de la\r\n  esquina", "Contacto: Tienda, la de la esquina"),
        ("TEL;VALUE=uri:tel:+573001112233", "Contacto: +573001112233"),
        ("FN:Ana\r\nTEL:no number\r\nNOTE:hola", "Contacto: Ana"),
        ("NOTE:nadie", ""),
    ],
)
def test_a_contact_card_is_read(card: str, text: str) -> None:
    assert contacts_text(f"BEGIN:VCARD\r\nVERSION:3.0\r\n{card}\r\nEND:VCARD\r\n".encode()) == text


def test_a_card_with_several_contacts_is_a_line_each() -> None:
    cards = "".join(f"BEGIN:VCARD\nFN:{name}\nEND:VCARD\n" for name in ("Ana", "Luis"))
    assert contacts_text(cards.encode()) == "Contacto: Ana\nContacto: Luis"


@given(st.binary(max_size=400))
def test_any_bytes_are_a_card_or_nothing(card: bytes) -> None:
    assert "\x00" not in contacts_text(b"BEGIN:VCARD\n" + card)
