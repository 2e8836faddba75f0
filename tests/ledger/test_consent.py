"""Opt-outs: by keyword, by meaning and by Twilio, whatever the state of the conversation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ledger.conftest import NOW, PHONE, RULES, call, written
from wa_relay.ledger import calls, claims, consent, handover, inbox, send_results, turns
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Inbound
from wa_relay.policy import Operator
from wa_relay.text.keywords import opt_out_phrases


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    return make_ledger(opt_out_phrases=opt_out_phrases())


def _known(ledger: Ledger) -> Ledger:
    calls.record_call(ledger, call(), NOW)
    _sent(ledger, 0)
    return ledger


def _sent(ledger: Ledger, at: float) -> list[str | None]:
    sent = []
    for job in claims.claim_messages(ledger, 9, NOW + at).jobs:
        message_id = job.outgoing.message_id or 0
        send_results.finish_send(ledger, message_id, Accepted(f"SM{message_id:032x}"), NOW + at)
        sent.append(job.outgoing.body)
    return sent


def _sources(ledger: Ledger) -> list[str]:
    return [row[0] for row in ledger.all("select source from opt_outs where returned_at is null")]


@pytest.mark.parametrize(
    ("message", "source", "confirmed"),
    [
        (written("BAJA"), "keyword", True),
        (written("¡Baja, por favor!"), "keyword", True),
        (written("Buenas tardes, no me escriban más"), "phrase", True),
        (written("Detener promociones"), "phrase", True),
        (written("STOP", opt_out="STOP"), "twilio", False),
    ],
    ids=["keyword", "keyword with courtesy", "phrase", "quick reply", "twilio"],
)
@pytest.mark.parametrize("known", [True, False], ids=["customer", "stranger"])
def test_an_opt_out_is_recorded_with_its_source(
    ledger: Ledger, message: Inbound, source: str, confirmed: bool, known: bool
) -> None:
    if known:
        _known(ledger)
    inbox.record_inbound(ledger, message, NOW + 5)
    assert consent.is_opted_out(ledger, PHONE)
    assert _sources(ledger) == [source]
    assert _sent(ledger, 6) == ([RULES.confirmation] if confirmed and known else [])


def test_without_the_built_in_phrases_only_keywords_opt_out(make_ledger: Callable[..., Ledger]) -> None:
    ledger = _known(make_ledger())
    assert inbox.record_inbound(ledger, written("No me escriban más", sid="SM1"), NOW + 5).effect == "turn"
    assert inbox.record_inbound(ledger, written("Baja", sid="SM2"), NOW + 6).effect == "opted_out"


@pytest.mark.parametrize("text", ["para el jueves", "no alto", "quiero parar de pagar tanto", "stop loss", "👍🙏"])
def test_a_text_that_only_contains_a_keyword_goes_to_the_agent(ledger: Ledger, text: str) -> None:
    assert inbox.record_inbound(_known(ledger), written(text), NOW + 5).effect == "turn"


@pytest.mark.parametrize("state", ["asked", "muted", "taken_over", "requested"])
def test_an_opt_out_is_honoured_in_every_state(ledger: Ledger, state: str) -> None:
    _known(ledger)
    inbox.record_inbound(ledger, written("¿Precio?", sid="SM1"), NOW + 5)
    if state == "asked":
        assert len(turns.claim_turns(ledger, 9, NOW + 10).jobs) == 1
    elif state == "muted":
        handover.mute(ledger, 1, "too_many_turns", NOW + 6)
    elif state == "taken_over":
        handover.take_over(ledger, PHONE, Operator("ana", "console"), None, NOW + 6)
    else:
        handover.request(ledger, 1, "keyword", NOW + 6, NOW + 6)
    assert inbox.record_inbound(ledger, written("no me escriban más", sid="SM2"), NOW + 11).effect == "opted_out"
    assert _sent(ledger, 20)[-1:] == [RULES.confirmation]
    assert consent.is_opted_out(ledger, PHONE)
    for at in (40, 60):
        assert _sent(ledger, at) == []
        assert turns.claim_turns(ledger, 9, NOW + at).jobs == ()


def test_a_return_word_is_read_by_meaning_and_goes_to_the_agent(ledger: Ledger) -> None:
    _known(ledger)
    inbox.record_inbound(ledger, written("No me escriban más", sid="SM1"), NOW + 5)
    received = inbox.record_inbound(ledger, written("¡Alta, por favor!", sid="SM2"), NOW + 6)
    assert received.effect == "turn"
    assert not consent.is_opted_out(ledger, PHONE)
