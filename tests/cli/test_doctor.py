"""`wa-relay doctor`: the checks against the stand-ins, and the command as a process."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import AGENT, ANA, TOKEN, Relay, Stage, free_port, run, stage
from wa_relay.config import Config, load
from wa_relay.doctor import Check, Report, database, elevenlabs, examine, webhooks
from wa_relay.ledger import file
from wa_relay.ledger.lock import Holder
from wa_relay.model import Moment
from wa_relay.moments import stamp
from wa_relay.standins.elevenlabs import CHAT_EVENTS, DEFAULT_EVENTS, Agent
from wa_relay.standins.elevenlabs import Fault as ElevenLabsFault
from wa_relay.standins.twilio import Delays, Fault, Template, TwilioStandin

SENDER = "whatsapp:+573150000000"
HX = "HX" + "a" * 32
GOOD_AGENT = Agent(AGENT.agent_id, client_events=CHAT_EVENTS, overrides=frozenset({"conversation.text_only"}))
GOOD: Mapping[str, Mapping[str, Any]] = {
    "poll": {"agent_ids": [AGENT.agent_id]},
    "opening.completed": {"content_sid": HX, "content_variables": {"1": "{client_name}"}},
}
NOW = 1_795_000_000.0


def good_twilio(approval: str = "approved", body: str = "Hola {{1}}, gracias.") -> TwilioStandin:
    return TwilioStandin(
        senders=(SENDER,),
        templates=(Template(HX, body, {"1": "Ana"}, approval=approval),),
        delays=Delays(0.02, 0.02, 0.02),
        enforce_window=False,
    )


def config_of(relay: Relay) -> Config:
    return load(relay.config, {}, cwd=relay.folder)


async def checked(s: Stage, clock: Any = time.time) -> dict[str, Check]:
    """The findings by their names, made in this process."""
    return by_name(await examine(config_of(s.relay), (), clock))


def by_name(report: Report) -> dict[str, Check]:
    found = {check.name: check for check in report.checks}
    assert len(found) == len(report.checks)
    assert report.ok is all(check.status != "fail" for check in report.checks)
    return found


async def told(s: Stage, *arguments: str) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    """The command's exit status, its JSON, and the checks in it by their names."""
    code, out, err = await s.relay.command(*arguments, "doctor", "--json")
    assert err == ""
    report = json.loads(out)
    return code, report, {check["name"]: check for check in report["checks"]}


def test_beside_a_running_daemon_everything_is_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, GOOD, twilio=good_twilio(), agent=GOOD_AGENT) as s:
            code, report, checks = await told(s)
            assert (code, report["ok"], set(report)) == (0, True, {"ok", "checks"})
            assert all(set(check) == {"name", "status", "message", "fix"} for check in report["checks"])
            assert {check["status"] for name, check in checks.items() if name != "SQLite"} == {"ok"}, checks
            assert set(checks) >= {
                *("configuration", "SQLite", "database folder", "database", "uncertain sends", "pauses", "daemon"),
                *("Twilio account", "clock", "Twilio sender", "opening.completed"),
                *("ElevenLabs key", f"agent {AGENT.agent_id}", "public URL", "Twilio webhook", "ElevenLabs webhook"),
            }
            assert s.twilio.accepted() == []

    run(scenario())


def test_people_get_a_checklist_with_addresses_in_one_piece(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, GOOD, twilio=good_twilio(), agent=GOOD_AGENT, env={"COLUMNS": "60"}) as s:
            code, out, err = await s.relay.command("doctor")
            assert (code, err) == (0, "")
            assert f"✓ Twilio account         {s.twilio.account_sid}" in out
            assert f"\n  {s.relay.url}/webhook/twilio/incoming#rc=5&rp=all&ct=2000&rt=3000\n" in out
            assert f"\n  {s.relay.url}/webhook/elevenlabs/post-call\n" in out
            assert "in order." in out.splitlines()[-1]

    run(scenario())


def test_no_secret_is_shown_whatever_is_wrong(tmp_path: Path) -> None:
    secrets = {"token": "tok-" + "s" * 20, "auth_token": "twi-" + "t" * 20, "api_key": "sk_" + "k" * 20}

    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.write_config(
                {
                    "server": {"token": secrets["token"]},
                    "twilio": {"auth_token": secrets["auth_token"]},
                    "elevenlabs": {"api_key": secrets["api_key"], "webhook_secret": "wsec_hidden_hidden"},
                }
            )
            outputs = [await s.relay.command("doctor"), await s.relay.command("doctor", "--json")]
            for code, out, err in outputs:
                assert code == 1
                assert not [secret for secret in (*secrets.values(), "wsec_hidden") if secret in out + err]

    run(scenario())


def test_a_wrong_token_fails_and_what_depends_on_it_is_skipped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, GOOD, twilio=good_twilio(), start=False) as s:
            s.twilio.configure(auth_token="rotated")
            code, report, checks = await told(s)
            assert (code, report["ok"]) == (1, False)
            assert checks["Twilio account"]["status"] == "fail"
            assert "twilio.auth_token" in checks["Twilio account"]["fix"]
            assert checks["opening.completed"]["status"] == "skipped"
            assert checks["clock"]["status"] == "ok"
            assert checks["ElevenLabs key"]["status"] == "ok"

    run(scenario())


def test_an_account_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.write_config({"twilio": {"account_sid": "AC" + "9" * 32}})
            found = (await checked(s))["Twilio account"]
            assert (found.status, "twilio.a" in str(found.fix)) == ("fail", True)

    run(scenario())


def test_a_wrong_key_fails_and_the_agents_are_skipped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, GOOD, start=False, twilio=good_twilio()) as s:
            s.relay.write_config({"elevenlabs": {"api_key": "sk_wrong"}})
            code, _, checks = await told(s)
            assert code == 1
            assert checks["ElevenLabs key"]["status"] == "fail"
            assert checks["ElevenLabs key"]["fix"] == "correct elevenlabs.api_key"
            assert checks["agents"]["status"] == "skipped"
            assert checks["Twilio account"]["status"] == "ok"

    run(scenario())


def test_services_that_are_away_fail_without_ending_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, GOOD, start=False, twilio=good_twilio()) as s:
            nowhere = f"http://127.0.0.1:{free_port()}"
            s.relay.write_config({"twilio": {"base_url": nowhere}, "elevenlabs": {"base_url": nowhere}})
            found = await checked(s)
            assert {found[name].status for name in ("Twilio account", "ElevenLabs key")} == {"fail"}
            assert "twilio.base_url" in str(found["Twilio account"].fix)
            assert {found[name].status for name in ("clock", "opening.completed", "agents")} == {"skipped"}

    run(scenario())


def test_silence_ends_at_the_deadline(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.elevenlabs.faults.next("workspace", ElevenLabsFault("hang"))
            end = asyncio.get_running_loop().time() + 0.3
            key, agents = await elevenlabs.examine(config_of(s.relay), end)
            assert (key.status, agents.status) == ("fail", "skipped")
            assert "did not answer" in key.message

    run(scenario(), within=8.0)


def test_what_serve_lacks_is_listed_each_by_its_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            empty = tmp_path / "empty.toml"
            empty.write_text("")
            empty.chmod(0o600)
            code, _, checks = await told(s, "--config", str(empty))
            assert code == 1
            for key in ("server.token", "server.public_url", "twilio.account_sid", "twilio.sender"):
                assert checks[f"configuration: {key}"]["status"] == "fail"
                assert "set it to" in checks[f"configuration: {key}"]["fix"]
            for name in ("Twilio account", "ElevenLabs key", "agents", "public URL", "Twilio webhook"):
                assert checks[name]["status"] == "skipped"
            assert checks["database"]["status"] == "warn"

    run(scenario())


def test_every_fault_of_a_bad_configuration_is_listed_and_the_rest_is_skipped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.write_config({"poll": {"interval_seconds": 0}, "twilio": {"sendr": SENDER}})
            code, _, checks = await told(s)
            assert code == 1
            assert checks["configuration: poll.interval_seconds"]["status"] == "fail"
            assert checks["configuration: twilio.sendr"]["fix"] == "did you mean twilio.sender?"
            others = [check["status"] for name, check in checks.items() if not name.startswith("configuration")]
            assert len(others) > 10
            assert set(others) == {"skipped"}
            assert s.twilio.journal.entries("request") == []

    run(scenario())


def test_a_configuration_file_that_is_not_there_is_a_check_that_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            code, _, checks = await told(s, "--config", str(tmp_path / "nowhere.toml"))
            assert code == 1
            assert "wa-relay init" in checks["configuration"]["fix"]

    run(scenario())


def test_what_others_may_read_or_change_is_a_warning_with_its_chmod(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, GOOD, start=False, twilio=good_twilio(), agent=GOOD_AGENT) as s:
            file.open_for_writing(s.relay.database, account_sid="", now=NOW).connection.close()
            s.relay.config.chmod(0o644)
            s.relay.database.chmod(0o644)
            os.chmod(tmp_path, 0o777)  # noqa: S103 (that is what the warning is about)
            report = await examine(config_of(s.relay), (), time.time)
            fixes = {check.fix for check in report.checks if check.status == "warn"}
            wanted = {f"chmod 600 {s.relay.config}", f"chmod 600 {s.relay.database}", f"chmod 700 {tmp_path}"}
            assert wanted <= fixes
            assert report.ok

    run(scenario())


def test_a_text_file_for_a_database_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.database.write_text("this is no database")
            code, _, checks = await told(s)
            assert code == 1
            assert checks["database"]["status"] == "fail"
            assert "not a wa-relay database" in checks["database"]["message"]
            assert checks["database"]["fix"] == "Set database.path to another file"
            assert checks["uncertain sends"]["status"] == checks["pauses"]["status"] == "skipped"
            assert s.relay.database.read_text() == "this is no database"

    run(scenario())


def examined(path: Path, account: str = "AC1") -> dict[str, Check]:
    return {check.name: check for check in database.examine(path, account, time.monotonic() + 10)}


def test_no_database_is_a_warning_and_none_is_made(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    assert (examined(path)["database"].status, list(tmp_path.iterdir())) == ("warn", [])
    path.touch()
    assert examined(path)["database"].status == "warn"
    assert "wa-relay serve" in str(examined(path)["database"].fix)


def test_a_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    found = examined(tmp_path / "data" / "relay.db")
    assert (found["database folder"].status, found["database"].status) == ("fail", "skipped")
    assert "mkdir" in str(found["database folder"].fix)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_database_that_may_not_be_written_to_fails(tmp_path: Path) -> None:
    path = _made(tmp_path)
    path.chmod(0o400)
    assert examined(path)["database"].status == "fail"


def _made(folder: Path, account: str = "AC1") -> Path:
    path = folder / "relay.db"
    file.open_for_writing(path, account_sid=account, now=NOW).connection.close()
    return path


def test_a_database_of_another_account_fails_and_names_both(tmp_path: Path) -> None:
    found = examined(_made(tmp_path), account="AC2")["database"]
    assert found.status == "fail"
    assert "AC1" in found.message
    assert "AC2" in found.message


def test_a_database_of_a_newer_version_and_one_of_another_program_fail(tmp_path: Path) -> None:
    path = _made(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma user_version = 999")
    assert "newer version" in examined(path)["database"].message
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma application_id = 7")
    assert "another program" in examined(path)["database"].message
    assert examined(path)["database"].status == "fail"


def test_a_damaged_database_fails(tmp_path: Path) -> None:
    path = _made(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        size = db.execute("pragma page_size").fetchone()[0]
        root = db.execute("select rootpage from sqlite_master where name = 'conversation_messages'").fetchone()[0]
    with path.open("r+b") as raw:
        raw.seek((root - 1) * size)
        raw.write(b"\x7f" * size)
    found = examined(path)["database"]
    assert (found.status, "damaged" in found.message) == ("fail", True)
    assert ".recover" in str(found.fix)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ((3, 40, 1), "warn"),
        ((3, 44, 5), "warn"),
        ((3, 44, 6), "ok"),
        ((3, 45, 9), "warn"),
        ((3, 50, 6), "warn"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "warn"),
        ((3, 51, 3), "ok"),
        ((3, 52, 0), "ok"),
    ],
)
def test_a_sqlite_without_the_repair_of_its_wal_mode_is_named(version: tuple[int, ...], status: str) -> None:
    found = database.sqlite_version(version)
    assert found.status == status
    assert found.message.startswith(".".join(map(str, version)))


def test_sends_of_unknown_fate_and_pauses_are_warnings_that_name_the_command(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.faults.next("create", Fault("F5"))
            assert (await s.report()).status == 202
            assert (await s.relay.command("pause"))[0] == 0
            code, _, checks = await told(s)
            assert code == 0
            assert checks["uncertain sends"]["status"] == checks["pauses"]["status"] == "warn"
            assert "wa-relay resolve" in checks["uncertain sends"]["fix"]
            assert "wa-relay resume" in checks["pauses"]["fix"]
            assert checks["public URL"]["status"] == "warn"
            assert "degraded" in checks["public URL"]["message"]
            assert ANA not in json.dumps(checks)

    run(scenario())


def test_an_account_that_twilio_refuses_is_told_as_the_reason_of_the_hold(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.configure(auth_token="rotated")
            assert (await s.report()).status == 202
            found = (await checked(s))["pauses"]
            assert found.status == "warn"
            assert "refuses" in found.message

    run(scenario())


def test_a_daemon_that_was_killed_does_not_count_as_running(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert (await checked(s))["daemon"].status == "ok"
            await s.relay.kill()
            found = await checked(s)
            assert (found["daemon"].status, found["public URL"].status) == ("warn", "warn")
            assert "wa-relay serve" in str(found["public URL"].fix)

    run(scenario())


def test_a_public_address_that_leads_elsewhere_fails_while_a_daemon_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            for wrong in (f"http://127.0.0.1:{free_port()}", s.twilio.url):
                s.relay.write_config({"server": {"public_url": wrong}})
                found = await checked(s)
                assert found["public URL"].status == "fail"
                assert f"http://127.0.0.1:{s.relay.port}" in str(found["public URL"].fix)

    run(scenario())


def _health(**changes: Any) -> bytes:
    from wa_relay import __version__

    health = {"status": "ok", "version": __version__, "uptime_seconds": 100.0, "database": "ok", "queue": {}}
    return json.dumps(health | changes).encode()


@pytest.mark.parametrize(
    ("status", "body", "began", "finding"),
    [
        (200, _health(), NOW - 100, "ok"),
        (200, _health(), NOW - 5000, "fail"),
        (200, _health(), None, "warn"),
        (200, _health(status="degraded"), NOW - 100, "warn"),
        (503, _health(status="down"), NOW - 100, "fail"),
        (200, _health(version="0.0.0"), NOW - 100, "warn"),
        (301, b"", NOW - 100, "fail"),
        (502, b"<html>Bad Gateway</html>", NOW - 100, "fail"),
        (200, b"[]", NOW - 100, "fail"),
    ],
)
def test_only_the_health_of_the_daemon_that_runs_here_will_do(
    status: int, body: bytes, began: Moment | None, finding: str
) -> None:
    holder = None if began is None else Holder(4242, stamp(began), "/run/control")
    assert webhooks.judge(Config(), status, body, holder, NOW).status == finding


@pytest.mark.parametrize(("off", "status"), [(7200.0, "warn"), (-90.0, "warn"), (30.0, "ok")])
def test_a_clock_that_is_off_by_a_minute_is_a_warning(tmp_path: Path, off: float, status: str) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            assert (await checked(s, lambda: time.time() + off))["clock"].status == status

    run(scenario())


@pytest.mark.parametrize(
    ("approval", "body", "variables", "status", "words"),
    [
        ("approved", "Hola {{1}}, gracias.", {"1": "{client_name}"}, "ok", "approved"),
        ("pending", "Hola {{1}}, gracias.", {"1": "{client_name}"}, "warn", "reviewed"),
        ("rejected", "Hola {{1}}, gracias.", {"1": "{client_name}"}, "fail", "rejected"),
        ("unsubmitted", "Hola {{1}}, gracias.", {"1": "{client_name}"}, "fail", "unsubmitted"),
        ("approved", "Hola, gracias.", {"1": "{client_name}"}, "fail", "no variable 1"),
        ("approved", "Hola {{1}}, de {{2}}.", {"1": "{client_name}"}, "warn", "also needs 2"),
    ],
)
def test_a_template_is_looked_at_before_it_is_needed(
    tmp_path: Path, approval: str, body: str, variables: dict[str, str], status: str, words: str
) -> None:
    async def scenario() -> None:
        settings = {"opening.completed": {"content_sid": HX, "content_variables": variables}}
        async with stage(tmp_path, settings, start=False, twilio=good_twilio(approval, body)) as s:
            found = (await checked(s))["opening.completed"]
            assert (found.status, words in found.message) == (status, True), found

    run(scenario())


def test_a_template_that_is_not_there_fails_and_none_at_all_is_a_warning(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = {"opening.completed": {"content_sid": "HX" + "b" * 32}, "opening.voicemail": {"body": "Hola"}}
        async with stage(tmp_path, settings, start=False, twilio=good_twilio()) as s:
            found = await checked(s)
            assert found["opening.completed"].status == "fail"
            assert found["opening.voicemail"].status == "warn"
            assert "63016" in found["opening.voicemail"].message

    run(scenario())


@pytest.mark.parametrize(
    ("agent", "status", "words"),
    [
        (GOOD_AGENT, "ok", "ready for text"),
        (Agent(AGENT.agent_id, client_events=CHAT_EVENTS, text_only=True, first_message="Hola"), "ok", "greets"),
        (Agent(AGENT.agent_id, client_events=CHAT_EVENTS), "warn", "text only"),
        (Agent(AGENT.agent_id, client_events=DEFAULT_EVENTS, text_only=True), "warn", "agent_response_complete"),
        (Agent(AGENT.agent_id, client_events=("audio",), text_only=True), "fail", "agent_response"),
        (Agent("agent_other"), "fail", "no such agent"),
    ],
)
def test_an_agents_settings_are_judged_by_what_a_text_turn_needs(
    tmp_path: Path, agent: Agent, status: str, words: str
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"poll": {"agent_ids": [AGENT.agent_id]}}, start=False, agent=agent) as s:
            found = (await checked(s))[f"agent {AGENT.agent_id}"]
            assert (found.status, words in found.message) == (status, True), found

    run(scenario())


def test_a_key_that_may_open_no_session_fails(tmp_path: Path) -> None:
    body = json.dumps({"detail": {"status": "missing_permissions", "message": "missing the permission convai_write"}})

    async def scenario() -> None:
        async with stage(tmp_path, GOOD, start=False, twilio=good_twilio(), agent=GOOD_AGENT) as s:
            s.elevenlabs.faults.next("signed_url", ElevenLabsFault(status=401, body=body))
            found = (await checked(s))[f"agent {AGENT.agent_id}"]
            assert (found.status, "Agents: Write" in str(found.fix)) == ("fail", True), found

    run(scenario())


def test_an_address_of_this_machine_is_none_for_a_service_elsewhere() -> None:
    config = load(
        None,
        {"WA_RELAY_SERVER_PUBLIC_URL": "http://localhost:3001", "WA_RELAY_SERVER_TOKEN": TOKEN},
        cwd=Path("/"),
    )

    async def scenario() -> list[Check]:
        return await webhooks.examine(config, None, NOW, asyncio.get_running_loop().time() + 5)

    found = {check.name: check for check in run(scenario())}
    assert found["Twilio webhook"].status == "warn"
    assert "public_url" in found["Twilio webhook"].message


def test_the_content_api_has_a_host_of_its_own_at_twilio() -> None:
    from wa_relay.channel.content import content_url

    assert content_url("https://api.twilio.com") == "https://content.twilio.com"
    assert content_url("https://api.dublin.ie1.twilio.com") == "https://content.dublin.ie1.twilio.com"
    assert content_url("http://127.0.0.1:8080") == "http://127.0.0.1:8080"
    assert content_url("https://api.twilio.com.evil.example") == "https://api.twilio.com.evil.example"
