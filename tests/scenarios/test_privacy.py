"""Stored, shown and erased data: the real daemon between the stand-ins."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.e2e.stage import AGENT, ANA, EVA, LUIS, Stage, payload, run, stage, until
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent, Recipient

SECRETS = (b"3138539155", "Ana García".encode(), b"Premium", b"conv_1")


async def a_thread(s: Stage) -> None:
    """A call, its opening, a question and its answer, all delivered."""
    await s.report(payload("conv_1"))
    await s.sent(1)
    await s.twilio.customer_writes(ANA, "¿Cuánto cuesta el plan Premium?")
    await s.sent(2)

    await delivered(s)


async def delivered(s: Stage, phone: str = ANA) -> None:
    """Waits until everything that was sent to a customer has its last receipt."""
    while True:
        messages = (await s.conversation(phone))["messages"]
        if all(message["status"] in ("received", "delivered", "read") for message in messages):
            return
        await asyncio.sleep(0.05)


def files(s: Stage) -> bytes:
    """Every byte of the database and what lies beside it."""
    return b"".join(path.read_bytes() for path in s.relay.folder.glob("wa-relay.db*") if path.is_file())


async def command(s: Stage, *arguments: str) -> str:
    code, out, err = await s.relay.command(*arguments)
    assert code == 0, err
    return out


async def figures(s: Stage) -> Any:
    return json.loads(await command(s, "stats", "--json"))


def test_a_forgotten_customer_is_in_no_byte_of_the_database_and_the_figures_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            before = await figures(s)
            assert [secret for secret in SECRETS if secret not in files(s)] == []
            out = await command(s, "forget", ANA, "--yes")
            assert "is forgotten" in out
            assert "Log files and old backups are not touched" in out
            assert [secret for secret in SECRETS if secret in files(s)] == []
            assert await figures(s) == before
            code, _, err = await s.relay.command("history", ANA)
            assert (code, "no call and no message" in err) == (1, True)
            assert (await s.report(payload("conv_1"))).json["reason"] == "forgotten"
            assert len(s.bodies()) == 2

    run(scenario())


def test_forget_works_without_a_daemon_and_asks_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            await s.relay.stop()
            code, _, err = await s.relay.command("forget", ANA)
            assert (code, "--yes" in err) == (2, True)
            assert b"3138539155" in files(s)
            assert json.loads(await command(s, "forget", ANA, "--yes", "--json"))["forgotten"]
            assert [secret for secret in SECRETS if secret in files(s)] == []
            assert (await s.relay.command("forget", ANA, "--yes"))[0] == 1

    run(scenario())


def test_upstream_copies_are_deleted_first_and_a_failure_erases_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            await s.elevenlabs.stop()
            code, _, err = await s.relay.command("forget", ANA, "--upstream", "--yes")
            assert (code, "nothing was erased here" in err) == (1, True)
            assert b"Premium" in files(s)
            await s.elevenlabs.start()

    run(scenario())


def test_old_threads_are_erased_by_age(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"retention": {"threads_days": 0.00001}}) as s:
            await a_thread(s)
            await s.report(payload("conv_2", LUIS))
            await s.sent(1, LUIS)
            await delivered(s, LUIS)
            # They are old 0.9 s after their last message, by times of whole seconds.
            while json.loads(await command(s, "retention", "--dry-run", "--json")) != {"threads": 2}:
                pass
            assert json.loads(await command(s, "retention", "--yes", "--json")) == {"threads": 2}
            assert [secret for secret in SECRETS if secret in files(s)] == []
            assert (await figures(s))["calls"] == 2

    run(scenario())


def test_opt_outs_are_kept_by_command(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await command(s, "opt-out", "add", ANA)
            assert (await s.report(payload("conv_1"))).json["reason"] == "opted_out"
            (row,) = json.loads(await command(s, "opt-out", "list", "--json"))
            assert (row["phone_number"], row["source"]) == (ANA, "cli")
            exported = await command(s, "opt-out", "export")
            assert exported.startswith(f"phone_number,opted_out_at,source\n{ANA},")
            await command(s, "opt-out", "remove", ANA)
            await command(s, "opt-out", "remove", ANA)
            assert json.loads(await command(s, "opt-out", "list", "--json")) == []
            bad = tmp_path / "bad.csv"
            bad.write_text(exported + "123,2026-11-22T15:04:05Z,import\n", encoding="utf-8")
            code, _, err = await s.relay.command("opt-out", "import", str(bad))
            assert (code, "line 3" in err) == (1, True)
            assert json.loads(await command(s, "opt-out", "list", "--json")) == []
            bad.write_text(exported.replace(ANA, f"'{ANA}"), encoding="utf-8")
            await command(s, "opt-out", "import", str(bad))
            assert await command(s, "opt-out", "export") == exported
            assert s.bodies() == []

    run(scenario())


def test_a_restored_backup_sends_nothing_old_and_keeps_the_opt_outs_since(tmp_path: Path) -> None:
    async def scenario() -> None:
        copy = tmp_path / "copy.db"
        async with stage(tmp_path, {"opening.completed": {"delay_seconds": 3600}}) as s:
            await s.report(payload("conv_1"))
            await s.report(payload("conv_2", LUIS))
            await command(s, "backup", str(copy))
            assert copy.stat().st_mode & 0o777 == 0o600
            await s.twilio.customer_writes(LUIS, "BAJA")
            await s.sent(1, LUIS)
            code, _, err = await s.relay.command("restore", str(copy), "--yes")
            assert (code, "already running" in err) == (75, True)
            await s.relay.stop()
            await asyncio.sleep(1.1)  # Twilio's times are whole seconds
            await command(s, "restore", str(copy), "--yes")
            code, _, err = await s.relay.command("resume")
            assert (code, "--anyway" in err) == (1, True)
            await s.relay.start()
            assert (await s.call("GET", "/health")).json["paused"] == "operator"
            opening = (await s.conversation())["messages"][0]
            assert (opening["status"], opening["reason"]) == ("failed", "restored")
            await until(lambda: "opt_outs_restored" in s.relay.log)
            luis = await s.conversation(LUIS)
            assert luis["status"] == "opted_out"
            assert [message["kind"] for message in luis["messages"]] == ["opening"]
            await command(s, "resume")
            assert (await s.call("GET", "/health")).json["paused"] is None
            assert (s.bodies(), len(s.bodies(LUIS))) == ([], 1)

    run(scenario())


def test_a_backup_never_takes_the_place_of_the_database_s_own_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            database = s.relay.folder / "wa-relay.db"
            inode = database.stat().st_ino
            link = tmp_path / "link.db"
            link.symlink_to(database)
            for own in (database, link, database.with_name("wa-relay.db-wal"), database.with_name("wa-relay.db.lock")):
                code, _, err = await s.relay.command("backup", str(own))
                assert code == 2
                assert "name another one" in err
            assert database.stat().st_ino == inode

    run(scenario())


def test_a_restored_backup_forgets_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        copy = tmp_path / "copy.db"
        async with stage(tmp_path) as s:
            await a_thread(s)
            await command(s, "backup", str(copy))
            await command(s, "forget", ANA, "--yes")
            await s.relay.stop()
            await command(s, "restore", str(copy), "--yes")
            assert b"Premium" in files(s)
            await s.relay.start()
            assert "forgotten_again customers=1" in s.relay.log
            assert [secret for secret in SECRETS if secret in files(s)] == []

    run(scenario())


def test_a_backup_that_is_damaged_or_something_else_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            copy = tmp_path / "copy.db"
            await command(s, "backup", str(copy))
            await s.relay.stop()
            before = files(s)
            whole = copy.read_bytes()
            copy.write_bytes(whole[:8192] + bytes(4096) + whole[12288:])
            assert (await s.relay.command("restore", str(copy), "--yes"))[0] == 74
            copy.write_text("something else", encoding="utf-8")
            assert (await s.relay.command("restore", str(copy), "--yes"))[0] == 65
            assert (await s.relay.command("restore", str(copy)))[0] == 2
            assert b"Premium" in before
            assert b"Premium" in files(s)

    run(scenario())


def test_export_has_everything_that_is_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            found = json.loads(await command(s, "export", ANA))
            assert found["stored"]["calls"][0]["raw"]
            kept = ("conversation", "addresses", "calls", "messages", "turns", "receipts")
            assert all(found["stored"][name] for name in kept)
            assert found["decisions"]
            page = tmp_path / "ana.html"
            await command(s, "export", ANA, "--format", "html", "--output", str(page))
            assert page.stat().st_mode & 0o777 == 0o600
            assert "¿Cuánto cuesta el plan Premium?" in page.read_text(encoding="utf-8")
            assert (await s.relay.command("export", LUIS))[0] == 1

    run(scenario())


def test_context_is_what_the_next_session_gets(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            shown = json.loads(await command(s, "context", ANA, "--json"))
            await s.twilio.customer_writes(ANA, "¿Y el plan básico?")
            await s.sent(3)
            assert shown["contextual_update"] == s.elevenlabs.journal.entries("context")[-1].data["text"]
            assert shown["dynamic_variables"] == s.elevenlabs.journal.entries("session")[-1].data["variables"]
            assert (await s.relay.command("context", LUIS))[0] == 1

    run(scenario())


def test_plan_says_what_the_daemon_then_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"opening.completed": {"min_call_seconds": 20}}) as s:
            recipients = [
                Recipient(ANA, talk_seconds=60.0, variables={"name": "Ana"}),
                Recipient(LUIS, talk_seconds=5.0),
                Recipient(EVA),
            ]
            batch = s.elevenlabs.add_batch(name="Campaña", agent_id=AGENT.agent_id, recipients=recipients)
            for number in (0, 1):
                s.elevenlabs.start_call(batch, number)
                s.elevenlabs.finish_call(batch, number)
            rows = {
                row["phone_number"]: row for row in json.loads(await command(s, "plan", "--batch", batch, "--json"))
            }
            assert (rows[ANA]["decision"], rows[ANA]["content"][:8]) == ("send", "Hola Ana")
            assert (rows[LUIS]["decision"], rows[LUIS]["reason"]) == ("skip", "too_short")
            assert (rows[EVA]["decision"], rows[EVA]["reason"]) == ("wait", "not_finished")
            assert s.bodies() == []
            assert (await figures(s))["calls"] == 0
            await s.relay.stop()
            s.relay.write_config({"poll": {"enabled": True, "interval_seconds": 1}})
            await s.relay.start()
            assert await s.sent(1) == [rows[ANA]["content"]]
            assert s.bodies(LUIS) == []
            again = json.loads(await command(s, "plan", "--batch", batch, "--json"))
            assert [row["reason"] for row in again] == ["known", "known", "not_finished"]
            assert (await s.relay.command("plan", "--batch", "btcal_none"))[0] == 1
            assert (await s.relay.command("plan"))[0] == 2

    run(scenario())


def test_replay_asks_another_agent_and_sends_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await a_thread(s)
            s.elevenlabs.add_agent(Agent("agent_other", client_events=CHAT_EVENTS))
            code, _, err = await s.relay.command("replay", ANA, "--agent", "agent_other")
            assert (code, "--yes" in err) == (2, True)
            (turn,) = json.loads(await command(s, "replay", ANA, "--agent", "agent_other", "--yes", "--json"))
            assert turn["question"] == "¿Cuánto cuesta el plan Premium?"
            assert (turn["old"], bool(turn["new"]), turn["error"]) == (s.bodies()[1], True, None)
            assert len(s.bodies()) == 2
            assert (await s.relay.command("replay", ANA, "--agent", "agent_none", "--yes"))[0] == 1

    run(scenario())
