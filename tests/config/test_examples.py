"""The example configuration and the commands' own help are true."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import forking
from tests.cli.whole import environment
from wa_relay.cli.app import ENTRIES
from wa_relay.config import example_text, load

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(ENTRIES)


def test_the_example_is_the_same_in_the_root_and_in_the_package() -> None:
    packaged = (ROOT / "wa_relay" / "config.example.toml").read_bytes()
    assert (ROOT / "config.example.toml").read_bytes() == packaged
    assert example_text().encode() == packaged


def test_the_example_loads_and_says_what_holds_without_it(tmp_path: Path) -> None:
    written, empty = tmp_path / "example.toml", tmp_path / "empty.toml"
    written.write_text(example_text(), encoding="utf-8")
    empty.touch()
    example, default = load(written, {}, cwd=tmp_path), load(empty, {}, cwd=tmp_path)
    for section in ("general", "database", "elevenlabs", "poll", "opening", "reply", "quiet_hours", "opt_out", "log"):
        assert getattr(example, section) == getattr(default, section), section
    assert example.server.model_copy(update={"public_url": default.server.public_url}) == default.server
    assert example.twilio.model_copy(update={"sender": default.twilio.sender}) == default.twilio


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_a_help(command: str, option: str, tmp_path: Path) -> None:
    # Once as a user starts it: a command whose imports fail is seen here.
    done = forking.run((*command.split(), option), env=environment(), folder=tmp_path, real=option == "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage:" in done.stdout
    if not command:
        assert all(name.encode() in done.stdout for name in COMMANDS)


def test_every_command_of_the_contract_is_there() -> None:
    first = {"serve", "demo", "send-test", "history", "stats", "doctor", "resolve", "pause", "resume", "init"}
    assert first | {"service", "config"} <= set(COMMANDS)
