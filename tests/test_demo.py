"""`wa-relay demo` as a separate process: the story it prints, and how it ends when a step does not happen."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.stopwatch import Stopwatch

ROOT = Path(__file__).parent.parent
T = TypeVar("T")
LONGEST = 60.0
"""Seconds that the whole demo may take."""

ELSEWHERE = {
    "WA_RELAY_SERVER_PORT": "no port",
    "TWILIO_AUTH_TOKEN": "of a real account",
    "ELEVENLABS_API_KEY_FILE": "/nowhere",
    "http_proxy": "http://127.0.0.1:9",
}
"""Settings that a real relay's operator may have in the environment: none of them reaches the demo."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a demo: `temporary` is its TMPDIR, and nothing else may be written."""

    root: Path

    @property
    def temporary(self) -> Path:
        return self.root / "temporary"

    def start(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        plain = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
        folders = {"HOME": str(self.root / "home"), "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [sys.executable, "-m", "wa_relay", "demo", *arguments],
            env={**plain, **folders, **(env or {})},
            cwd=self.root / "work",
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def processes(self) -> dict[int, str]:
        """The processes that belong to this demo's folder, with their command lines."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.temporary) in line:
                    found[int(entry.name)] = line
        return found

    def daemon_of(self, parent: int) -> int:
        """The process id of the daemon that a demo has started."""
        for pid, line in self.processes().items():
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            if line.rstrip().endswith(" serve") and int(stat.rpartition(")")[2].split()[1]) == parent:
                return pid
        raise AssertionError("no daemon runs")

    def is_clean(self) -> bool:
        return not self.processes() and not [path for path in self.root.rglob("*") if path.is_file()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    for name in ("temporary", "home", "work"):
        (tmp_path / name).mkdir()
    made = Place(tmp_path)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], T], within: float = 40.0) -> T:
    end = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def reads_until(process: subprocess.Popen[bytes], words: str) -> None:
    """Reads the story up to the line with those words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line.decode():
            return
    raise AssertionError(f"the story ended without {words!r}")


def finished(process: subprocess.Popen[bytes], typed: str | None = None) -> tuple[int, str, str]:
    out, err = process.communicate(None if typed is None else typed.encode(), timeout=120)
    return process.returncode, out.decode(), err.decode()


def test_it_prints_the_whole_story_with_the_agents_answers_and_leaves_nothing_behind(place: Place) -> None:
    watch = Stopwatch()
    code, out, err = finished(place.start("--price-answer", "Vale tres mil quince.", env=ELSEWHERE))
    assert (code, err) == (0, "")
    assert watch.seconds < LONGEST
    story, history, figures = re.split(r"\n\$ wa-relay (?:history .*|stats)\n", out)
    for words in ("The call to Ana García is over: completed", "Sí me interesa, ¿precio?", "Vale tres mil quince."):
        assert story.count(words) == 1
    for words in (
        "voicemail",
        "failed, without a conversation",
        "all 3 messages",
        "[voice note]",
        "Speech-to-text hears",
        "gets the picture",
        "“opted_out”",
    ):
        assert words in " ".join(story.split())
    assert "200 “message_sent”" in " ".join(story.split())
    assert "Vale tres mil quince." in history
    assert story.count("read after") == history.count("✓✓ read") == 2
    for line in (r"calls +6 ", r"opened +5 ", r"read +5 ", r"replied +4 ", r"opted out +1\b"):
        assert re.search(line, figures), line
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert place.is_clean()


def test_a_killed_daemon_ends_it_at_once_with_1_and_the_log_is_kept(place: Place) -> None:
    process = place.start()
    reads_until(process, "The call to Ana García is over")
    watch = Stopwatch()
    os.kill(place.daemon_of(process.pid), signal.SIGKILL)
    code, _, err = finished(process)
    assert code == 1
    assert watch.seconds < 4.0
    assert "the daemon died (signal 9 (SIGKILL))" in err
    assert "Traceback" not in err
    log = re.search(r"The daemon's log is (\S+)", err)
    assert log
    assert Path(log[1]).is_relative_to(place.temporary)
    assert " listening " in Path(log[1]).read_text(encoding="utf-8")
    assert not place.processes()


def test_a_step_that_does_not_happen_ends_it_with_1_and_says_which(place: Place) -> None:
    process = place.start()
    reads_until(process, "Valentina calls the customers")
    os.kill(place.daemon_of(process.pid), signal.SIGSTOP)
    code, _, err = finished(process)
    assert code == 1
    assert "this did not happen within 8 s: wa-relay finds the call to Ana García" in err
    assert "daemon.log" in err
    assert "Traceback" not in err
    assert not place.processes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_it_with_130_and_leaves_nothing_behind(place: Place, number: int) -> None:
    process = place.start()
    reads_until(process, "The call to Ana García is over")
    process.send_signal(number)
    code, _, err = finished(process)
    assert (code, err) == (130, "")
    assert place.is_clean()


def test_the_daemon_dies_with_a_demo_that_is_killed(place: Place) -> None:
    process = place.start()
    reads_until(process, "The call to Ana García is over")
    assert place.daemon_of(process.pid)
    process.kill()
    finished(process)
    until(lambda: not place.processes())


def test_the_customer_is_who_writes_into_the_pipe(place: Place) -> None:
    process = place.start("--chat", stdin=subprocess.PIPE)
    typed = "Hola\n¿Y el horario?\n\x1b[2Jbaja no\nBAJA\nhola?\nALTA\nsalir\nnever read\n"
    code, out, err = finished(process, typed)
    assert (code, err) == (0, "")
    printed = " ".join(out.replace("│", " ").split())
    for words in ("¡Hola! Soy Valentina", "Atendemos de lunes a viernes", "Listo, no te escribiremos más"):
        assert words in printed
    assert "\\x1b[2Jbaja no" in out
    assert "\x1b" not in out
    assert printed.index("hola?") < printed.index("you have opted out") < printed.index("tenerte de vuelta")
    assert "never read" not in out
    assert place.is_clean()


def test_a_killed_daemon_ends_a_chat_that_waits_for_its_customer(place: Place) -> None:
    process = place.start("--chat", stdin=subprocess.PIPE)
    reads_until(process, "“salir”")
    os.kill(place.daemon_of(process.pid), signal.SIGKILL)
    code = process.wait(10)
    _, _, err = finished(process)
    assert code == 1
    assert "the daemon died" in err


def test_on_a_terminal_what_is_typed_becomes_a_bubble(place: Place) -> None:
    ours, theirs = pty.openpty()
    process = place.start("--chat", stdin=theirs)
    os.close(theirs)
    reads_until(process, "“salir”")
    os.write(ours, "¿Cuánto cuesta?\n".encode())
    reads_until(process, "│ ¿Cuánto cuesta? │")
    reads_until(process, "$99.900")
    os.write(ours, b"\x04")
    code, _, err = finished(process)
    os.close(ours)
    assert (code, err) == (0, "")
    assert place.is_clean()


def test_it_can_be_read_where_only_ascii_and_few_columns_are(place: Place) -> None:
    code, out, _ = finished(place.start("--chat", env={"LANG": "C", "COLUMNS": "60"}))
    assert code == 0
    assert out.isascii()
    assert "Ana Garcia" in out
    assert max(map(len, out.splitlines())) <= 60


def test_the_picture_comes_from_a_run_and_refers_to_nothing_outside(place: Place) -> None:
    made = place.root / "made.svg"
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "picture.py"), str(made)], cwd=ROOT, timeout=120, check=False
    )
    assert done.returncode == 0
    for path in (made, ROOT / "docs" / "demo.svg"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 150_000
        words = "".join(ET.fromstring(text).itertext()).replace("\xa0", " ")  # noqa: S314 (our own file)
        assert "Sí me interesa, ¿precio?" in words
        assert "$99.900" in words
        assert "@font-face" not in text
        assert "href" not in text
        assert {address for address in re.findall(r"url\(([^)]*)\)", text) if not address.startswith("#")} == set()


def test_the_demo_with_the_console_keeps_running_until_ctrl_c(place: Place) -> None:
    process = place.start("--console")
    assert process.stdout is not None
    links = []
    for line in process.stdout:
        links += re.findall(rb"http://127[^ ]+/console/login\?link=[\w-]+", line)
        if b"Ctrl-C ends the demo" in line:
            break
    assert len(links) == 2
    with urllib.request.urlopen(links[-1].decode(), timeout=40) as page:
        assert b"<button" in page.read()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == b""
