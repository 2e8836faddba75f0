"""`wa-relay send-test`, as a process between the stand-ins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import ANA, Stage, run, stage
from wa_relay.cli.send_test import DEFAULT_MESSAGE
from wa_relay.ledger import file
from wa_relay.standins.port import free_port
from wa_relay.standins.twilio import Delays, Fate, Fault, TwilioStandin


async def _json(s: Stage, *arguments: str) -> tuple[int, Any]:
    code, out, _ = await s.relay.command("send-test", *arguments, "--json")
    return code, json.loads(out)


def _opt_out(path: Path, phone: str, *, returned_at: float | None = None) -> None:
    db = file.open_for_writing(path, account_sid="", now=1.0).connection
    db.execute(
        "insert into opt_outs (phone_number, opted_out_at, returned_at, source) values (?, 1, ?, 'keyword')",
        (phone, returned_at),
    )
    db.close()


def test_a_message_goes_out_once_and_its_receipt_is_shown(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            code, out, err = await s.relay.command("send-test", "+57 313 853-9155", "¿Se lee?")
            (sent,) = s.twilio.accepted()
            assert (code, err) == (0, "")
            assert out.split() in ([sent.sid, "delivered"], [sent.sid, "read"])
            assert (sent.to, sent.body, sent.callback) == (ANA, "¿Se lee?", "")
            code, shown = await _json(s, ANA)
            assert code == 0
            assert shown == {
                "whatsapp_message_id": s.twilio.accepted()[1].sid,
                "status": shown["status"],
                "error_code": None,
                "meaning": None,
            }
            assert shown["status"] in {"delivered", "read"}
            assert s.twilio.accepted()[1].body == DEFAULT_MESSAGE
            assert not s.relay.database.exists()

    run(scenario())


def test_it_belongs_to_no_conversation_beside_a_running_daemon(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert (await s.relay.command("send-test", ANA))[0] == 0
            assert (await s.call("GET", f"/api/conversations/{ANA}")).status == 404
            assert (await s.call("GET", "/api/stats")).json["messages"] == {"inbound": 0, "outbound": 0}

    run(scenario())


def test_without_a_wait_the_acceptance_is_enough_and_nothing_is_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            code, shown = await _json(s, ANA, "--wait", "0")
            assert (code, shown["status"]) == (0, "queued")
            operations = [entry.data["operation"] for entry in s.twilio.journal.entries("request")]
            assert operations == ["create"]

    run(scenario())


def test_a_message_that_stays_at_sent_got_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        twilio = TwilioStandin(delays=Delays(0.02, None, None), enforce_window=False)
        async with stage(tmp_path, start=False, twilio=twilio) as s:
            code, out, _ = await s.relay.command("send-test", ANA, "--wait", "0.7")
            assert code == 0
            assert (
                out
                == f"{s.twilio.accepted()[0].sid} sent\nTwilio accepted it. There is no delivery receipt after 0.7 s.\n"
            )

    run(scenario())


def test_a_receipt_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        twilio = TwilioStandin(delays=Delays(0.02, 1.0, None), enforce_window=False)
        async with stage(tmp_path, start=False, twilio=twilio) as s:
            code, shown = await _json(s, ANA)
            assert (code, shown["status"]) == (0, "delivered")

    run(scenario())


def test_questions_that_fail_are_asked_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.twilio.faults.next("fetch", Fault("F9"), 2)
            code, shown = await _json(s, ANA)
            assert (code, shown["status"] in {"delivered", "read"}) == (0, True)

    run(scenario())


@pytest.mark.parametrize("status", ["undelivered", "failed"])
def test_a_failure_by_receipt_is_explained(tmp_path: Path, status: Any) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.twilio.next_message(Fate(code=63016, status=status), ANA, times=2)
            code, out, _ = await s.relay.command("send-test", ANA)
            assert code == 1
            sid = s.twilio.accepted()[0].sid
            words = "outside the 24-hour window free text is refused: set content_sid to an approved template"
            assert out == f"{sid} {status}\n63016: {words}.\n"
            code, shown = await _json(s, ANA)
            assert code == 1
            assert (shown["status"], shown["error_code"], shown["meaning"]) == (status, "63016", words)

    run(scenario())


@pytest.mark.parametrize(
    ("fault", "status", "error_code", "words"),
    [
        (Fault("F20", code=21211), "failed", "21211", "not a valid phone number"),
        (Fault("F19"), "failed", "20003", "refuses the credentials"),
        (Fault("F12"), "failed", "20429", "Nothing was sent. Try again later"),
        (Fault("F10"), "uncertain", None, "Check Twilio's log"),
        (Fault("F5"), "uncertain", None, "Check Twilio's log"),
    ],
)
def test_a_message_that_twilio_does_not_take_is_tried_once_and_fails(
    tmp_path: Path, fault: Fault, status: str, error_code: str | None, words: str
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.twilio.faults.next("create", fault)
            code, shown = await _json(s, ANA)
            assert code == 1
            assert (shown["whatsapp_message_id"], shown["status"], shown["error_code"]) == (None, status, error_code)
            assert words in shown["meaning"]
            assert "automatically" not in shown["meaning"]
            creates = [e for e in s.twilio.journal.entries("request") if e.data["operation"] == "create"]
            assert len(creates) == 1

    run(scenario())


def test_without_a_network_it_is_a_passing_fault(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"twilio": {"base_url": f"http://127.0.0.1:{free_port()}"}}, start=False) as s:
            code, out, err = await s.relay.command("send-test", ANA)
            assert (code, out) == (75, "")
            assert "can't be reached" in err
            code, shown = await _json(s, ANA)
            assert (code, shown["status"], shown["whatsapp_message_id"]) == (75, "failed", None)

    run(scenario())


def test_a_customer_who_opted_out_is_not_written_to_until_they_return(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            _opt_out(s.relay.database, "+573001112233", returned_at=2.0)
            _opt_out(s.relay.database, ANA)
            code, out, err = await s.relay.command("send-test", ANA)
            assert (code, out) == (1, "")
            assert "has opted out" in err
            assert s.twilio.accepted() == []
            assert (await s.relay.command("send-test", "+573001112233"))[0] == 0

    run(scenario())


def test_a_database_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.database.write_text("who has opted out?")
            code, _, err = await s.relay.command("send-test", ANA)
            assert code == 65
            assert "not a wa-relay database" in err
            assert s.twilio.accepted() == []

    run(scenario())


def test_all_that_is_missing_is_named_and_nothing_else_is_needed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            bare: dict[str, dict[str, Any]] = {"server": {"token": "", "public_url": ""}, "elevenlabs": {"api_key": ""}}
            s.relay.write_config(bare)
            assert (await s.relay.command("send-test", ANA))[0] == 0
            s.relay.write_config({**bare, "twilio": {"account_sid": "", "auth_token": "", "sender": ""}})
            code, _, err = await s.relay.command("send-test", ANA)
            assert code == 78
            assert all(key in err for key in ("twilio.account_sid", "twilio.auth_token", "twilio.sender"))
            assert "server.token" not in err

    run(scenario())


@pytest.mark.parametrize(
    "arguments", [["12345"], [ANA, ""], [ANA, "x" * 1601], [ANA, "--wait", "-1"], [ANA, "--wait", "nan"]]
)
def test_wrong_usage_sends_nothing(tmp_path: Path, arguments: list[str]) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            code, out, err = await s.relay.command("send-test", *arguments)
            assert (code, out) == (2, "")
            assert "Invalid value" in err
            assert s.twilio.accepted() == []

    run(scenario())
