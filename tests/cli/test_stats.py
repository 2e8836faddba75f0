"""`wa-relay stats` in its four formats, as cron runs it."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.running import environment, printed, run
from tests.story import BOGOTA, LUIS, Story
from wa_relay.cli.report_labels import EN, ES, REASONS_ES
from wa_relay.cli.report_text import alerts
from wa_relay.ledger import operator_decisions
from wa_relay.ledger.file import open_for_reading
from wa_relay.model import Unclear
from wa_relay.reports import spans, stats_queries
from wa_relay.reports.awaiting_operator import Standing
from wa_relay.reports.figures import StoppedTemplate
from wa_relay.reports.tally import NOT_YET, REASONS, SKIPPED
from wa_relay.reports.turn_durations import FEW

HOSTILE = '=cmd|" /C calc"!A1<script>alert(1)</script>'


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    written_story = Story(tmp_path / "relay.db")
    written_story.call("conv_1", batch_id="b1", batch_name="Campaña Octubre")
    ((_, sid),) = written_story.send()
    written_story.receipt(sid, "read")
    written_story.now += 60.5
    written_story.write("Sí me interesa")
    written_story.answer("Claro")
    ((_, sid),) = written_story.send()
    written_story.receipt(sid, "failed", "63024")
    written_story.call("conv_2", LUIS, batch_id="b2", batch_name=HOSTILE, outcome="voicemail")
    yield written_story
    written_story.close()


def wanted(story: Story, by: stats_queries.Grouping | None = None) -> object:
    """The report as the read side makes it."""
    db = open_for_reading(story.path)
    try:
        return stats_queries.stats(db, span=spans.Span(), by=by, timezone=BOGOTA).to_json()
    finally:
        db.close()


def test_the_table_has_the_funnel_the_figures_the_failures_and_the_groups(story: Story) -> None:
    shown = printed(story.path, "stats", "--by", "batch")
    places = [
        shown.index(words)
        for words in (
            "WhatsApp after the call",
            "everything so far (America/Bogota)",
            "calls     2 ███",
            "opened    1 ███",
            "50.0 % of calls",
            "delivered 1",
            "100 % of opened",
            "read      1",
            "replied   1",
            "1 outcome not followed up",
            "1 min 00 s (median)",
            "1 in, 2 out",
            "1 answered, 0 failed, 3.5 s median, 3.5 s p95",
            "63024",
            "the number has no WhatsApp",
            "By batch",
        )
    ]
    assert places == sorted(places)
    assert "Campaña Octubre" in shown


@pytest.mark.parametrize("by", [None, "day", "batch"])
def test_a_report_that_two_connections_share_is_the_same(story: Story, by: stats_queries.Grouping | None) -> None:
    """So many turns that the command opens a second connection; few of them are there."""
    story.ledger.db.execute(
        """insert into turns (id, conversation_id, state, first_at, last_at, due_at)
        values (:id, 1, 'cancelled', 1, 1, 1)""",
        {"id": FEW + 1},
    )
    grouping = ("--by", by) if by else ()
    assert json.loads(printed(story.path, "stats", "--json", *grouping)) == wanted(story, by)


def test_a_hold_and_an_uncertain_send_are_reported(story: Story) -> None:
    assert "!" not in printed(story.path, "stats")
    story.call("conv_3")
    story.send(Unclear("read timeout"))
    operator_decisions.pause(story.ledger, "ana", 0.0)
    shown = printed(story.path, "stats")
    assert "! 1 send needs a decision: wa-relay resolve" in shown
    assert "! Openings are paused. To release them: wa-relay resume" in shown


def test_a_stopped_template_is_named_with_what_to_do() -> None:
    stopped = StoppedTemplate("HX1", "63041", "Meta has paused it", "2026-11-29T01:00:00Z")
    (line,) = alerts(Standing(0, False, False, None, (stopped,)))
    assert line.startswith("The template HX1 is stopped (63041: Meta has paused it)")
    assert line.endswith("wa-relay resume --template HX1")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(story: Story, width: int) -> None:
    shown = printed(story.path, "stats", "--by", "batch", COLUMNS=str(width))
    assert max(cell_len(line) for line in shown.splitlines()) <= width


def test_without_unicode_the_table_is_ascii(story: Story) -> None:
    done = run(story.path, "stats", "--by", "batch", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Campana Octubre" in done.stdout.decode("ascii")
    assert "calls     2 ###" in done.stdout.decode("ascii")


def test_json_is_the_report_and_json_alone_means_the_same(story: Story) -> None:
    assert json.loads(printed(story.path, "stats", "--json")) == wanted(story)
    assert json.loads(printed(story.path, "stats", "--format", "json", "--by", "day")) == wanted(story, "day")
    assert json.loads(run(story.path, "stats", "--json", "--by", "batch", LC_ALL="C").stdout) == wanted(story, "batch")


def test_csv_is_flat_and_harmless_in_a_spreadsheet(story: Story) -> None:
    written = run(story.path, "stats", "--format", "csv", "--by", "batch").stdout.decode()
    assert written.count("\r\n") == written.count("\n") == 3
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [row["key"] for row in rows] == ["'" + HOSTILE, "Campaña Octubre"]
    hostile, first = rows
    assert (first["by"], first["calls"], first["openings_read"], first["replied"]) == ("batch", "1", "1", "1")
    assert (first["reply_rate"], first["median_first_reply_seconds"]) == ("1.0", "60.0")
    assert (first["failures"], first["failure_codes"]) == ("1", "63024=1")
    assert (hostile["skipped_outcome_not_followed"], hostile["reply_rate"], hostile["turns_median_seconds"]) == (
        "1",
        "",
        "",
    )
    (everything,) = csv.DictReader(io.StringIO(printed(story.path, "stats", "--format", "csv")))
    assert (everything["key"], everything["by"], everything["calls"]) == ("", "", "2")


def test_csv_has_cancelled_openings_and_losses_and_with_compare_the_span_before(story: Story) -> None:
    written = printed(story.path, "stats", "--format", "csv", "--since", "2026-11-18", "--compare")
    now, before = csv.DictReader(io.StringIO(written))
    assert (now["openings_cancelled"], now["losses"]) == ("0", "opening/outcome_not_followed=1")
    assert (now["since"] > before["since"], before["calls"]) == (True, "0")


def test_without_traffic_everything_of_the_calls_is_counted_the_same(story: Story) -> None:
    left_out = {"messages", "turns", "costs"}
    db = open_for_reading(story.path)
    whole, calls = (
        stats_queries.stats(db, span=spans.Span(), by="batch", timezone=BOGOTA, traffic=traffic).to_json()
        for traffic in (True, False)
    )
    db.close()
    for mine, other in zip((whole, *whole["groups"]), (calls, *calls["groups"]), strict=True):
        assert mine.keys() == other.keys()
        assert all(mine[name] == other[name] for name in mine if name not in {*left_out, "groups"})
    assert calls["messages"] == {"inbound": 0, "outbound": 0}


def test_the_table_shows_losses_and_with_compare_the_span_before(story: Story) -> None:
    shown = printed(story.path, "stats", "--since", "2026-11-18", "--compare")
    assert "0 cancelled" in shown
    assert "Where openings are lost" in shown
    assert "opening: outcome_not_followed" in shown
    assert "Compared with the span before" in shown
    assert "before: from " in shown


class Page(HTMLParser):
    """The content of the page as a browser finds it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "action", "srcset"}]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_stands_alone_and_takes_no_name_for_markup(story: Story) -> None:
    text = printed(story.path, "stats", "--format", "html", "--by", "batch")
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert "script" not in page.tags
    assert page.links == []
    assert "default-src 'none'" in page.policy
    assert not any(outside in text for outside in ("http://", "https://", "url(", "@import"))
    assert HOSTILE in page.words
    for words in ("Campaña Octubre", "respondidos", "63024", "todo hasta ahora (America/Bogota)"):
        assert words in page.words
    assert '<html lang="es">' in text
    assert {"svg", "rect"} <= set(page.tags)
    assert len(text.encode()) < 500_000


def test_the_page_is_in_the_language_of_the_configuration(story: Story) -> None:
    text = printed(story.path, "stats", "--format", "html", "--by", "batch", WA_RELAY_GENERAL_LANGUAGE="en")
    assert '<html lang="en">' in text
    assert "everything so far (America/Bogota)" in text
    assert "respondidos" not in text


def test_every_text_of_the_page_exists_in_both_languages() -> None:
    assert ES.keys() == EN.keys()
    assert set(REASONS_ES) >= {*REASONS, *NOT_YET, *SKIPPED} - {"opted_out"}


def test_compare_adds_the_span_before_and_requires_a_beginning(story: Story) -> None:
    report = json.loads(printed(story.path, "stats", "--since", "30d", "--compare", "--json"))
    assert report["previous"]["until"] == report["since"]
    assert report["previous"]["calls"] == 0
    refused = run(story.path, "stats", "--compare")
    assert (refused.returncode, b"--since" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("limits", "code", "says"),
    [
        ("failed>0,delivered>0", 1, "delivered is 1 (delivered>0)"),
        ("replied>=100%", 1, "replied is 100% (replied>=100%)"),
        ("replied<0%,failed>100%", 0, ""),
        ("deadly>1", 2, "is not a limit"),
        ("failed>>1", 2, "is not a limit"),
        ("", 2, "is not a limit"),
    ],
)
def test_a_broken_limit_exits_with_1_and_is_named(story: Story, limits: str, code: int, says: str) -> None:
    done = run(story.path, "stats", "--fail-on", limits)
    assert (done.returncode, says in " ".join(done.stderr.decode().replace("│", " ").split())) == (code, True), done
    assert bool(done.stdout) is (code < 2)
    assert bool(done.stderr) is (code > 0)


def test_a_figure_that_is_null_breaks_no_limit(tmp_path: Path) -> None:
    empty = Story(tmp_path / "empty.db")
    empty.close()
    done = run(tmp_path / "empty.db", "stats", "--fail-on", "replied<10%,failed>0%")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_appears_whole_keeps_its_mode_and_nothing_is_printed(story: Story, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    target.chmod(0o640)
    assert printed(story.path, "stats", "--format", "html", "--output", str(target)) == ""
    assert target.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    new = tmp_path / "new.txt"
    assert printed(story.path, "stats", "--output", str(new), FORCE_COLOR="1") == ""
    assert "\x1b" not in new.read_text()
    assert "calls" in new.read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_link_and_a_device_stay_what_they_are(story: Story, tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    printed(story.path, "stats", "--json", "--output", str(link))
    assert link.is_symlink()
    assert json.loads(target.read_text()) == wanted(story)
    printed(story.path, "stats", "--json", "--output", os.devnull)
    assert Path(os.devnull).is_char_device()


def test_a_file_that_cant_be_written_ends_with_1_and_a_message(story: Story, tmp_path: Path) -> None:
    for target in (tmp_path / "none" / "x.json", tmp_path):
        done = run(story.path, "stats", "--json", "--output", str(target))
        assert (done.returncode, done.stdout) == (1, b"")
        assert "can't be written" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "ayer"], "2026-11-22T15:00"),
        (["--until", "0h"], "at least 1h"),
        (["--since", "2026-11-23", "--until", "2026-11-20"], "after"),
        (["--since", "999999999999d"], "shorter"),
        (["--by", "week"], "batch"),
        (["--format", "pdf"], "html"),
        (["--json", "--format", "csv"], "can't be combined"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wanted(story: Story, arguments: list[str], words: str) -> None:
    done = run(story.path, "stats", *arguments, COLUMNS="300")
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_the_span_is_read_in_the_configured_timezone(story: Story) -> None:
    figures = json.loads(printed(story.path, "stats", "--json", "--since", "2026-11-18", "--until", "2026-11-18"))
    assert (figures["since"], figures["until"], figures["calls"]) == ("2026-11-18T05:00:00Z", "2026-11-19T05:00:00Z", 2)
    elsewhere = {"WA_RELAY_GENERAL_TIMEZONE": "Asia/Tokyo"}
    figures = json.loads(printed(story.path, "stats", "--json", "--since", "2026-11-19", **elsewhere))
    assert (figures["since"], figures["calls"]) == ("2026-11-18T15:00:00Z", 0)


def test_no_database_ends_with_74(tmp_path: Path) -> None:
    done = run(tmp_path / "none.db", "stats")
    assert (done.returncode, done.stdout) == (74, b"")
    assert "wa-relay serve" in done.stderr.decode()


FROZEN = """
from freezegun import freeze_time
from wa_relay.reports import spans, stats_queries
from wa_relay.cli.report_labels import EN, ES, REASONS_ES
from wa_relay.cli.report_text import alerts
from wa_relay.cli.app import run
freeze_time("2026-11-20T12:00:00Z").start()
run(["stats", "--json", "--since", {since!r}])
"""
"""The command in a process whose clock stands still, all that it needs loaded before."""


@pytest.mark.parametrize(
    ("since", "begins"),
    [("24h", "2026-11-19T12:00:00Z"), ("7d", "2026-11-13T12:00:00Z"), ("30m", "2026-11-20T11:30:00Z")],
)
def test_a_length_goes_back_from_now(story: Story, since: str, begins: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FROZEN.format(since=since)],
        env=environment(story.path, PYTHONWARNINGS="default"),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["since"] == begins
