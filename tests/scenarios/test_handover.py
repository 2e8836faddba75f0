"""A person takes over: the real daemon between the stand-ins, one scenario for each rule of contract 9."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import AGENT, ANA, EVA, LUIS, Answer, Stage, payload, run, stage, until
from wa_relay.standins.elevenlabs import Scenario
from wa_relay.standins.twilio import Fault

NOTICE = "Te va a escribir una persona de nuestro equipo por aquí."
PATH = f"/api/conversations/{ANA}"


async def opened(s: Stage, phone: str = ANA) -> None:
    """The customer was called and has the opening; writing opens the window."""
    await s.report(payload(f"conv_{phone}", phone))
    await s.sent(1, phone)


async def change(s: Stage, what: str, body: Any = None, phone: str = ANA, **headers: str) -> Answer:
    """Posts to one of a conversation's routes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await s.call("POST", f"/api/conversations/{phone}/{what}", json=body or {}, headers=named)


async def listed(s: Stage, query: str = "") -> Any:
    """The conversations as the API lists them."""
    return (await s.call("GET", f"/api/conversations{query}")).json["conversations"]


def asked(s: Stage) -> list[str]:
    """The questions that the agent got, oldest first."""
    return [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("user_message")]


def contexts(s: Stage) -> list[str]:
    """The contexts that the agent was given, oldest first."""
    return [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("context")]


def test_a_takeover_silences_the_agent_and_after_the_release_it_is_asked_once_what_nobody_answered(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            taken = (await change(s, "takeover", {"hours": 2.5})).json
            assert (taken["handler"], taken["handler_reason"], taken["handler_by"]) == ("human", "api", "api")
            assert taken["handler_until"] is not None
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta?")
            shown = await until_unread(s, 1)
            assert (shown["unanswered_since"], shown["waiting"]) == (shown["last_message_at"], False)
            assert asked(s) == []
            released = (await change(s, "release")).json
            assert (released["handler"], released["handler_until"], released["unread"]) == ("agent", None, 0)
            await s.sent(2)
            assert asked(s) == ["¿Cuánto cuesta?"]

    run(scenario())


async def until_unread(s: Stage, count: int) -> Any:
    """Waits until the conversation has that many unread messages."""
    end = time.monotonic() + 10.0
    while (found := (await listed(s))[0])["unread"] != count:
        assert time.monotonic() < end, found
    return found


def test_an_answer_that_the_agent_finds_after_a_takeover_is_not_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            s.elevenlabs.scenarios.next(Scenario(before=1.0))
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta?")
            await until(lambda: asked(s))
            await change(s, "takeover")
            await until(lambda: "agent_answered" in s.relay.log)
            assert (await change(s, "messages", {"text": "Soy Lucía: cuesta 10."})).status == 200
            assert (await s.sent(2))[1:] == ["Soy Lucía: cuesta 10."]
            await change(s, "release")
            await s.twilio.customer_writes(ANA, "¿Y mañana?")
            await s.sent(3)
            assert asked(s)[1:] == ["¿Y mañana?"]
            assert "Asesor (persona del equipo): Soy Lucía: cuesta 10." in contexts(s)[-1]

    run(scenario())


def test_a_person_s_message_is_sent_exactly_as_written_and_takes_the_conversation_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        text = "**Hola** Ana\n\n# no es Markdown  "
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "¿Hola?")
            await s.sent(2)
            answer = (await change(s, "messages", {"text": text})).json
            message = answer["message"]
            assert (message["kind"], message["author"], message["content"]) == ("human", "api", text)
            assert (await s.sent(3))[-1] == text
            thread = await s.conversation()
            assert (thread["handler"], thread["handler_reason"]) == ("human", "api")

    run(scenario())


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"text": "x" * 1601}, 422, "invalid_payload"),
        ({"text": " \u200b "}, 422, "invalid_payload"),
        ({"text": "Hola", "content_sid": "HX1"}, 422, "invalid_payload"),
        ({}, 422, "invalid_payload"),
        ({"content_sid": "HX1", "content_variables": {"1": " "}}, 422, "invalid_payload"),
        ({"content_sid": "HX1", "content_variables": {"1": 5}}, 422, "invalid_payload"),
        ({"text": "Hola"}, 409, "window_closed"),
    ],
)
def test_a_refused_message_is_not_stored_and_takes_nothing_over(
    tmp_path: Path, body: dict[str, Any], status: int, error: str
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            answer = await change(s, "messages", body)
            assert (answer.status, answer.json["error"]) == (status, error)
            thread = await s.conversation()
            assert (thread["handler"], thread["message_count"]) == ("agent", 1)

    run(scenario())


def test_a_template_needs_no_window_and_waits_for_nobody_in_quiet_hours_only_anyway(tmp_path: Path) -> None:
    always = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "")

    async def scenario() -> None:
        body: dict[str, Any] = {"content_sid": "HXb5b62575e6e4ff6129ad7c8efe1f983e", "content_variables": {"1": "Ana"}}
        async with stage(tmp_path) as s:
            await opened(s)
            assert (await change(s, "messages", body)).status == 200
            await until(lambda: len(s.twilio.accepted(ANA)) == 2)
            assert s.twilio.accepted(ANA)[1].content_sid == body["content_sid"]
            await s.relay.stop()
            s.relay.write_config({"quiet_hours": {"days": always}})
            await s.relay.start()
            refused = await change(s, "messages", body)
            assert (refused.status, refused.json["error"]) == (409, "quiet_hours")
            assert (await change(s, "messages", body | {"anyway": True})).status == 200
            await until(lambda: len(s.twilio.accepted(ANA)) == 3)
            assert "anyway=true" in s.relay.log.lower()

    run(scenario())


def test_the_same_key_sends_once_and_another_body_with_it_is_a_mismatch(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "¿Hola?")
            await s.sent(2)
            first = await change(s, "messages", {"text": "Soy Lucía"}, Idempotency_Key="k-1")
            await s.sent(3)
            # A kill before Twilio's answer is stored leaves the send uncertain.
            await until(lambda: f"human_sent message={first.json['message']['id']} " in s.relay.log)
            await s.relay.kill()
            await s.relay.start()
            again = await change(s, "messages", {"text": "Soy Lucía"}, Idempotency_Key="k-1")
            assert again.json["message"]["id"] == first.json["message"]["id"]
            assert again.json["message"]["status"] in ("sent", "delivered", "read")
            other = await change(s, "messages", {"text": "Otra cosa"}, Idempotency_Key="k-1")
            assert (other.status, other.json["error"]) == (422, "idempotency_mismatch")
            bad = await change(s, "messages", {"text": "x"}, Idempotency_Key="con espacio")
            assert (bad.status, bad.json["error"]) == (422, "invalid_payload")
            assert s.bodies().count("Soy Lucía") == 1

    run(scenario())


def test_a_keyword_asks_for_a_person_the_notice_answers_and_the_agent_is_silent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "¡Asesor, por favor!")
            assert (await s.sent(2))[1] == NOTICE
            (waits,) = await listed(s, "?state=waiting")
            assert (waits["handler"], waits["handler_reason"], waits["handler_by"]) == ("human", "keyword", None)
            assert (waits["waiting"], waits["unread"]) == (True, 0)
            assert waits["unanswered_since"] is not None
            await s.twilio.customer_writes(ANA, "asesor")
            await until_unread(s, 1)
            read = (await change(s, "read")).json
            assert (read["unread"], read["waiting"]) == (0, True)
            await change(s, "messages", {"text": "Soy Lucía"})
            assert (await s.sent(3))[2] == "Soy Lucía"
            thread = await s.conversation()
            assert (thread["waiting"], thread["handler_reason"], thread["unanswered_since"]) == (False, "keyword", None)
            assert asked(s) == []

    run(scenario())


def test_nobody_comes_and_the_agent_gets_the_conversation_back_and_knows_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"handover": {"wait_minutes": 0.02}}) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "ASESOR")
            await s.sent(2)
            await until(lambda: "handover_ended" in s.relay.log)
            thread = await s.conversation()
            assert (thread["handler"], thread["waiting"]) == ("agent", True)
            await s.twilio.customer_writes(ANA, "¿Hay alguien?")
            await s.sent(3)
            assert "nadie del equipo estuvo disponible" in contexts(s)[-1]
            assert not (await change(s, "release")).json["waiting"]

    run(scenario())


def test_the_agent_asks_for_a_person_by_its_tool_and_what_it_says_in_that_turn_goes_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            s.elevenlabs.scenarios.next(Scenario("client_tool", tool="transfer_to_human"))
            await s.twilio.customer_writes(ANA, "Quiero hablar con alguien")
            bodies = await s.sent(3)
            assert bodies[1] == NOTICE
            (result,) = s.elevenlabs.journal.entries("tool_result")
            assert result.data["is_error"] is False
            (waits,) = await listed(s, "?state=waiting")
            assert waits["handler_reason"] == "tool"
            assert len(asked(s)) == 1

    run(scenario())


def test_a_turn_that_asks_for_a_person_without_a_word_is_not_repeated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"elevenlabs": {"turn_timeout_seconds": 5}}) as s:
            await opened(s)
            s.elevenlabs.scenarios.next(Scenario("client_tool", tool="transfer_to_human", then="close", aside=False))
            await s.twilio.customer_writes(ANA, "Quiero hablar con alguien")
            await until(lambda: "agent_failed" in s.relay.log or "agent_silent" in s.relay.log)
            await change(s, "messages", {"text": "Soy Lucía"})
            assert (await s.sent(3))[1:] == [NOTICE, "Soy Lucía"]
            assert len(asked(s)) == 1

    run(scenario())


def test_a_failed_turn_asks_for_a_person_instead_of_the_fallback(tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {"handover": {"on_failure": True}, "elevenlabs": {"turn_timeout_seconds": 1}}

    async def scenario() -> None:
        async with stage(tmp_path, settings) as s:
            await opened(s)
            s.elevenlabs.scenarios.default = Scenario("close", code=1008)
            await s.twilio.customer_writes(ANA, "¿Precio?")
            assert (await s.sent(2, within=60.0))[1] == NOTICE
            s.elevenlabs.scenarios.default = Scenario()
            before = len(asked(s))
            await change(s, "release")
            await s.sent(3)
            assert asked(s)[before:] == ["¿Precio?"]

    run(scenario())


def test_a_takeover_ends_by_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await change(s, "takeover", {"hours": 0.0003})
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            assert (await s.conversation())["handler"] == "agent"

    run(scenario())


def test_an_opening_for_a_conversation_that_a_person_has_is_skipped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await change(s, "takeover")
            answer = (await s.report(payload("conv_2"))).json
            assert (answer["status"], answer["reason"]) == ("skipped", "handed_over")
            await change(s, "release")
            assert (await s.report(payload("conv_2"))).json["reason"] == "handed_over"

    run(scenario())


def test_an_opt_out_by_the_api_ends_what_waits_and_a_person_can_t_write(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "Hola")
            await s.sent(2)
            assert (await change(s, "opt-out")).json["status"] == "opted_out"
            answer = await change(s, "messages", {"text": "Hola"})
            assert (answer.status, answer.json["error"]) == (422, "opted_out")
            assert [one["phone_number"] for one in await listed(s, "?state=opted_out")] == [ANA]

    run(scenario())


def test_the_list_shows_the_latest_activity_first_page_by_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            for phone in (ANA, LUIS, EVA):
                await opened(s, phone)
            await change(s, "takeover", phone=LUIS)
            assert [one["phone_number"] for one in await listed(s, "?state=human")] == [LUIS]
            assert {one["phone_number"] for one in await listed(s, "?state=agent")} == {ANA, EVA}
            seen, path = [], "/api/conversations?limit=1"
            while path:
                page = (await s.call("GET", path)).json
                seen += [one["phone_number"] for one in page["conversations"]]
                path = f"/api/conversations?limit=1&before={page['next']}" if page["next"] else ""
            assert sorted(seen) == sorted([ANA, LUIS, EVA])
            for query in ("state=x", "limit=0", "limit=501", "before=%C3%B1", "before=abc"):
                assert (await s.call("GET", f"/api/conversations?{query}")).status == 422
            last = (await listed(s))[0]["last_message"]
            assert (last["kind"], last["direction"]) == ("opening", "outbound")

    run(scenario())


def test_an_unknown_customer_is_404_and_hours_are_over_0_and_at_most_720(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            for what, body in (
                ("takeover", {}),
                ("release", {}),
                ("read", {}),
                ("opt-out", {}),
                ("messages", {"text": "x"}),
            ):
                assert (await change(s, what, body, phone=LUIS)).json["error"] == "unknown_conversation"
            for hours in (0, -1, 721, "2", True):
                answer = await change(s, "takeover", {"hours": hours})
                assert (answer.status, answer.json["fields"][0]["path"]) == (422, "hours")
            assert (await s.call("POST", f"{PATH}/takeover", token="x")).status == 401

    run(scenario())


def test_a_body_that_may_be_missing_is_json_or_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            path = f"/api/conversations/{ANA}/takeover"
            assert (await s.call("POST", path)).status == 200
            assert (await s.call("POST", path, data={"csrf_token": "x"})).status == 200
            for body in ({"hours": "2"}, b"hours=2"):
                answer = await s.call("POST", path, data=body)
                assert (answer.status, answer.json["error"]) == (415, "unsupported_media_type")

    run(scenario())


def test_a_decision_a_pause_and_a_resume_by_the_api(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert (await s.call("POST", "/api/pause")).json == {"success": True}
            await s.report(payload("conv_1"))
            assert (await s.call("POST", "/api/resume")).json == {"success": True, "waiting": 1}
            await s.sent(1)
            s.twilio.faults.next("create", Fault("F5"))
            await s.report(payload("conv_2", LUIS))
            await until(lambda: "opening_uncertain" in s.relay.log, within=40.0)
            message = (await s.conversation(LUIS))["messages"][0]["id"]
            path = f"/api/messages/{message}/resolve"
            assert (await s.call("POST", path, json={"decision": "sent"})).status == 422
            decided = await s.call("POST", path, json={"decision": "cancel"})
            assert decided.json == {"success": True, "status": "failed"}
            again = await s.call("POST", path, json={"decision": "cancel"})
            assert (again.status, again.json["error"]) == (409, "not_uncertain")
            missing = await s.call("POST", "/api/messages/999/resolve", json={"decision": "cancel"})
            assert (missing.status, missing.json["error"]) == (404, "unknown_message")

    run(scenario(), within=240)


def test_the_commands_take_over_write_list_and_give_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "Hola")
            await s.sent(2)
            code, out, _ = await s.relay.command("takeover", "+57", "313", "853", "9155", "--hours", "3")
            assert (code, ANA in out) == (0, True)
            code, out, err = await s.relay.command("say", ANA, "Soy *Lucía*", "--json")
            result = json.loads(out)
            assert (code, result["error_code"], result["meaning"]) == (0, None, None), err
            assert result["status"] in ("delivered", "read")
            assert (await s.sent(3))[-1] == "Soy *Lucía*"
            code, out, _ = await s.relay.command("inbox", "--json")
            (shown,) = json.loads(out)
            assert (shown["handler_by"], shown["handler_reason"], shown["last_message"]["author"]) == ("cli",) * 3
            code, out, _ = await s.relay.command("inbox")
            assert (code, "taken over by cli" in out) == (0, True)
            assert (await s.relay.command("release", ANA))[0] == 0
            assert (await s.relay.command("release", LUIS))[0] == 1
            assert json.loads((await s.relay.command("inbox", "--json"))[1]) == []
            await s.relay.stop()
            assert (await s.relay.command("say", ANA, "Hola"))[0] == 75
            assert (await s.relay.command("takeover", ANA))[0] == 0
            await s.relay.start()
            assert (await s.conversation())["handler_reason"] == "cli"

    run(scenario(), within=240)


def test_say_says_why_a_message_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            code, _, err = await s.relay.command("say", ANA, "Hola")
            assert (code, "24-hour window" in err) == (1, True)
            wrong = (
                *(("say", ANA), ("say", ANA, "x", "--template", "HX1"), ("say", ANA, "--template", "welcome")),
                *(("say", "123", "x"), ("takeover",)),
            )
            for arguments in wrong:
                assert (await s.relay.command(*arguments))[0] == 2
            assert (await s.relay.command("takeover", ANA, "--hours", "721"))[0] == 2

    run(scenario(), within=240)


def test_a_retry_of_the_agent_s_reply_ends_when_a_person_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            s.twilio.faults.next("create", Fault("F12", retry_after="30"))
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await until(lambda: "answer_put_off" in s.relay.log)
            await change(s, "messages", {"text": "Soy Lucía"})
            assert (await s.sent(2))[1:] == ["Soy Lucía"]
            thread = await s.conversation()
            replies = [(m["status"], m["reason"]) for m in thread["messages"] if m["kind"] == "reply"]
            assert replies == [("failed", "handed_over")]
            assert AGENT.agent_id == thread["agent_id"]

    run(scenario())
