"""`wa-relay history` as people and programs run it."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.running import COMMAND, ROOT, environment, printed, run
from tests.story import ANA, NOW, Story
from wa_relay.ledger.file import open_for_reading
from wa_relay.model import Attachment, SendRefused, Unclear
from wa_relay.reports import conversation

HOSTILE = "[bold red]rojo[/] \x1b]52;c;ZXZpbA==\x07 \u202eoculto :smile: \x9b31m"


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story_config = Story(tmp_path / "relay.db")
    yield story_config
    story_config.close()


@pytest.fixture
def thread(story: Story) -> Story:
    """A call, its opening, a question, an answer that failed, one that is uncertain, an opt-out."""
    story.call(
        "conv_1",
        client_name="Ana García",
        batch_name="Octubre",
        agent_name="Sofía",
        summary="Ana pidió los precios del plan Premium para compararlos con calma en su casa.",
    )
    ((_, sid),) = story.send()
    story.receipt(sid, "read")
    story.now += 60.0
    story.write("Sí me interesa, ¿precio?")
    story.answer("El plan cuesta $99. Mira https://example.com/" + "a" * 90)
    ((_, sid),) = story.send()
    story.receipt(sid, "failed", "63024")
    story.now += 86000.0
    story.write(HOSTILE)
    story.write("", attachment=Attachment("audio"))
    story.answer("¡Claro! 🎉")
    story.send(Unclear("read timeout"))
    story.write("baja")
    return story


def test_the_call_comes_first_and_then_the_thread(thread: Story) -> None:
    shown = printed(thread.path, "history", "+57", "313", "853-9155")
    places = [
        shown.index(words)
        for words in (
            "Ana García  +573138539155",
            "opted out · 8 messages",
            "☎ Call Wed 18 Nov 2026 06:06 · completed",
            "Octubre · Sofía",
            "Ana pidió los precios",
            "Wednesday 18 November 2026",
            "opening",
            "Hola Ana García",
            "06:06 ✓✓ read",
            "Sí me interesa, ¿precio?",
            "✗ failed",
            "undelivered, 63024: the number has no WhatsApp",
            "Thursday 19 November 2026",
            "[voice note]",
            "? uncertain",
            "wa-relay resolve 6",
            "notice: opt-out confirmed",
            "⏳ queued",
        )
    ]
    assert places == sorted(places)


def test_the_customer_is_on_the_left_and_we_are_on_the_right(thread: Story) -> None:
    lines = printed(thread.path, "history", ANA, COLUMNS="80").splitlines()
    customer = next(line for line in lines if "Sí me interesa" in line)
    ours = next(line for line in lines if "Hola Ana García" in line)
    assert customer.startswith("│ Sí me interesa")
    assert ours.startswith("          ")
    assert ours.endswith("│")
    assert cell_len(ours) == 80


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(thread: Story, width: int) -> None:
    shown = printed(thread.path, "history", ANA, COLUMNS=str(width))
    assert max(cell_len(line) for line in shown.splitlines()) <= width
    assert shown.count("a" * 10) >= 3 if width == 20 else "a" * 20 in shown


def test_what_a_customer_wrote_is_neither_obeyed_nor_taken_for_markup(thread: Story) -> None:
    shown = printed(thread.path, "history", ANA, COLUMNS="120", FORCE_COLOR="1", NO_COLOR="1")
    assert "[bold red]rojo[/] \\x1b]52;c;ZXZpbA==\\x07 \\u202eoculto :smile: \\x9b31m" in shown
    for obeyed in ("\x1b]", "\x07", "\u202e", "\x9b"):
        assert obeyed not in shown


def test_colours_are_for_a_terminal_and_go_when_nobody_wants_them(thread: Story) -> None:
    coloured = printed(thread.path, "history", ANA, FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[32m" in coloured
    assert "\x1b" not in printed(thread.path, "history", ANA)
    for plain in (
        printed(thread.path, "history", ANA, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1"),
        printed(thread.path, "--no-color", "history", ANA, FORCE_COLOR="1", TERM="xterm-256color"),
    ):
        assert "\x1b" not in plain


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_where_only_ascii_can_be_shown_everything_is_still_readable(thread: Story, env: dict[str, str]) -> None:
    done = run(thread.path, "history", ANA, **env)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode("ascii")
    for words in (
        "Ana Garcia",
        "Si me interesa, ?precio?",
        "++ read",
        "x failed",
        "!Claro! :party_popper:",
        "... queued",
    ):
        assert words in shown


def test_latin_1_keeps_its_accents(thread: Story) -> None:
    done = run(thread.path, "history", ANA, PYTHONIOENCODING="latin-1")
    assert "Sí me interesa, ¿precio?" in done.stdout.decode("latin-1")
    assert done.stderr == b""


def test_json_is_the_conversations_object_in_utf_8_whatever_the_locale(thread: Story) -> None:
    db = open_for_reading(thread.path)
    wanted = conversation.conversation(db, phone=ANA, limit=100)
    db.close()
    assert wanted is not None
    for env in ({}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}):
        assert json.loads(run(thread.path, "history", ANA, "--json", **env).stdout) == wanted.to_json(time.time())


def test_limit_shows_the_newest_and_says_that_there_are_more(thread: Story) -> None:
    shown = printed(thread.path, "history", ANA, "-n", "2")
    assert "2 of 8 messages are shown" in shown
    assert "Sí me interesa" not in shown
    story_config = json.loads(printed(thread.path, "history", ANA, "--limit", "2", "--json"))
    assert (len(story_config["messages"]), story_config["message_count"]) == (2, 8)


def test_since_leaves_out_what_was_before(thread: Story) -> None:
    story_config = json.loads(printed(thread.path, "history", ANA, "--since", "2026-11-19", "--json"))
    assert next(message["content"] for message in story_config["messages"]) == HOSTILE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["history"], "PHONE"),
        (["history", "313"], "country code"),
        (["history", "nadie"], "country code"),
        (["history", ANA, "--limit", "0"], "between 1 and 10000"),
        (["history", ANA, "-n", "99999999999999999999"], "between 1 and 10000"),
        (["history", ANA, "--since", "ayer"], "2026-11-22T15:00"),
        (["history", ANA, "--since", "0d"], "at least 1d"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wanted(thread: Story, arguments: list[str], words: str) -> None:
    done = run(thread.path, *arguments, COLUMNS="300")
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_an_unknown_number_ends_with_1_and_no_database_with_74(thread: Story, tmp_path: Path) -> None:
    nobody = run(thread.path, "history", "+573000000000")
    assert (nobody.returncode, nobody.stdout) == (1, b"")
    assert "no call and no message with" in nobody.stderr.decode()
    missing = run(tmp_path / "none.db", "history", ANA)
    assert missing.returncode == 74
    assert "wa-relay serve" in missing.stderr.decode()
    (tmp_path / "text.db").write_text("only words, and enough of them")
    assert run(tmp_path / "text.db", "history", ANA).returncode == 65


def test_a_reader_that_leaves_ends_it_with_0(thread: Story) -> None:
    for number in range(3000):
        thread.now += 1.0
        thread.write(f"mensaje {number} " + "x" * 60)
    for more in (["-n", "5000"], ["-n", "5000", "--json"]):
        process = subprocess.Popen(
            [*COMMAND, "history", ANA, *more],
            env=environment(thread.path),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
        process.stderr.close()


class Following:
    """`history --follow` in a separate process, read line by line, each within a deadline."""

    def __init__(self, story: Story, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "history", ANA, "--follow", *arguments],
            env=environment(story.path),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._net = threading.Timer(30.0, self.process.kill)
        self._net.start()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def until(self, words: str) -> str:
        """The next line with these words in it."""
        while line := self.line():
            if words in line:
                return line
        raise AssertionError(f"{words!r} did not come")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        self._net.cancel()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            assert "Traceback" not in stream.read()
            stream.close()
        return code


def test_follow_ends_when_its_reader_has_gone_though_nothing_new_is_printed(story: Story) -> None:
    story.call("conv_1")
    following = Following(story)
    following.until("Hola")
    assert following.process.stdout is not None
    following.process.stdout.close()
    assert following.process.wait(10) == 0
    following._net.cancel()
    assert following.process.stderr is not None
    assert following.process.stderr.read() == ""
    following.process.stderr.close()


def test_follow_as_json_prints_the_object_and_then_each_message_that_is_new_or_changed(story: Story) -> None:
    story.call("conv_1")
    ((opening, sid),) = story.send()
    following = Following(story, "--json")
    assert json.loads(following.line())["messages"][0]["status"] == "sent"
    story.receipt(sid, "delivered")
    assert json.loads(following.line()).items() >= {"id": opening, "status": "delivered"}.items()
    story.now += 5.0
    story.write("Sí")
    assert json.loads(following.line()).items() >= {"content": "Sí", "status": "received"}.items()
    assert following.interrupt() == 130


def test_follow_shows_only_what_is_new_though_older_messages_were_left_out(story: Story) -> None:
    story.call("conv_1")
    ((_, sid),) = story.send()
    story.now += 5.0
    story.write("vieja")
    following = Following(story, "-n", "1")
    following.until("vieja")
    story.receipt(sid, "read")
    story.now += 5.0
    story.write("nueva")
    seen = ""
    while "nueva" not in seen:
        seen += following.line()
    assert "Hola" not in seen
    story.call("conv_2", ended_at=NOW + 60, batch_name="Noviembre")
    following.until("☎ Call")
    assert following.interrupt() == 130


def test_follow_shows_how_far_a_message_got(story: Story) -> None:
    story.call("conv_1")
    ((opening, sid),) = story.send()
    following = Following(story)
    following.until("✓ sent")
    story.receipt(sid, "read")
    assert f"message {opening}" in following.until("✓✓ read")
    assert following.interrupt() == 130


def test_an_opening_that_was_refused_says_why(story: Story) -> None:
    story.call("conv_1")
    story.send(SendRefused("63016", "outside", "message"))
    assert "refused, 63016: outside the 24-hour window" in printed(story.path, "history", ANA, COLUMNS="200")
