"""`python -m tests.crash.mutants`: plants known mistakes one at a time and shows which test catches each.

A mistake fails this check if it can't be planted, if it stops the tests before they run, or if no test sees it. So does
an unchanged copy that does not pass.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COPIED = ("wa_relay", "tests", "pyproject.toml", "config.example.toml", "README.md", "docs")
LEDGER = ("tests/ledger",)
HANDOVER = ("tests/ledger/test_handover.py",)
FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)
WITHIN = 240.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: a text that occurs once in a file, its replacement, and the tests that must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = LEDGER


MUTANTS = (
    Mutant(
        "the webhook answers before the message is stored",
        "wa_relay/server/webhooks.py",
        "        received = await self._ledger.run(inbox.record_inbound, message, self._clock())\n",
        "        storing = self._ledger.run(inbox.record_inbound, message, self._clock())\n"
        "        asyncio.get_running_loop().call_later(0.2, lambda: asyncio.ensure_future(storing))\n"
        "        return empty_twiml()\n"
        "        received = await self._ledger.run(inbox.record_inbound, message, self._clock())\n",
        ("tests/e2e/test_storage.py",),
    ),
    Mutant(
        "the index of one opening a call is not unique",
        "wa_relay/ledger/schema.py",
        "create unique index one_opening_per_call",
        "create index one_opening_per_call",
    ),
    Mutant(
        "the index of one message in flight is not unique",
        "wa_relay/ledger/schema.py",
        "create unique index one_in_flight",
        "create index one_in_flight",
    ),
    Mutant(
        "the index of one answer a turn is not unique",
        "wa_relay/ledger/schema.py",
        "create unique index one_answer_per_turn",
        "create index one_answer_per_turn",
    ),
    Mutant(
        "an unclear send goes back to the queue",
        "wa_relay/ledger/send_results.py",
        "    if isinstance(result, Unclear):\n",
        "    if isinstance(result, Unclear):\n"
        '        requeue(ledger, message_id, now, Proof("http"), now)\n'
        '        return Finished(message_id, "queued", due_at=now)\n',
    ),
    Mutant(
        "a request under way when the process died is made again",
        "wa_relay/ledger/send_results.py",
        '        _become_uncertain(ledger, get_message(ledger, row["id"]), KILLED, now)\n',
        '        requeue(ledger, row["id"], now, Proof("http"), now)\n',
        ("tests/crash/test_commits.py",),
    ),
    Mutant(
        "the sweep reads one page and no more",
        "wa_relay/loops/reconcile.py",
        "            if page.next is None or (oldest is not None and oldest < back_to):\n",
        "            if page.next is None or oldest is None or oldest >= back_to or oldest < back_to:\n",
        ("tests/crash/test_sweep.py",),
    ),
    Mutant(
        "the sweep counts as complete before it is",
        "wa_relay/loops/reconcile.py",
        "        found = 0\n        async for page",
        "        found = 0\n        await self._ledger.run(receipts.complete_sweep, began)\n        async for page",
        ("tests/crash/test_sweep.py",),
    ),
    Mutant(
        "receipts are known by their SID alone",
        "wa_relay/ledger/receipts.py",
        "    if message is None and receipt.message_id is not None and not foreign:\n",
        "    if message is None and receipt.message_id is not None and not receipt.sid:\n",
    ),
    Mutant(
        "a later receipt of the same SID counts as a repetition",
        "wa_relay/ledger/receipts.py",
        '    ledger.write(INSERT_RECEIPT, parameters | {"message_id": message.id, "now": now})\n',
        '    ledger.write(INSERT_RECEIPT, parameters | {"message_id": message.id, "now": now})\n'
        '    if ledger.all("select 1 from receipts where sid = ?", (receipt.sid,))[1:]:\n'
        "        return Noted(True)\n",
    ),
    Mutant(
        "blank values of a form are dropped",
        "wa_relay/channel/inbound.py",
        "        fields = dict(pairs)\n",
        "        fields = dict(pair for pair in pairs if pair[1])\n",
        ("tests/channel/test_inbound.py",),
    ),
    Mutant(
        "a send is repeated after a 5xx",
        "wa_relay/channel/refusals.py",
        '        return Unclear(f"HTTP {status}", code)\n',
        '        return NotSent(f"HTTP {status}", retry_after)\n',
        ("tests/channel/test_errors.py",),
    ),
    Mutant(
        "the fence is skipped",
        "wa_relay/policy/openings.py",
        "call.ended_at is None or call.ended_at < math.floor(fence):",
        "call.ended_at is None:",
    ),
    Mutant(
        "the lock is ignored",
        "wa_relay/ledger/lock.py",
        "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
    ),
    Mutant("the hold ends too early", "wa_relay/policy/send_timing.py", "HOLD = 600.0\n", "HOLD = 20.0\n"),
    Mutant(
        "an unclear send holds nothing back",
        "wa_relay/ledger/send_results.py",
        '"in_flight": holds} | proof',
        '"in_flight": False} | proof',
    ),
    Mutant(
        "opt-outs are not checked before a send",
        "wa_relay/ledger/claims.py",
        '    if (message.consent == "opted_out") != (message.notice == "opt_out"):\n        return "cancelled"\n',
        "",
    ),
    Mutant(
        "an opt-out cancels no queued message",
        "wa_relay/ledger/consent.py",
        '    ledger.run(CANCEL_QUEUED, {"id": conversation_id, "now": now, "source": source})\n',
        "",
    ),
    Mutant(
        "a MessageSid may be stored twice",
        "wa_relay/ledger/schema.py",
        "    twilio_message_id text unique,\n    sent_at text",
        "    twilio_message_id text,\n    sent_at text",
    ),
    Mutant(
        "a look-up adopts a stranger's message",
        "wa_relay/policy/receipts.py",
        "        and message.to == phone\n",
        "",
    ),
    Mutant(
        "a look-up adopts the first of two matches",
        "wa_relay/ledger/receipts.py",
        "    if len(free) == 1:\n        (found,) = free.values()\n",
        "    if free:\n        found = next(iter(free.values()))\n",
    ),
    Mutant(
        "the database lets a message return to the queue without proof",
        "wa_relay/ledger/triggers.py",
        "(_LEGAL_MOVE, _PROOF, _SENDING, ",
        "(_LEGAL_MOVE, _SENDING, ",
    ),
    Mutant(
        "the greeting counts as the answer",
        "wa_relay/agent/turn.py",
        "        elif self._is_late_greeting(text):\n",
        "        elif self._is_late_greeting(text) and not text:\n",
        ("tests/agent",),
    ),
    Mutant(
        "a refusal of the account fails the message",
        "wa_relay/ledger/send_results.py",
        '    if refusal.scope in ("account", "sender"):\n',
        '    if refusal.scope in ("account", "sender") and not refusal.code:\n',
    ),
    Mutant(
        "the questions of a failed turn are forgotten",
        "wa_relay/ledger/turns.py",
        '    ledger.write(SET_UNANSWERED, {"turn_id": turn_id, "conversation_id": conversation_id})\n',
        "    pass\n",
    ),
    Mutant(
        "the agent is asked without the call and the thread",
        "wa_relay/loops/answering.py",
        "        if not self._agent.needs_context:\n",
        "        if self._agent.needs_context:\n",
        ("tests/loops/test_worker.py",),
    ),
    Mutant(
        "an answer that was stored at the second try wakes no sender",
        "wa_relay/loops/answering.py",
        "            taken = await self._persist(turns.take_answer, turn_id, parts, session_id, now)\n"
        "            self._wakers.send.ring()\n",
        "            taken = await self._persist(turns.take_answer, turn_id, parts, session_id, now)\n",
        ("tests/loops/test_worker.py",),
    ),
    Mutant(
        "a turn whose tools ran is asked again after a kill",
        "wa_relay/ledger/turns.py",
        "        if turn.tools_ran:\n            fail_turn(ledger, turn.id, INTERRUPTED, now)\n        elif",
        "        if",
    ),
    Mutant(
        "a question whose tools ran is part of the next one",
        "wa_relay/ledger/turns.py",
        '    if ledger.need_one(SELECT_TOOLS_RAN, {"turn_id": turn_id})[0]:\n        return\n',
        "",
    ),
    Mutant(
        "a turn may be put off without an end",
        "wa_relay/ledger/turns.py",
        "    if now >= end:\n        return False\n",
        "",
    ),
    Mutant(
        "an opening goes to the address that wrote last",
        "wa_relay/ledger/openings.py",
        "        to_address=call.phone,\n",
        "",
    ),
    Mutant(
        "the other spelling of a number is another customer",
        "wa_relay/ledger/customers.py",
        "    return (address,) if other is None else (address, other)\n",
        "    return (address,) if other is None else (address,)\n",
    ),
    Mutant(
        "the parts of an answer are all due at once",
        "wa_relay/ledger/turns.py",
        "        due = now if number == 0 else None\n",
        "        due = now\n",
    ),
    Mutant(
        "the answer is stored apart from the end of its turn",
        "wa_relay/ledger/turns.py",
        "    message_ids = []\n    for number",
        '    ledger.db.execute("commit")\n    ledger.db.execute("begin immediate")\n'
        "    message_ids = []\n    for number",
        ("tests/crash/test_commits.py",),
    ),
    Mutant(
        "a receipt that Twilio did not have yet is not asked for again",
        "wa_relay/ledger/receipts.py",
        '        put_off_poll(ledger, row["id"], now + ledger.rules.scaled(POLL_AGAIN))\n',
        '        ledger.run(PUT_OFF_POLL, {"at": None, "id": row["id"]})\n',
    ),
    Mutant(
        "account-level codes in receipts hold nothing",
        "wa_relay/ledger/receipts.py",
        "        alarm = holds.note_failure(ledger, message, code, now)\n",
        "        alarm = None\n",
    ),
    Mutant(
        "two conversations are merged while a message is in flight",
        "wa_relay/ledger/merging.py",
        "    if ledger.one(SELECT_BUSY, both):\n        return False\n",
        "",
        ("tests/ledger/test_merging.py",),
    ),
    Mutant(
        "a stopped template stops nothing",
        "wa_relay/ledger/claims.py",
        '            return stopped, "template"\n',
        "            pass\n",
        ("tests/ledger/test_holds.py",),
    ),
    Mutant(
        "a message from before the hold ends it",
        "wa_relay/ledger/holds.py",
        " and since < :attempted_at",
        " and :attempted_at > 0",
    ),
    Mutant(
        "a message that failed later ends the row of failures",
        "wa_relay/ledger/holds.py",
        " and m.status in ('sent', 'delivered', 'read')\n",
        "\n",
    ),
    Mutant(
        "a held sender is probed by every waiting message at once",
        "wa_relay/ledger/claims.py",
        "        limit = min(limit, 1)\n",
        "        limit = max(limit, 1)\n",
    ),
    Mutant(
        "one operation that fails leaves its half behind",
        "wa_relay/ledger/group_commit.py",
        "            db.undo()\n",
        "",
    ),
    Mutant(
        "the question of an answer that expired is forgotten",
        "wa_relay/ledger/send_results.py",
        "        turns.leave_unanswered(ledger, message.conversation_id, message.turn_id)\n",
        "        pass\n",
    ),
    Mutant(
        "a takeover leaves the agent's replies in the queue",
        "wa_relay/ledger/handover.py",
        '    ledger.run(CANCEL_AGENTS_MESSAGES, cancelled | {"replies": asked_turn is None})\n',
        "    cancelled.clear()\n",
        HANDOVER,
    ),
    Mutant(
        "a takeover leaves a turn open",
        "wa_relay/ledger/handover.py",
        "    held_turns.hold_begun_turns(ledger, conversation_id, now, but=asked_turn)\n",
        "    pass\n",
        HANDOVER,
    ),
    Mutant(
        "the database lets the agent send while a person has the conversation",
        "wa_relay/ledger/handover_schema.py",
        "HANDOVER_TRIGGERS = (_NO_SEND, ",
        "HANDOVER_TRIGGERS = (",
        HANDOVER,
    ),
    Mutant(
        "the database lets a takeover leave what was begun",
        "wa_relay/ledger/handover_schema.py",
        "_NOT_ASKED, _ENDS_ALL, ",
        "_NOT_ASKED, ",
        HANDOVER,
    ),
    Mutant(
        "a reply that was put off goes back to the queue while a person has the conversation",
        "wa_relay/ledger/send_results.py",
        "    if (ended := _end_if_taken_over(ledger, message, proof, now)) is not None:\n        return ended\n",
        "",
        HANDOVER,
    ),
    Mutant(
        "unanswered messages are never put to the agent after a release",
        "wa_relay/ledger/handover.py",
        "    held_turns.ask_held(ledger, conversation_id, now)\n",
        "    pass\n",
        HANDOVER,
    ),
    Mutant(
        "a person's message leaves the question for the agent",
        "wa_relay/ledger/human_messages.py",
        '    answered = held_turns.answer_held(ledger, conversation_id, "answered_by_person", now)\n',
        "    answered = None\n",
        HANDOVER,
    ),
    Mutant(
        "a person's message that failed counts as an answer",
        "wa_relay/ledger/send_results.py",
        "        human_messages.restore_question(ledger, ended, now)\n",
        "",
        HANDOVER,
    ),
    Mutant(
        "an Idempotency-Key is not looked up",
        "wa_relay/ledger/human_messages.py",
        "    if key is not None:\n        used",
        "    if key is not None and not key:\n        used",
        HANDOVER,
    ),
    Mutant(
        "the agent's last words before a handover are lost",
        "wa_relay/policy/handover.py",
        '    return kind == "reply" and handling.is_requested and handling.reason == "tool"\n',
        "    return False\n",
        HANDOVER,
    ),
    Mutant(
        "the lock belongs to the path",
        "wa_relay/ledger/lock.py",
        "descriptor = self._open() if descriptor is None else descriptor\n",
        "descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT) if descriptor is None else descriptor\n",
    ),
    Mutant(
        "the work of a living run is taken over",
        "wa_relay/ledger/send_results.py",
        "where r.id = m.epoch and r.ended_at is null)",
        "where r.id = m.epoch and r.ended_at is null and 1 = 0)",
        ("tests/ledger/test_runs.py",),
    ),
    Mutant(
        "a lost commit counts as one that was made",
        "wa_relay/ledger/postgres.py",
        'return row is not None and row["marker"] >= self._marker',
        "return row is not None",
        ("tests/ledger/test_runs.py",),
    ),
    Mutant(
        "a lost commit has no marker",
        "wa_relay/ledger/postgres.py",
        "update runs set marker = :marker, seen_at",
        "update runs set seen_at",
        ("tests/ledger/test_runs.py",),
    ),
    Mutant(
        "the rate holds for each daemon",
        "wa_relay/loops/rates.py",
        "bucket.rate = bucket.whole / daemons",
        "bucket.rate = bucket.whole",
        ("tests/loops/test_rates.py",),
    ),
    Mutant(
        "an opt-out crosses a claim on a server",
        "wa_relay/ledger/postgres.py",
        'TAKE_WRITER_LOCK = f"select pg_advisory_xact_lock({WRITER})"',
        'TAKE_WRITER_LOCK = f"select {WRITER}"',
        ("tests/ledger/test_runs.py",),
    ),
    Mutant(
        "a run without a lease continues",
        "wa_relay/ledger/postgres.py",
        "where id = :run and ended_at is null and lease_until > extract(epoch from clock_timestamp())",
        "where id = :run",
        ("tests/ledger/test_runs.py",),
    ),
    Mutant(
        "an operation's deferred changes do not count as changes",
        "wa_relay/ledger/sqlite.py",
        "return super().total_changes + self._times_deferred",
        "return super().total_changes",
        ("tests/ledger/test_read_ahead.py",),
    ),
    Mutant(
        "two messages of one customer count as independent of each other",
        "wa_relay/ledger/read_ahead.py",
        "        if rows[0][first.customer] in seen:\n            return number\n",
        "",
        ("tests/ledger/test_read_ahead.py",),
    ),
    Mutant(
        "two reports of one call count as independent of each other",
        "wa_relay/ledger/read_ahead.py",
        " or not seen.isdisjoint(names)",
        "",
        ("tests/ledger/test_read_ahead.py",),
    ),
    Mutant(
        "a message gets what was looked up for another customer",
        "wa_relay/ledger/sqlite.py",
        "found[first + place].append(",
        "found[first + (place + 1) % len(some)].append(",
        ("tests/ledger/test_read_ahead.py",),
    ),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of the tests for one mistake."""

    name: str
    caught: bool
    by: str
    seconds: float


def main() -> None:
    """Prints a line for each mistake and exits with 1 if one was not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="only mistakes whose name contains this")
    wanted = parser.parse_args().only
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.name]
    with tempfile.TemporaryDirectory(prefix="wa-relay-mutants-") as made:
        copy = Path(made)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / name)
        seen = [_unchanged(copy, sorted({path for mutant in chosen for path in mutant.tests}))]
        _print_result(seen[0])
        for mutant in chosen:
            seen.append(_plant(copy, mutant))
            _print_result(seen[-1])
    right = all(one.caught for one in seen)
    _say(f"{sum(one.caught for one in seen[1:])} of {len(chosen)} planted mistakes caught" + ("" if right else ": RED"))
    sys.exit(0 if right else 1)


def _unchanged(copy: Path, tests: list[str]) -> Seen:
    code, output, seconds = _test(copy, tests, 4 * WITHIN)
    return Seen("the unchanged code", code == 0, "passes" if code == 0 else _first(output), seconds)


def _plant(copy: Path, mutant: Mutant) -> Seen:
    path = copy / mutant.file
    before = path.read_text(encoding="utf-8")
    if before.count(mutant.old) != 1:
        return Seen(mutant.name, False, f"could not be planted: found {before.count(mutant.old)} times", 0.0)
    path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code, output, seconds = _test(copy, list(mutant.tests), WITHIN)
    finally:
        path.write_text(before, encoding="utf-8")
    by = _first(output)
    if code == 1 and by:
        return Seen(mutant.name, True, by, seconds)
    return Seen(mutant.name, False, "nobody" if code == 0 else f"the tests did not run (exit {code})", seconds)


def _test(copy: Path, tests: list[str], within: float) -> tuple[int, str, float]:
    began = time.monotonic()
    try:
        done = subprocess.run(
            (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests),
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, "", time.monotonic() - began
    return done.returncode, done.stdout, time.monotonic() - began


def _first(output: str) -> str:
    found = FAILED.search(output)
    return found.group(1) if found else ""


def _print_result(seen: Seen) -> None:
    mark = "ok " if seen.caught else "RED"
    _say(f"{mark} {seen.name:<66} {seen.seconds:5.1f} s  {seen.by}")


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
