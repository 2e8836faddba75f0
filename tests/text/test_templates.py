"""Placeholders filled in, and removed cleanly if they have no value."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.text.templates import placeholders, render, render_variable

THANKS = "Hola {client_name}, gracias por atender nuestra llamada."


@pytest.mark.parametrize(
    ("template", "read"),
    [
        (THANKS, "Hola, gracias por atender nuestra llamada."),
        ("¡Hola, {client_name}! ¿Cómo estás?", "¡Hola! ¿Cómo estás?"),
        ("¡Hola {client_name}! ¿Cómo estás?", "¡Hola! ¿Cómo estás?"),
        ("Hola, {client_name}. Gracias", "Hola. Gracias"),
        ("Hola, {client_name}, gracias", "Hola, gracias"),
        ("{client_name}, ¿cómo estás?", "¿cómo estás?"),
        ("¡{client_name}, gracias!", "¡gracias!"),
        ("Hola {client_name}", "Hola"),
        ("Hola {client_name}\nGracias", "Hola\nGracias"),
        ("Hola {client_name}\n\nGracias", "Hola\n\nGracias"),
        ("Hola\n{client_name}\nGracias", "Hola\nGracias"),
        ("Te habla {agent_name} de Acme", "Te habla de Acme"),
        ("Hola {client_name} {agent_name}, gracias", "Hola, gracias"),
        ("Hola {client_name}{agent_name}, gracias", "Hola, gracias"),
        ("Hola {client_name}, gracias {agent_name}.", "Hola, gracias."),
        ("Hola ({client_name}), gracias", "Hola, gracias"),
        ("Hola *{client_name}*, gracias", "Hola, gracias"),
        ('Hola "{client_name}", gracias', "Hola, gracias"),
        ("Hola {client_name}… gracias", "Hola… gracias"),
        ("Hola {client_name} 👋", "Hola 👋"),
        ("{client_name}", ""),
    ],
)
@pytest.mark.parametrize("nothing", [{}, {"client_name": None}, {"client_name": ""}, {"client_name": " \u2800\n"}])
def test_a_placeholder_without_a_value_goes_cleanly(template: str, read: str, nothing: dict[str, object]) -> None:
    assert render(template, nothing) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("Ana García", "Hola Ana García, gracias"),
        ("  Ana ", "Hola Ana, gracias"),
        ("{agent_name}", "Hola {agent_name}, gracias"),
        ("\\1 \\g<0>", "Hola \\1 \\g<0>, gracias"),
        ("A\x00na\x1b", "Hola Ana, gracias"),
        (42, "Hola 42, gracias"),
        (0, "Hola 0, gracias"),
        (1.5, "Hola 1.5, gracias"),
        (True, "Hola sí, gracias"),
        (False, "Hola no, gracias"),
    ],
)
def test_a_value_is_put_in_as_it_is(value: object, read: str) -> None:
    assert render("Hola {client_name}, gracias", {"client_name": value, "agent_name": "Leo"}) == read


def test_a_name_with_commas_and_blanks_is_not_taken_for_a_gap() -> None:
    values = {"client_name": "García ,  Ana ()"}
    assert render("Hola {client_name} {agent_name}, gracias", values) == "Hola García ,  Ana (), gracias"


def test_any_variable_of_the_call_may_be_named() -> None:
    values = {"dirección": "Calle 1", "fecha-cita": "lunes", "system.x_1": 7}
    assert render("{dirección}, {fecha-cita}, {system.x_1}", values) == "Calle 1, lunes, 7"


def test_braces_that_name_nothing_stay() -> None:
    assert render("{ x } {1} {} {a b} {{x}}", {"x": "y"}) == "{ x } {1} {} {a b} {y}"
    assert placeholders("Hola {client_name}, {a_1} {1} { x } {client_name}") == {"client_name", "a_1"}


@given(st.text(), st.text())
def test_a_template_without_placeholders_is_not_touched(text: str, value: str) -> None:
    text = text.replace("{", "").replace("\x00", "")
    assert render(text, {"client_name": value}) == text


@given(st.text(max_size=600))
def test_a_template_variable_is_one_line_of_at_most_250_characters(value: str) -> None:
    read = render_variable("{client_name}", {"client_name": value})
    assert len(read) <= 250
    assert read == " ".join(read.split())


def test_a_long_template_variable_is_cut_between_words_else_between_characters() -> None:
    assert render_variable("{x}", {"x": "hola " * 60}) == ("hola " * 50).strip()
    assert render_variable("{x}", {"x": "a" * 300}) == "a" * 250
    assert render_variable("{x}", {"x": "a" * 249 + "👋🏽"}) == "a" * 249


def test_a_value_of_many_blanks_takes_no_time() -> None:
    begun = time.process_time()
    render("Hola {x}{y}, gracias {y}.", {"x": "a" + " " * 100_000 + "b"})
    render_variable("Hola {x} {y}", {"x": "a" + " \n,\t" * 50_000 + "b"})
    assert time.process_time() - begun < 0.5
