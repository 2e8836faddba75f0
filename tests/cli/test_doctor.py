"""`wa-relay doctor`: the checks against the stand-ins, and the command as a process."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.healthy import GOOD, SENDER, examined, good_twilio, healthy
from tests.e2e.stage import AGENT, ANA, TOKEN, Stage, run, stage
from tests.stopwatch import Stopwatch
from wa_relay.channel.transport import host_beside
from wa_relay.config import load
from wa_relay.doctor import Check, public
from wa_relay.ledger import file
from wa_relay.standins.port import free_port
from wa_relay.standins.twilio import Fault


async def reported(
    s: Stage, *arguments: str, before: tuple[str, ...] = ()
) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    """The command's exit status, its JSON, and the checks in it by their names."""
    code, out, err = await s.relay.command(*before, "doctor", "--json", *arguments)
    assert err == ""
    report = json.loads(out)
    return code, report, {check["name"]: check for check in report["checks"]}


def test_beside_a_running_daemon_everything_is_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with healthy(tmp_path) as s:
            code, report, checks = await reported(s)
            assert (code, report["ok"], set(report)) == (0, True, {"ok", "checks"})
            assert all(set(check) == {"name", "status", "message", "fix"} for check in report["checks"])
            assert {check["status"] for check in checks.values()} == {"ok"}, checks
            assert set(checks) >= {
                *(
                    "configuration",
                    "SQLite",
                    "database folder",
                    "database",
                    "disk space",
                    "uncertain sends",
                    "pauses",
                    "daemon",
                    "poller",
                ),
                *("Twilio account", "clock", "Twilio sender", "opening.completed"),
                *("ElevenLabs key", f"agent {AGENT.agent_id}", "public URL", "Twilio webhook", "ElevenLabs webhook"),
            }
            assert s.twilio.accepted() == []

    run(scenario())


def test_people_get_a_checklist_with_addresses_in_one_piece(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with healthy(tmp_path, env={"COLUMNS": "60"}) as s:
            s.twilio.configure(webhook_url="")
            code, out, err = await s.relay.command("doctor")
            assert (code, err) == (1, "")
            assert f"✓ Twilio account         {s.twilio.account_sid}" in out
            assert f"\n  {s.relay.url}/webhook/twilio/incoming#rc=5&rp=all&ct=2000&rt=3000\n" in out
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
            code, report, checks = await reported(s)
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
            found = (await examined(s))["Twilio account"]
            assert (found.status, "twilio.a" in str(found.fix)) == ("fail", True)

    run(scenario())


def test_a_wrong_key_fails_and_the_agents_are_skipped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, GOOD, start=False, twilio=good_twilio()) as s:
            s.relay.write_config({"elevenlabs": {"api_key": "sk_wrong"}})
            code, _, checks = await reported(s)
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
            found = await examined(s)
            assert {found[name].status for name in ("Twilio account", "ElevenLabs key")} == {"fail"}
            assert "twilio.base_url" in str(found["Twilio account"].fix)
            assert {found[name].status for name in ("clock", "opening.completed", "agents")} == {"skipped"}

    run(scenario())


def test_what_serve_lacks_is_listed_each_by_its_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            empty = tmp_path / "empty.toml"
            empty.write_text("")
            empty.chmod(0o600)
            code, _, checks = await reported(s, before=("--config", str(empty)))
            assert code == 1
            for key in ("server.token", "server.public_url", "twilio.account_sid", "twilio.sender"):
                assert checks[f"configuration: {key}"]["status"] == "fail"
                assert "set it to" in checks[f"configuration: {key}"]["fix"]
            for name in ("Twilio account", "ElevenLabs key", "agents", "public URL", "Twilio webhook"):
                assert checks[name]["status"] == "skipped"
            assert checks["database"]["status"] == "ok"

    run(scenario())


def test_every_fault_of_a_bad_configuration_is_listed_and_what_depends_on_it_is_skipped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.write_config({"poll": {"interval_seconds": 0}, "twilio": {"sendr": SENDER}})
            code, _, checks = await reported(s)
            assert code == 1
            assert checks["configuration: poll.interval_seconds"]["status"] == "fail"
            assert checks["configuration: twilio.sendr"]["fix"] == "did you mean twilio.sender?"
            for name in ("Twilio account", "Twilio sender", "Twilio webhook"):
                assert checks[name]["status"] == "skipped"
                assert "twilio.sendr has to be corrected first" in checks[name]["message"]
            assert checks["ElevenLabs key"]["status"] == "ok"
            assert s.twilio.journal.entries("request") == []

    run(scenario())


def test_a_configuration_file_that_is_not_there_is_a_check_that_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            code, _, checks = await reported(s, before=("--config", str(tmp_path / "nowhere.toml")))
            assert code == 1
            assert "wa-relay init" in checks["configuration"]["fix"]

    run(scenario())


def test_a_file_that_others_may_read_or_change_is_a_warning_with_its_chmod(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with healthy(tmp_path, start=False) as s:
            file.open_for_writing(s.relay.database, account_sid="", now=time.time()).connection.close()
            s.relay.config.chmod(0o644)
            s.relay.database.chmod(0o644)
            os.chmod(tmp_path, 0o777)  # noqa: S103 (that is what the warning is about)
            fixes = {check.fix for check in (await examined(s)).values() if check.status == "warn"}
            wanted = {f"chmod 600 {s.relay.config}", f"chmod 600 {s.relay.database}", f"chmod 700 {tmp_path}"}
            assert wanted <= fixes

    run(scenario())


def test_a_text_file_for_a_database_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.database.write_text("this is no database")
            code, _, checks = await reported(s)
            assert code == 1
            assert checks["database"]["status"] == "fail"
            assert "not a wa-relay database" in checks["database"]["message"]
            assert checks["database"]["fix"] == "Set database.path to another file"
            assert checks["uncertain sends"]["status"] == checks["pauses"]["status"] == "skipped"
            assert s.relay.database.read_text() == "this is no database"

    run(scenario())


def test_sends_of_unknown_fate_and_pauses_are_warnings_that_name_the_command(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.faults.next("create", Fault("F5"))
            assert (await s.report()).status == 202
            assert (await s.relay.command("pause"))[0] == 0
            code, _, checks = await reported(s)
            assert code == 0
            assert checks["uncertain sends"]["status"] == checks["pauses"]["status"] == "warn"
            assert "wa-relay resolve" in checks["uncertain sends"]["fix"]
            assert "wa-relay resume" in checks["pauses"]["fix"]
            assert checks["public URL"]["status"] == checks["daemon"]["status"] == "ok"
            assert ANA not in json.dumps(checks)

    run(scenario())


def test_a_hold_that_follows_from_wrong_credentials_names_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.configure(auth_token="rotated")
            assert (await s.report()).status == 202
            found = await examined(s)
            assert found["Twilio account"].status == "fail"
            # The hold follows from it and is not a separate fault.
            assert found["pauses"].status == "skipped"
            assert "Twilio account" in found["pauses"].message

    run(scenario())


def test_a_daemon_that_was_killed_does_not_count_as_running(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert (await examined(s))["daemon"].status == "ok"
            await s.relay.kill()
            found = await examined(s)
            assert (found["daemon"].status, found["public URL"].status) == ("skipped", "fail")
            assert "no daemon runs" in found["daemon"].message
            alone = await examined(s, offline=True)
            assert (alone["daemon"].status, alone["daemon"].fix) == ("warn", "start it: wa-relay serve")

    run(scenario())


def test_a_public_address_that_leads_elsewhere_fails_while_a_daemon_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            for wrong in (f"http://127.0.0.1:{free_port()}", s.twilio.url):
                s.relay.write_config({"server": {"public_url": wrong}})
                found = await examined(s)
                assert found["public URL"].status == "fail"
                assert f"http://127.0.0.1:{s.relay.port}" in str(found["public URL"].fix)

    run(scenario())


@pytest.mark.parametrize(("off", "status"), [(7200.0, "warn"), (-45.0, "warn"), (28.0, "ok")])
def test_a_clock_that_is_off_by_half_a_minute_is_a_warning(tmp_path: Path, off: float, status: str) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            assert (await examined(s, lambda: time.time() + off))["clock"].status == status

    run(scenario())


def test_an_address_of_this_machine_is_useless_to_a_service_elsewhere() -> None:
    config = load(
        None,
        {"WA_RELAY_SERVER_PUBLIC_URL": "http://localhost:3001", "WA_RELAY_SERVER_TOKEN": TOKEN},
        cwd=Path("/"),
    )

    async def scenario() -> Check:
        return await public.examine(config, None, asyncio.get_running_loop().time() + 5)

    found = run(scenario())
    assert found.status == "fail"
    assert "public_url" in found.message


def test_the_content_api_has_a_separate_host_at_twilio() -> None:
    assert host_beside("content", "https://api.twilio.com") == "https://content.twilio.com"
    assert host_beside("content", "https://api.dublin.ie1.twilio.com") == "https://content.dublin.ie1.twilio.com"
    assert host_beside("content", "http://127.0.0.1:8080") == "http://127.0.0.1:8080"
    assert host_beside("content", "https://api.twilio.com.evil.example") == "https://api.twilio.com.evil.example"


SILENT = {
    "Twilio": ("twilio", "base_url", "Twilio account"),
    "ElevenLabs": ("elevenlabs", "base_url", "ElevenLabs key"),
    "the public URL": ("server", "public_url", "public URL"),
}


def test_the_report_comes_within_20_s_although_a_service_hangs(tmp_path: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))

    async def hangs(service: str, folder: Path) -> None:
        # The kernel accepts connections, and nobody reads them.
        async with healthy(folder) as s:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            section, key, name = SILENT[service]
            s.relay.write_config({section: {key: url}})
            watch = Stopwatch()
            code, report, checks = await reported(s)
            assert watch.seconds < 20.0
            assert code == 1
            assert checks[name]["status"] == "fail"
            assert len([check for check in report["checks"] if check["status"] in ("warn", "fail")]) <= 2

    async def scenario() -> None:
        await asyncio.gather(*(hangs(service, folder) for service, folder in folders.items()))

    folders = {service: tmp_path / str(place) for place, service in enumerate(SILENT)}
    for folder in folders.values():
        folder.mkdir()
    with silent:
        run(scenario(), within=240)


def test_offline_asks_only_this_machine(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with healthy(tmp_path) as s:
            asked = [entry for entry in s.elevenlabs.journal.after(0) if entry.kind == "request"]
            code, report, checks = await reported(s, "--offline")
            assert (code, report["ok"]) == (0, True)
            offline = {name for name, check in checks.items() if check["status"] == "skipped"}
            assert offline >= {"Twilio account", "Twilio sender", "Twilio webhook", "opening.completed", "clock"}
            assert offline >= {"ElevenLabs key", "agents", "public URL"}
            assert checks["daemon"]["status"] == checks["poller"]["status"] == "ok"
            # The daemon itself lists messages.
            assert {entry.data["operation"] for entry in s.twilio.journal.entries("request")} <= {"list"}
            assert [entry for entry in s.elevenlabs.journal.after(0) if entry.kind == "request"] == asked

    run(scenario())
