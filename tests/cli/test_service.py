"""`wa-relay service`: units that systemd accepts, and that name this installation."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.whole import run
from wa_relay.cli.units import STOP_SECONDS, Installation, serve_unit, stats_units
from wa_relay.daemon import SEND_GRACE


def installation(database: Path, **more: object) -> Installation:
    facts: dict[str, object] = {
        "program": ("/opt/wa-relay/venv/bin/wa-relay",),
        "python": Path("/usr"),
        "config": Path("/etc/wa-relay/config.toml"),
        "database": database,
        "log_file": None,
        "user": "root",
        "timezone": "America/Bogota",
        **more,
    }
    return Installation(**facts)  # type: ignore[arg-type]


def settings(unit: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text('[database]\npath = "data/relay.db"\n', encoding="utf-8")
    (tmp_path / "data").mkdir()
    return tmp_path


def test_the_unit_names_this_program_and_the_configuration_in_use(folder: Path) -> None:
    code, out, err = run(folder, "service", "unit")
    assert (code, err) == (0, "")
    assert out.startswith("# wa-relay.service\n")
    found = settings(out)
    assert found["ExecStart"] == f"{sys.executable} -m wa_relay --config {folder / 'config.toml'} serve"
    assert found["Type"] == "notify"
    assert int(found["WatchdogSec"]) > 0


def test_the_unit_may_write_only_to_the_folder_of_its_database(folder: Path) -> None:
    found = settings(run(folder, "service", "unit")[1])
    assert (found["ProtectSystem"], found["ReadWritePaths"]) == ("strict", str(folder / "data"))


def test_the_timer_runs_stats_each_headed_by_its_name(folder: Path) -> None:
    code, out, err = run(folder, "service", "timer")
    assert (code, err) == (0, "")
    assert re.findall(r"^# (wa-relay\S+)$", out, re.MULTILINE) == ["wa-relay-stats.service", "wa-relay-stats.timer"]
    service, timer = out.split("# wa-relay-stats.timer\n")
    words = settings(service)["ExecStart"].split()
    assert words[words.index("stats") :][:3] == ["stats", "--since", "7d"]
    assert "OnCalendar" in settings(timer)


def test_without_a_configuration_file_no_unit_is_printed(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "service", "unit")
    assert (code, out, "--config" in err) == (78, "", True)


@pytest.mark.parametrize("arguments", [["service"], ["service", "socket"]], ids=" ".join)
def test_an_unknown_unit_is_wrong_usage(folder: Path, arguments: list[str]) -> None:
    assert run(folder, *arguments)[:2] == (2, "")


def test_the_unit_waits_longer_than_the_daemon_takes_to_stop() -> None:
    assert STOP_SECONDS >= SEND_GRACE + 10


def test_files_in_a_home_or_in_a_temporary_folder_stay_visible() -> None:
    usual = settings(serve_unit(installation(Path("/var/lib/wa-relay/wa-relay.db"))))
    assert (usual["ProtectHome"], usual["PrivateTmp"]) == ("yes", "yes")
    home = settings(serve_unit(installation(Path("/home/ana/wa-relay.db"))))
    assert (home["ProtectHome"], home["PrivateTmp"]) == ("read-only", "yes")
    python = settings(serve_unit(installation(Path("/srv/wa-relay.db"), python=Path("/root/.pyenv/versions/3.11"))))
    assert python["ProtectHome"] == "read-only"
    temporary = settings(serve_unit(installation(Path("/var/tmp/wa-relay.db"))))  # noqa: S108 - a name only
    assert temporary["PrivateTmp"] == "no"


def test_the_folder_of_a_log_file_may_be_written_too() -> None:
    unit = serve_unit(installation(Path("/srv/relay/wa-relay.db"), log_file=Path("/var/log/relay/relay.log")))
    assert settings(unit)["ReadWritePaths"] == "/srv/relay /var/log/relay"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["data", "two words", "100% of 'it'", 'a "quote"', "back\\slash", "$HOME"])
def test_systemd_accepts_the_units(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    program = tmp_path / "wa-relay"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    facts = installation(folder / "wa-relay.db", program=(str(program),), config=folder / "config.toml")
    units = tmp_path / "units"
    units.mkdir()
    for text in (serve_unit(facts), *stats_units(facts)):
        (units / text.partition("\n")[0].removeprefix("# ")).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(units.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "wa-relay" in line]
    assert (done.returncode, ours) == (0, [])
