"""What is kept, shown and erased: the real daemon between the stand-ins."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.e2e.stage import ANA, LUIS, Stage, payload, run, stage

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
            await asyncio.sleep(1.1)  # the last message has to be older than 0.9 s
            assert json.loads(await command(s, "retention", "--dry-run", "--json")) == {"threads": 2}
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
