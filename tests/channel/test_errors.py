"""Twilio's codes and answers, by the reaction to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay import policy
from wa_relay.channel.errors import CODES, meaning
from wa_relay.channel.errors_es import MEANINGS, meaning_in_spanish
from wa_relay.channel.refusals import classify
from wa_relay.model import NotSent, SendRefused, Unclear

MOMENTARY = ["20429", "20500", "20503", "14107", "30001", "63018", "21611", "63009", "63010", "63012", "63017", "63019"]
WAIT = ["63038", "63049"]
FINAL = [
    "21211",
    "21614",
    "21408",
    "21610",
    "63003",
    "63005",
    "63013",
    "63014",
    "63015",
    "63016",
    "63021",
    "63024",
    "63030",
    "63031",
    "63032",
    "63033",
    "63050",
    "63058",
    "21602",
    "21603",
    "21617",
    "21620",
    "21910",
    "21654",
    "21656",
]
SENDER = ["63001", "63002", "63007", "63008", "63020", "63022", "63051", "63062"]
TEMPLATE = ["21655", "63027", "63028", "63040", "63041", "63042"]
ACCOUNT = [
    "20003",
    "20005",
    "20404",
    "30002",
    "63001",
    "63002",
    "63007",
    "63008",
    "63020",
    "63022",
    "63051",
    "63062",
    "63112",
    "21701",
    "21702",
    "21703",
    "21704",
    "21705",
]
CUSTOMER = ["21211", "21610", "21614", "63003", "63005", "63014", "63015", "63024", "63032", "63033", "63050", "63058"]


@pytest.mark.parametrize("code", MOMENTARY)
def test_a_momentary_refusal_may_be_sent_again(code: str) -> None:
    assert isinstance(classify(400, code, "", None), NotSent)
    assert classify(429, code, "", 7.0) == NotSent(f"429 {code}", 7.0, code=code, busy=True)
    assert isinstance(classify(500, code, "", None), Unclear)


@pytest.mark.parametrize("code", WAIT)
@pytest.mark.parametrize("status", [400, 429])
def test_a_limit_of_the_day_is_waited_for(code: str, status: int) -> None:
    result = classify(status, code, "", 3.0)
    assert isinstance(result, NotSent)
    assert result.retry_after == 3600.0


@pytest.mark.parametrize("code", FINAL)
def test_a_refusal_of_the_message_or_the_person_is_final(code: str) -> None:
    result = classify(400, code, "The words of Twilio", None)
    assert result == SendRefused(
        code, meaning(code), "customer" if code in CUSTOMER else "message", "The words of Twilio"
    )


@pytest.mark.parametrize("code", TEMPLATE)
def test_a_refusal_of_the_template_is_final_and_says_so(code: str) -> None:
    result = classify(400, code, "", None)
    assert isinstance(result, SendRefused)
    assert result.scope == "template"


@pytest.mark.parametrize("code", ACCOUNT)
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_fault_of_the_account_or_the_sender_holds_everything(code: str, status: int) -> None:
    result = classify(status, code, "", None)
    assert isinstance(result, SendRefused)
    assert result.scope == ("sender" if code in SENDER else "account")


def test_a_401_is_a_fault_of_the_account_whatever_its_code() -> None:
    for code in (None, "99999", "21211"):
        result = classify(401, code, "", None)
        assert isinstance(result, SendRefused)
        assert result.scope == "account"
        assert "auth_token" in result.meaning


@pytest.mark.parametrize("code", ["99999", "InvalidSandboxRequest", "", None])
@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 422])
def test_an_unknown_code_is_final_for_its_message(code: str | None, status: int) -> None:
    result = classify(status, code, "", None)
    assert isinstance(result, SendRefused)
    assert result.scope == "message"
    assert result.code == (code or str(status))
    assert result.meaning


@pytest.mark.parametrize("code", [None, "20500", "21211", "20003", "99999"])
@pytest.mark.parametrize("status", [0, 199, 204, 301, 302, 307, 308, 408, 500, 502, 503, 504, 520, 599])
def test_an_answer_that_proves_nothing_is_unclear(status: int, code: str | None) -> None:
    assert isinstance(classify(status, code, "", None), Unclear)


@given(st.integers(0, 700), st.one_of(st.none(), st.sampled_from(sorted(CODES)), st.text(max_size=30)))
def test_only_what_is_surely_not_sent_may_be_sent_again(status: int, code: str | None) -> None:
    result = classify(status, code, "", None)
    if isinstance(result, NotSent):
        assert status == 429 or code in MOMENTARY + WAIT
    if not 400 <= status < 500:
        assert isinstance(result, Unclear)
    assert meaning(code)


def test_every_code_is_explained_and_an_unknown_one_says_where_to_look() -> None:
    listed = {*MOMENTARY, *WAIT, *FINAL, *TEMPLATE, *ACCOUNT}
    assert listed <= set(CODES)
    assert all(len(meaning(code)) > 15 for code in CODES)
    assert "content_sid" in meaning("63016")
    assert "99999" in meaning("99999")
    assert meaning("InvalidSandboxRequest") == meaning("63015")
    assert meaning(None) == meaning("") == "Twilio gave no code"
    assert len(meaning("9" * 5000)) < 300


def test_the_codes_that_hold_everything_are_those_of_the_account_and_the_sender() -> None:
    kinds = {code: kind for code, (kind, _) in CODES.items()}
    assert {code for code, kind in kinds.items() if kind == "account"} == policy.ACCOUNT_CODES - {"401"}
    assert {code for code, kind in kinds.items() if kind == "sender"} == policy.SENDER_CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_says_what_happened_and_what_to_do_in_english_and_in_spanish(code: str) -> None:
    for sentence in (meaning(code), meaning_in_spanish(code)):
        happened, colon, advice = sentence.partition(": ")
        assert colon
        assert len(happened) > 10
        assert len(advice) > 5
    assert meaning(code) != meaning_in_spanish(code)


def test_the_spanish_sentences_are_those_of_the_known_codes() -> None:
    assert set(MEANINGS) == set(CODES)
    assert meaning_in_spanish("InvalidSandboxRequest") == MEANINGS["63015"]
    assert "99999" in meaning_in_spanish("99999")
    assert meaning_in_spanish(None) == meaning_in_spanish("")
