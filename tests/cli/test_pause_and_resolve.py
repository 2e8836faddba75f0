"""`pause`, `resume` and `resolve`: through the running daemon, and directly when none runs."""

from __future__ import annotations

import getpass
import json
import os
import pty
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.whole import command, environment
from tests.cli.whole import run as run_alone
from tests.e2e.stage import ANA, LUIS, Stage, payload, run, stage, until
from tests.story import Story
from wa_relay.ledger.lock import DatabaseLock
from wa_relay.model import Unclear
from wa_relay.standins.twilio import Fault

SID = "SM" + "0123456789abcdef" * 2


def unclear(folder: Path) -> int:
    """Leaves a database with one uncertain opening; returns its id."""
    story = Story(folder / "wa-relay.db")
    story.call("conv_1")
    ((message_id, _),) = story.send(Unclear("no answer"))
    story.close()
    return message_id


def stored(folder: Path, message_id: int) -> tuple[Any, ...]:
    db = sqlite3.connect(folder / "wa-relay.db")
    row = db.execute(
        "select status, twilio_message_id from conversation_messages where id = ?", (message_id,)
    ).fetchone()
    db.close()
    return tuple(row)


@pytest.mark.parametrize(
    ("decision", "status", "sid"),
    [(["--sent", SID], "sent", SID), (["--resend"], "queued", None), (["--cancel"], "failed", None)],
    ids=["sent", "resend", "cancel"],
)
def test_a_person_decides_when_no_daemon_runs(
    tmp_path: Path, decision: list[str], status: str, sid: str | None
) -> None:
    message_id = unclear(tmp_path)
    code, out, err = run_alone(tmp_path, "resolve", str(message_id), *decision, "--yes")
    assert (code, err) == (0, "")
    assert f"{message_id} is now {status}" in out
    assert stored(tmp_path, message_id) == (status, sid)
    code, out, err = run_alone(tmp_path, "resolve", str(message_id), "--cancel", "--yes")
    assert (code, out) == (1, "")
    assert f"already {status}" in err
    assert stored(tmp_path, message_id) == (status, sid)


def test_a_database_that_fails_after_it_was_opened_is_no_traceback(tmp_path: Path) -> None:
    message_id = unclear(tmp_path)
    with closing(sqlite3.connect(tmp_path / "wa-relay.db")) as db:
        # What opens a file does not read it; a server may end its connection at the same place.
        db.execute("alter table relay drop column probed_at")
    code, out, err = run_alone(tmp_path, "resolve", str(message_id), "--cancel", "--yes")
    assert (code, out) == (74, "")
    assert err.startswith("wa-relay: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("decision", [["--sent", SID], ["--resend"], ["--cancel"]], ids=["sent", "resend", "cancel"])
def test_without_a_terminal_a_decision_requires_yes(tmp_path: Path, decision: list[str]) -> None:
    message_id = unclear(tmp_path)
    code, out, err = run_alone(tmp_path, "resolve", str(message_id), *decision)
    assert (code, out, "--yes" in err) == (2, "", True)
    assert stored(tmp_path, message_id) == ("uncertain", None)


@pytest.mark.parametrize(
    ("answer", "code", "status"), [("y\n", 0, "failed"), ("n\n", 130, "uncertain"), ("\n", 130, "uncertain")]
)
def test_on_a_terminal_a_decision_is_confirmed_first(tmp_path: Path, answer: str, code: int, status: str) -> None:
    message_id = unclear(tmp_path)
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    done = subprocess.run(
        command("resolve", str(message_id), "--cancel"),
        env=environment(),
        cwd=tmp_path,
        stdin=theirs,
        capture_output=True,
        timeout=30,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code
    assert ANA in done.stdout.decode()
    assert "Cancel message" in done.stdout.decode()
    assert stored(tmp_path, message_id)[0] == status


def test_what_needs_a_decision_is_listed_with_what_to_do(tmp_path: Path) -> None:
    message_id = unclear(tmp_path)
    code, out, _ = run_alone(tmp_path, "resolve", "--json")
    (decision,) = json.loads(out)
    assert code == 0
    assert (decision["id"], decision["phone_number"], decision["kind"]) == (message_id, ANA, "opening")
    assert set(decision) >= {"id", "phone_number", "kind", "content", "attempted_at", "age_seconds"}
    assert decision["attempted_at"].endswith("Z")
    code, out, _ = run_alone(tmp_path, "resolve")
    assert code == 0
    for words in (str(message_id), ANA, decision["content"], "--resend"):
        assert words in out


@pytest.mark.parametrize("message_id", ["999", "9" * 30])
def test_an_id_that_is_not_there_ends_with_1(tmp_path: Path, message_id: str) -> None:
    unclear(tmp_path)
    code, out, err = run_alone(tmp_path, "resolve", message_id, "--cancel", "--yes")
    assert (code, out) == (1, "")
    assert message_id in err


def test_pause_and_resume_are_kept_when_no_daemon_runs(tmp_path: Path) -> None:
    story = Story(tmp_path / "wa-relay.db")
    story.call("conv_1")
    story.close()
    assert run_alone(tmp_path, "pause")[0] == 0
    db = sqlite3.connect(tmp_path / "wa-relay.db")
    assert db.execute("select subject from holds").fetchall() == [("operator",)]
    code, out, _ = run_alone(tmp_path, "resume")
    assert (code, "1 were waiting" in out) == (0, True)
    assert db.execute("select subject from holds").fetchall() == []
    db.close()


def test_the_daemon_pauses_and_resumes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert (await s.relay.command("pause"))[0] == 0
            assert (await s.call("GET", "/health")).json["paused"] == "operator"
            assert (await s.report()).json["status"] == "message_queued"
            assert s.bodies() == []
            await s.relay.stop()
            await s.relay.start()
            assert (await s.call("GET", "/health")).json["paused"] == "operator"
            code, out, err = await s.relay.command("resume")
            assert (code, err, "1 were waiting" in out) == (0, "", True)
            await s.sent(1)
            assert (await s.call("GET", "/health")).json["paused"] is None

    run(scenario())


async def _left_open(s: Stage, phone: str, key: str) -> int:
    """A send whose fate the daemon can't know: Twilio cut the connection and made nothing."""
    s.twilio.faults.next("create", Fault("F5"))
    await s.report(payload(key, phone))

    def listed() -> int | None:
        db = sqlite3.connect(s.relay.database)
        row = db.execute(
            "select m.id from conversation_messages m join conversation_state c on c.id = m.conversation_id "
            "where m.status = 'uncertain' and c.phone_number = ?",
            (phone,),
        ).fetchone()
        db.close()
        return row[0] if row else None

    return await until(listed, what=s.relay.log[-2000:])


def test_the_daemon_carries_out_what_a_person_decides(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            first, second = await _left_open(s, ANA, "conv_a"), await _left_open(s, LUIS, "conv_b")
            code, out, _ = await s.relay.command("resolve", "--json")
            assert (code, {one["id"] for one in json.loads(out)}) == (0, {first, second})
            code, out, err = await s.relay.command("resolve", str(first), "--resend", "--yes")
            assert (code, err) == (0, "")
            await s.sent(1, ANA)
            code, _, _ = await s.relay.command("resolve", str(second), "--sent", SID, "--yes")
            assert code == 0
            code, _, err = await s.relay.command("resolve", str(second), "--cancel", "--yes")
            assert (code, "already" in err) == (1, True)
            assert (await s.relay.command("resolve", "999", "--cancel", "--yes"))[0] == 1
            assert (await s.relay.command("resolve", "--json"))[1] == "[]\n"
            (message,) = (await s.conversation(LUIS))["messages"]
            assert (message["twilio_message_id"], s.bodies(LUIS)) == (SID, [])
            with closing(sqlite3.connect(f"file:{s.relay.database}?mode=ro", uri=True)) as db:
                decided = db.execute("select message_id, to_status, actor from journal where event = 'operator'")
                user = f"cli ({getpass.getuser()})"
                assert decided.fetchall() == [(first, "queued", user), (second, "sent", user)]

    run(scenario())


def test_a_daemon_that_does_not_answer_is_explained(tmp_path: Path) -> None:
    unclear(tmp_path)
    lock = DatabaseLock(tmp_path / "wa-relay.db")
    lock.take("2026-11-25T12:00:00Z")
    try:
        code, out, err = run_alone(tmp_path, "pause")
    finally:
        lock.release()
    assert (code, out) == (75, "")
    assert "does not answer" in err
