"""The command line as a whole: its exit codes, and words instead of tracebacks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.cli.whole import command, environment, run
from tests.story import ANA, Story
from wa_relay import __version__
from wa_relay.ledger import file

READING = (["stats"], ["history", "+573138539155"], ["resolve"])
CHANGING = (["pause"], ["resume"], ["resolve", "1", "--cancel", "--yes"])


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An empty database of our own."""
    path = tmp_path / "wa-relay.db"
    file.open_for_writing(path, account_sid="", now=1.0).connection.close()
    return path


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert run(tmp_path, "--version") == (0, f"wa-relay {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bogus"],
        ["--bogus", "stats"],
        ["stats", "--bogus"],
        ["stats", "more"],
        ["stats", "--since", "yesterday"],
        ["stats", "--since", "2026-02-30"],
        ["stats", "--since", "2026-02-02", "--until", "2026-02-01"],
        ["stats", "--by", "week"],
        ["stats", "--format", "xml"],
        ["history"],
        ["history", "12"],
        ["history", "Ana"],
        ["history", "+573138539155", "--limit", "x"],
        ["history", "+573138539155", "--since", "x"],
        ["resolve", "x", "--cancel"],
        ["resolve", "0", "--cancel"],
        ["resolve", "-1", "--cancel"],
        ["resolve", "1.5", "--cancel"],
        ["resolve", "٣", "--cancel"],
        ["resolve", "1"],
        ["resolve", "--cancel"],
        ["resolve", "1", "--cancel"],
        ["resolve", "1", "--cancel", "--resend"],
        ["resolve", "1", "--sent"],
        ["resolve", "1", "--sent", "SM1"],
        ["resolve", "1", "--sent", "XX" + "0" * 32],
        ["send-test"],
        ["send-test", "12"],
        ["pause", "more"],
        ["init", "a", "b"],
        ["serve", "more"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_prints_nothing_as_a_result(
    tmp_path: Path, database: Path, arguments: list[str]
) -> None:
    code, out, err = run(tmp_path, *arguments)
    assert code == 2
    assert out == "" or not arguments
    assert out or err


@pytest.mark.parametrize("arguments", [*READING, *CHANGING], ids=" ".join)
def test_the_database_is_missing_something_else_newer_or_damaged(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "wa-relay.db"
    code, out, err = run(tmp_path, *arguments)
    assert (code, out, str(path) in err) == (74, "", True)
    path.write_text("A text file, long enough to have a header.\n" * 100)
    assert run(tmp_path, *arguments)[:2] == (65, "")
    path.unlink()
    file.open_for_writing(path, account_sid="", now=1.0).connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    assert run(tmp_path, *arguments)[:2] == (74, "")


@pytest.mark.parametrize("arguments", [*READING, *CHANGING, ["serve"], ["send-test", "+573138539155"]], ids=" ".join)
def test_a_bad_configuration_ends_with_78_and_all_its_faults(tmp_path: Path, arguments: list[str]) -> None:
    code, out, err = run(tmp_path, "--config", "missing.toml", *arguments)
    assert (code, out) == (78, "")
    assert str(tmp_path / "missing.toml") in err
    (tmp_path / "config.toml").write_text(
        '[server]\nprot = 1\n[reply]\nmax_lenght = 5\n[poll]\ninterval_seconds = "x"\n'
    )
    code, out, err = run(tmp_path, *arguments, WA_RELAY_TWILIO_SENDR="x")
    assert (code, out) == (78, "")
    for shown in (
        "server.port?",
        "reply.max_length?",
        "poll.interval_seconds",
        "WA_RELAY_TWILIO_SENDER?",
        "config.toml",
    ):
        assert shown in err


def test_a_secret_is_never_printed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[twilio]\nauth_token = "very secret ñ"\n[elevenlabs]\napi_key = 42\n')
    code, out, err = run(tmp_path, "serve", MICROSERVICE_TOKEN=" hidden words ")
    assert code == 78
    assert "very secret" not in out + err
    assert "hidden" not in out + err


def test_an_unknown_number_ends_with_1(tmp_path: Path, database: Path) -> None:
    code, out, err = run(tmp_path, "history", "+57", "313", "853-9155")
    assert (code, out) == (1, "")
    assert "+573138539155" in err


def test_nothing_to_list_is_done(tmp_path: Path, database: Path) -> None:
    assert run(tmp_path, "resolve", "--json") == (0, "[]\n", "")
    code, out, err = run(tmp_path, "resolve")
    assert (code, err) == (0, "")
    assert out
    code, out, err = run(tmp_path, "stats")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("arguments", [["stats"], ["stats", "--json"], ["resolve"], ["--help"]], ids=" ".join)
def test_a_reader_that_closed_the_pipe_is_not_a_failure(tmp_path: Path, database: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command(*arguments),
            env=environment(),
            cwd=tmp_path,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interruption_ends_with_130(tmp_path: Path) -> None:
    story = Story(tmp_path / "wa-relay.db")
    story.call("conv_1")
    story.close()
    with subprocess.Popen(
        command("history", ANA, "--follow"), env=environment(), cwd=tmp_path, stdout=-1, stderr=-1
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")


@pytest.mark.parametrize("arguments", CHANGING, ids=" ".join)
def test_a_database_that_another_program_locks_is_explained(
    tmp_path: Path, database: Path, arguments: list[str]
) -> None:
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin exclusive")
    try:
        code, out, err = run(tmp_path, *arguments)
    finally:
        other.close()
    assert (code, out) == (74, "")
    assert "locked" in err
