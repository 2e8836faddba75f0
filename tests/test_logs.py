"""The log: each step with its ids, nothing personal, one line whatever is in it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from wa_relay import logs
from wa_relay.logs import fail, say, warn
from wa_relay.model import RelayError

ANA, NAME, TEXT = "+573138539155", "Ana García", "Sí me interesa, ¿precio?"
PERSONAL = (ANA, ANA[1:], "3138539155", NAME, "García", TEXT, "interesa")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The logging of the process is put back, and what was opened closed."""
    root = logging.getLogger()
    kept = [(each, each.handlers[:], each.level, each.propagate) for each in (root, logs.LOGGER)]
    raising = logging.raiseExceptions
    yield
    for handler in logs.LOGGER.handlers:
        handler.close()
    for each, handlers, level, propagate in kept:
        each.handlers[:] = handlers
        each.setLevel(level)
        each.propagate = propagate
    logging.raiseExceptions = raising


class Log:
    """A log in a file, set up as the daemon does."""

    def __init__(self, folder: Path, *, as_json: bool = False, personal: bool = False, level: str = "debug") -> None:
        self.path = folder / "logs" / "relay.log"
        logs.set_up(level=level, as_json=as_json, file=self.path, personal_data=personal, timezone=UTC)

    @property
    def text(self) -> str:
        """All that was logged."""
        return self.path.read_text(encoding="utf-8")

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The lines of a JSON log."""
        return [json.loads(line) for line in self.text.splitlines()]


def speak_of_a_customer() -> None:
    """Logs everything that could identify a customer, in every way there is."""
    say("message_received", phone=ANA, name=NAME, text=TEXT, sid="SM1", message=7, customer="CO.1")
    warn("send_refused", why=f"The 'To' number {ANA} is not valid")
    warn("listed", url=f"https://x.co/Messages.json?To=whatsapp%3A%2B{ANA[1:]}&From=whatsapp:{ANA}")
    warn("named", wa_id=ANA[1:])
    try:
        try:
            raise KeyError(TEXT)
        except KeyError as error:
            raise ValueError(f"{NAME} {ANA}: {TEXT}") from error
    except ValueError as error:
        fail("agent_fault", error, message=7)
        logging.getLogger("asyncio").error("Task failed: %r", error, exc_info=error)
        logging.getLogger("asyncio").error("exception=%s", f"{error!r}")
    logging.getLogger("aiohttp.server").warning(f"Error handling {NAME} {ANA} {TEXT}")  # noqa: G004
    logging.getLogger("twilio.http").warning("POST %s", {"To": ANA, "Body": TEXT})


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
@pytest.mark.parametrize("as_json", [False, True])
def test_no_number_name_or_text_is_logged_at_any_level(tmp_path: Path, as_json: bool, level: str) -> None:
    log = Log(tmp_path, as_json=as_json, level=level)
    speak_of_a_customer()
    assert "agent_fault" in log.text
    for secret in PERSONAL:
        assert secret not in log.text


@pytest.mark.parametrize("as_json", [False, True])
def test_with_personal_data_all_of_it_is_logged(tmp_path: Path, as_json: bool) -> None:
    log = Log(tmp_path, as_json=as_json, personal=True)
    speak_of_a_customer()
    for expected in (ANA, NAME, TEXT):
        assert log.text.count(expected) > 3


def test_a_number_is_shown_by_its_country_and_its_end(tmp_path: Path) -> None:
    log = Log(tmp_path, as_json=True)
    say("message_received", phone=ANA, why=f"to {ANA}!", wa_id=ANA[1:])
    (entry,) = log.entries
    assert (entry["phone"], entry["why"], entry["wa_id"]) == ("+57•••••••55", "to +57•••••••55!", "+57•••••••55")


def test_ids_addresses_times_and_counts_are_not_taken_for_phone_numbers(tmp_path: Path) -> None:
    log = Log(tmp_path, as_json=True)
    expected: dict[str, Any] = {
        "sid": "SM01234567890123456789012345678901",
        "call": "conv_9601234567890",
        "at_unix": 1764000000,
        "took": 1234567890.25,
        "url": "http://127.0.0.1:50123/webhook",
        "ok": True,
        "when": "2026-11-25T22:30:54.123456Z",
    }
    say("step", **expected)
    (entry,) = log.entries
    assert {key: entry[key] for key in expected} == expected
    assert (entry["level"], entry["action"]) == ("info", "step")


def test_a_step_is_a_line_with_its_time_level_action_and_ids(tmp_path: Path) -> None:
    log = Log(tmp_path, level="info")
    say("opening_sent", sid="SM1", conversation=3, reason=None, what="two words")
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 INFO +opening_sent sid=SM1 conversation=3 what="two words"\n',
        log.text,
    )


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_quoted_text_can_not_forge_a_line(tmp_path: Path, as_json: bool, personal: bool) -> None:
    log = Log(tmp_path, as_json=as_json, personal=personal, level="info")
    forged = "x\n2026-11-25T00:00:00 INFO opening_sent\r\u2028y\x1b[2J"
    say("step", why=forged, text=forged)
    say("step " + forged)
    logging.getLogger("library").warning("%s", forged)
    assert len(log.text.splitlines()) == log.text.count("\n") == 3
    assert "\x1b" not in log.text
    say("step", what="\ud800\x9b")
    assert log.text.count("\n") == 4


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_traceback_comes_at_debug_and_is_set_off_from_the_lines(tmp_path: Path, level: str, personal: bool) -> None:
    log = Log(tmp_path, level=level, personal=personal)
    try:
        raise RuntimeError("x\n2026-11-25T00:00:00 INFO forged")
    except RuntimeError as error:
        fail("job_fault", error)
    lines = log.text.splitlines()
    assert (len(lines) > 1) is (level == "debug")
    assert all(line.startswith("    ") or "job_fault" in line for line in lines)
    assert "error=" in lines[0]
    assert "RuntimeError" in lines[0]


def test_our_own_failures_and_those_of_files_keep_their_text(tmp_path: Path) -> None:
    log = Log(tmp_path, as_json=True)
    fail("storage_fault", OSError(28, "No space left on device"))
    fail("poll_fault", RelayError(f"ElevenLabs is away; asked by {ANA}"))
    assert "No space left on device" in log.entries[0]["error"]
    assert log.entries[2]["error"] == "RelayError: ElevenLabs is away; asked by +57•••••••55"


def test_exceptions_that_are_each_others_cause_end(tmp_path: Path) -> None:
    log = Log(tmp_path)
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    fail("job_fault", first)
    assert log.text.count("ValueError") == 3


def test_below_its_level_nothing_is_logged(tmp_path: Path) -> None:
    log = Log(tmp_path, level="error")
    say("step")
    warn("trouble")
    logging.getLogger("library").info("chatter")
    assert log.text == ""


def test_a_log_file_is_rotated_and_five_old_ones_are_kept(tmp_path: Path) -> None:
    log = Log(tmp_path, level="info")
    for _ in range(75):
        say("step", what="x" * 1_000_000)
    files = sorted(path.name for path in log.path.parent.iterdir())
    assert files == ["relay.log", *(f"relay.log.{number}" for number in range(1, 6))]
    assert all(path.stat().st_size <= 10 * 1024 * 1024 for path in log.path.parent.iterdir())


class Stream(io.StringIO):
    """A stream that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str, /) -> int:
        self.written.set()
        return super().write(text)


@pytest.mark.parametrize("latest", [0.0, 3600.0], ids=["after a time", "when asked to"])
def test_lines_are_written_together(latest: float) -> None:
    async def scenario() -> None:
        stream = Stream()
        handler = logs.Together(stream, latest=latest)
        handler.setFormatter(logs.EventFormatter(as_json=False, personal_data=False, timezone=UTC))
        logs.LOGGER.handlers[:], logs.LOGGER.propagate = [handler], False
        logs.LOGGER.setLevel("INFO")
        for _ in range(2):
            say("first")
            if latest:
                # Lines of several turns of the loop are written together, too.
                await asyncio.sleep(0)
            say("second")
            assert stream.getvalue() == ""
            if latest:
                logs.write_kept()
            await stream.written.wait()
            assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["first", "second"]
            stream.truncate(0)
            stream.seek(0)
            stream.written.clear()

    asyncio.run(asyncio.wait_for(scenario(), 60))
