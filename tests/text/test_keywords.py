"""Keywords and phrases: both published lists, and what is ignored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wa_relay.config.schema import Config
from wa_relay.text.keywords import expand, opt_out_phrases, request_form, request_forms
from wa_relay.text.opt_out_phrases import ENGLISH, PORTUGUESE, SPANISH

DOCUMENT = (Path(__file__).parents[2] / "docs" / "opt-out.md").read_text(encoding="utf-8")
KEYWORDS = request_forms(Config().opt_out.keywords)


def listed(name: str) -> list[str]:
    found = re.search(rf"```{name}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def opts_out(message: str) -> bool:
    return request_form(message) in KEYWORDS | opt_out_phrases()


@pytest.mark.parametrize("message", listed("opts-out"))
def test_a_request_for_no_more_messages_opts_out(message: str) -> None:
    assert opts_out(message)


@pytest.mark.parametrize("message", listed("keeps"))
def test_a_message_that_merely_contains_a_keyword_does_not(message: str) -> None:
    assert not opts_out(message)


def test_the_lists_are_as_long_as_promised() -> None:
    assert len(opt_out_phrases()) >= 60
    assert len(set(listed("keeps"))) >= 80


@pytest.mark.parametrize("message", ["", "🙏", "gracias", "Hola, por favor", "buenos días, gracias!!", "¡!", "please"])
def test_a_message_of_which_nothing_remains_asks_for_nothing(message: str) -> None:
    assert request_form(message) == ""
    assert not opts_out(message)


def test_a_keyword_without_a_letter_stands_for_no_message() -> None:
    assert request_forms(["🛑", "gracias", "BAJA"]) == {"baja"}


def test_a_template_stands_for_each_of_its_phrases() -> None:
    assert list(expand("[ya] no (a|b)")) == [" no a", " no b", "ya no a", "ya no b"]


@pytest.mark.parametrize("template", [*SPANISH, *ENGLISH, *PORTUGUESE])
def test_no_template_has_a_bracket_left(template: str) -> None:
    assert not any(set(phrase) & set("()[]|") for phrase in expand(template))


def test_no_return_keyword_or_handover_keyword_opts_out() -> None:
    config = Config()
    for keyword in (*config.opt_out.return_keywords, *config.handover.keywords):
        assert not opts_out(keyword)
