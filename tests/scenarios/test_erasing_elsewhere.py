"""Erasing at Twilio and ElevenLabs, and what differs on PostgreSQL: the real daemon between the stand-ins."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.stage import ANA, LUIS, payload, run, stage
from tests.engines import Cluster
from tests.scenarios.test_privacy import a_thread, command, files


def test_forget_upstream_deletes_messages_then_sessions_and_what_is_gone_counts_as_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            messages = (await s.conversation())["messages"]
            sids = {message["twilio_message_id"] for message in messages}
            gone = messages[0]["twilio_message_id"]
            key = base64.b64encode(f"{s.twilio.account_sid}:{s.twilio.settings.auth_token}".encode()).decode()
            place = f"{s.twilio.url}/2010-04-01/Accounts/{s.twilio.account_sid}/Messages/{gone}.json"
            async with s.http.delete(place, headers={"Authorization": f"Basic {key}"}) as answer:
                assert answer.status == 204
            session = s.elevenlabs.journal.entries("session")[-1].data["conversation_id"]
            out = json.loads(await command(s, "forget", ANA, "--upstream", "--yes", "--json"))
            assert out == {"phone_number": ANA, "forgotten": True, "upstream": True}
            at_twilio = s.twilio.journal.entries("deleted")
            assert sorted(str(entry.data["sid"]) for entry in at_twilio) == sorted(sids)
            (elsewhere,) = s.elevenlabs.journal.entries("deleted")
            assert elsewhere.data["conversation_id"] == session
            assert max(entry.at for entry in at_twilio) <= elsewhere.at
            assert b"Premium" not in files(s)

    run(scenario())


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    made = cluster.create()
    yield made
    cluster.drop(made)


def test_on_postgresql_backup_and_restore_name_its_own_tools_and_restored_makes_safe(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        settings: dict[str, dict[str, object]] = {
            "database": {"url": url},
            "opening.completed": {"delay_seconds": 3600},
        }
        async with stage(tmp_path, settings) as s:
            await s.report(payload("conv_1"))
            for arguments in (("backup", "copy.db"), ("restore", "copy.db", "--yes")):
                code, _, err = await s.relay.command(*arguments)
                assert (code, "pg_dump" in err) == (2, True)
            assert (await s.relay.command("restore", "--restored", "--yes"))[0] == 75
            await s.relay.stop()
            await command(s, "restore", "--restored", "--yes")
            code, _, err = await s.relay.command("resume")
            assert (code, "--anyway" in err) == (1, True)
            await s.relay.start()
            assert (await s.call("GET", "/health")).json["paused"] == "operator"
            (opening,) = (await s.conversation())["messages"]
            assert (opening["status"], opening["reason"]) == ("failed", "restored")

    run(scenario())


def test_on_postgresql_a_forgotten_customer_is_in_no_table_and_the_rest_is_named(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"database": {"url": url}}) as s:
            await a_thread(s)
            await s.report(payload("conv_2", LUIS, name="Luis Rojas"))
            out = await command(s, "forget", ANA, "--yes")
            assert "PostgreSQL's own log, replicas and archives" in out
            assert (s.relay.folder / "config.toml.forgotten").exists() or list(s.relay.folder.glob("*.forgotten"))
            with psycopg.connect(url) as db:
                tables = db.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
                stored = " ".join(str(db.execute(f'select * from "{name}"').fetchall()) for (name,) in tables)
            assert "3138539155" not in stored
            assert "Premium" not in stored
            assert "Luis Rojas" in stored
            answer = await s.report(payload("conv_1"))
            assert answer.json.get("reason") == "forgotten", answer

    run(scenario())


def test_restored_makes_safe_a_file_that_was_put_back_by_other_means(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"opening.completed": {"delay_seconds": 3600}}) as s:
            await s.report(payload("conv_1"))
            assert (await s.relay.command("restore", "--restored", "--yes"))[0] == 75
            await s.relay.stop()
            out = await command(s, "restore", "--restored", "--yes")
            assert "Openings are paused" in out
            assert (await s.relay.command("resume"))[0] == 1
            await command(s, "resume", "--anyway")
            await s.relay.start()
            assert (await s.call("GET", "/health")).json["paused"] is None
            (opening,) = (await s.conversation())["messages"]
            assert (opening["status"], opening["reason"]) == ("failed", "restored")
            assert s.bodies() == []

    run(scenario())
