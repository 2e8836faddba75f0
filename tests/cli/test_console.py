"""`wa-relay console`: exit codes and output of the commands, without a daemon."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import forking
from wa_relay.ledger import file

PASSWORD = "correct horse battery\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file.open_for_writing(tmp_path / "wa-relay.db", account_sid="AC1", now=1.0).connection.close()
    config = tmp_path / "config.toml"
    config.write_text(f'[database]\npath = "{tmp_path / "wa-relay.db"}"\n', encoding="utf-8")
    config.chmod(0o600)
    return tmp_path


def console(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    done = forking.run(
        ("--config", str(folder / "config.toml"), "console", *arguments),
        env=forking.environment(),
        folder=folder,
        stdin=typed.encode(),
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_user_is_added_listed_changed_and_removed(folder: Path) -> None:
    assert console(folder, "user", "add", "ana", typed=PASSWORD).returncode == 0
    (listed,) = json.loads(console(folder, "user", "list", "--json").stdout)
    assert (listed["name"], listed["role"], listed["last_login_at"]) == ("ana", "viewer", None)
    assert set(listed) == {"name", "role", "created_at", "last_login_at"}
    assert console(folder, "user", "role", "ana", "admin").returncode == 0
    assert json.loads(console(folder, "user", "list", "--json").stdout)[0]["role"] == "admin"
    assert console(folder, "user", "password", "ana", typed=PASSWORD).returncode == 0
    assert console(folder, "user", "remove", "ana").returncode == 0
    assert json.loads(console(folder, "user", "list", "--json").stdout) == []


def test_a_name_that_is_taken_or_unknown_exits_with_1(folder: Path) -> None:
    console(folder, "user", "add", "ana", typed=PASSWORD)
    assert console(folder, "user", "add", "ana", typed=PASSWORD).returncode == 1
    for arguments in (("user", "remove", "eva"), ("user", "role", "eva", "admin"), ("link", "eva")):
        assert console(folder, *arguments).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (("user", "add", "a b"), PASSWORD),
        (("user", "add", "x" * 65), PASSWORD),
        (("user", "add", "ana"), "short\n"),
        (("user", "add", "ana", "--role", "king"), PASSWORD),
    ],
)
def test_a_wrong_name_password_or_role_exits_with_2(folder: Path, arguments: tuple[str, ...], typed: str) -> None:
    assert console(folder, *arguments, typed=typed).returncode == 2
