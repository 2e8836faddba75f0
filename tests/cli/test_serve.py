"""`wa-relay serve`: where it listens, how it ends, and why it does not begin."""

from __future__ import annotations

import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.e2e.stage import LISTENING, run, stage


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_makes_its_database_and_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            process = await s.relay.spawn("serve")
            s.relay.process = process
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            found = LISTENING.search(line)
            assert found
            assert found[1] == s.relay.url
            assert str(s.relay.database) in line
            assert stat.S_IMODE(s.relay.database.stat().st_mode) == 0o600
            assert (await s.call("GET", "/health")).status == 200
            assert await s.relay.stop(number) == 0
            assert "Traceback" not in s.relay.log

    run(scenario())


def test_a_free_port_is_found_and_printed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"server": {"port": 0}}, start=False) as s:
            process = await s.relay.spawn("serve")
            s.relay.process = process
            assert process.stdout is not None
            found = LISTENING.search((await process.stdout.readline()).decode())
            assert found
            async with s.http.get(f"{found[1]}/health") as answer:
                assert answer.status == 200
            assert await s.relay.stop() == 0

    run(scenario())


def test_a_second_one_names_the_first_and_ends_with_75(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert s.relay.process is not None
            code, out, err = await s.relay.command("serve")
            assert (code, out) == (75, "")
            assert str(s.relay.process.pid) in err
            assert (await s.call("GET", "/health")).status == 200
            await s.relay.kill()
            await s.relay.start()

    run(scenario())


def test_a_port_that_is_taken_ends_with_75_and_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            with socket.create_server(("127.0.0.1", s.relay.port)):
                code, out, err = await s.relay.command("serve")
            assert (code, out) == (75, "")
            assert str(s.relay.port) in err
            assert "Traceback" not in err

    run(scenario())


def test_a_database_that_is_something_else_ends_with_65_and_stays_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.relay.database.write_text("A text file, long enough to have a header.\n" * 10)
            before = s.relay.database.read_bytes()
            code, out, err = await s.relay.command("serve")
            assert (code, out) == (65, "")
            assert str(s.relay.database) in err
            assert s.relay.database.read_bytes() == before

    run(scenario())


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"server": {"token": ""}}, 78, "server.token"),
        ({"server": {"public_url": ""}}, 78, "server.public_url"),
        ({"twilio": {"account_sid": ""}}, 78, "twilio.account_sid"),
        ({"twilio": {"auth_token": ""}}, 78, "twilio.auth_token"),
        ({"twilio": {"sender": ""}}, 78, "twilio.sender"),
        ({"elevenlabs": {"api_key": ""}}, 78, "elevenlabs.api_key"),
        ({"server": {"host": "0.0.0.0"}, "twilio": {"verify_signature": False}}, 78, "twilio.verify_signature"),
        ({"log": {"file": "config.toml/relay.log"}}, 78, "log.file"),
        ({"database": {"path": "nowhere/relay.db"}}, 74, "nowhere"),
    ],
    ids=lambda message: str(message) if isinstance(message, str) else "",
)
def test_a_failure_to_begin_is_explained(
    tmp_path: Path, settings: dict[str, dict[str, object]], code: int, message: str
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, settings, start=False) as s:
            ended, out, err = await s.relay.command("serve")
            assert (ended, out) == (code, "")
            assert message in err
            assert "Traceback" not in err
            assert not s.relay.database.exists()

    run(scenario())


def test_its_log_goes_to_a_file_too_and_contains_no_number_and_no_text(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"log": {"file": "logs/relay.log", "level": "debug", "format": "json"}}) as s:
            await s.report()
            await s.sent(1)
            await s.twilio.customer_writes("+573138539155", "Sí me interesa, ¿precio?")
            await s.sent(2)
            await s.relay.stop()
            log = (tmp_path / "logs" / "relay.log").read_text(encoding="utf-8")
            assert log == s.relay.log
            assert "opening_sent" in log
            assert "agent_answered" in log
            for secret in ("3138539155", "interesa", "Ana García", s.bodies()[0], s.bodies()[1]):
                assert secret not in log

    run(scenario())
