"""The verdict on a run. The stand-ins' journals are the truth about what was sent and written.

The database is read only for messages that were never accepted, and for the SIDs that it adopted.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from tests.crash import voices
from tests.crash.met import note_traffic, note_what_was_met
from tests.crash.people import CALLED, CANARY, CONFIRMATION, FALLBACK, GREETING, Expected
from tests.crash.traffic import SALES
from tests.crash.verdict import ASKED, Sent, Verdict, message_id_of, too_late
from tests.e2e.stage import TOKEN
from wa_relay.ledger.engine import Queries
from wa_relay.reports.why import why
from wa_relay.standins.elevenlabs import ElevenLabsStandin
from wa_relay.standins.journal import Entry
from wa_relay.standins.twilio import SANDBOX, TwilioStandin

UNCERTAIN_SHARE, UNCERTAIN_OF_KILL = 0.15, 1 / 3
"""Of the sends, or for each kill where kills are frequent, those that may end as uncertain. More of them would hide
that the look-up finds nothing: in a run on a starved machine 98 of 319 sends were uncertain at first, 31 at the end."""

LATE_SHARE = 0.01
"""The share of sends that a starved machine may bring to Twilio after the divided hold."""

ENDS = ("delivered", "read", "failed", "uncertain")
ON_THE_WAY = 2.5
"""Seconds after an opt-out within which a send under way may still be accepted (F8)."""

MEDIA = re.compile(r"/(SM|MM)[0-9a-f]{32}/ME[0-9a-f]{32}")
"""The path of a file at the host to which Twilio redirects: only files are fetched there."""

PAID_IN_VAIN = frozenset({"truncated", "broken", "drip", "lost", "slow"})
"""Faults of speech-to-text after which the recording was transcribed but the whole answer did not arrive."""

SELECT_UNHEARD = """
    select m.twilio_message_id from conversation_messages m join media f on f.message_id = m.id
    where f.purpose = 'transcript' and f.state in ('failed', 'idle')"""

SELECT_BROKEN_OFF = """
    select q.twilio_message_id, q.content, r.content as answer from conversation_messages q
    join turns t on t.id = q.turn_id and t.tools_ran and t.state = 'answered'
    join conversation_messages r on r.turn_id = t.id and r.kind = 'reply' and r.part = 0
    where q.direction = 'inbound'"""
"""Questions whose turn used a tool: the answer is what the agent had written when it fell silent."""

SELECT_EVENTS = """
    select case when event = 'hold' then event || ' ' || reason else event end from journal
    where event in ('merge', 'hold') and reason is distinct from 'template_released'"""
SELECT_FOLLOWED = """
    select c.elevenlabs_conversation_id,
        case when exists (select 1 from conversation_messages m where m.call_id = c.id and m.kind = 'opening')
            then null else c.skipped end
    from calls c"""
PHONE = re.compile(r"573\d{9}|57300\d{7}")
SID = re.compile(r"(SM|MM)[0-9a-f]{32}")


def judge(
    twilio: TwilioStandin,
    agents: ElevenLabsStandin,
    known: Expected,
    read: Callable[[], Queries],
    log: str,
    *,
    kills: int,
) -> Verdict:
    """Judges the whole run; `read` opens the database."""
    verdict = Verdict()
    everyone = known.addresses.everyone
    sent = [_sent(entry, known) for entry in twilio.journal.entries("accepted")]
    with contextlib.closing(read()) as db:
        rows = {row["id"]: row for row in db.execute("select * from conversation_messages")}
        moves = db.execute("select from_status, to_status, code from journal where from_status is not null").fetchall()
        refused = {row[0] for row in db.execute("select phone_number from opt_outs where source = 'twilio'")}
        phones = {row[0]: row[1] for row in db.execute("select id, phone_number from conversation_state")}
        turns = db.execute("select count(*) from turns where state in ('open', 'asking')").fetchone()[0]
        _rebuild_from_why(verdict, db, phones.values())
        unheard = {row[0] for row in db.execute(SELECT_UNHEARD)}
        broken_off = {
            int(number)
            for row in db.execute(SELECT_BROKEN_OFF)
            if not ASKED.search(row["answer"])
            for number in ASKED.findall(row["content"])
        }
        events = Counter(row[0] for row in db.execute(SELECT_EVENTS))
        waiting = db.execute("select count(*) from merges").fetchone()[0]
        followed = {row[0]: row[1] for row in db.execute(SELECT_FOLLOWED)}
    outbound = [row for row in rows.values() if row["direction"] == "outbound"]
    verdict.check(not turns, f"{turns} turns are still open")
    _adoption(verdict, sent, outbound, known.resent, kills)
    verdict.check(not waiting, f"{waiting} conversations still wait to be merged")
    _openings(verdict, sent, known, followed, everyone(refused | _left(twilio)))
    _conversations(verdict, twilio, agents, [one for one in sent if one.row not in known.resent], known)
    _senders(verdict, sent, known)
    verdict.figures.update({"answers broken off after a tool": len(broken_off)})
    _questions(verdict, twilio, sent, known, outbound, everyone(refused), phones, broken_off)
    with_fallback = {phones[row["conversation_id"]] for row in outbound if row["notice"] == "fallback"}
    closed = everyone(_left(twilio) | refused | with_fallback | known.deeds.answered)
    shown = broken_off | {int(number) for row in outbound for number in ASKED.findall(row["content"])}
    _spoken(verdict, twilio, agents, sent, known, unheard, shown, closed=closed, kills=kills)
    _opt_outs(verdict, twilio, sent)
    voices.check(verdict, twilio, sent, known.deeds, outbound)
    _leaks(verdict, twilio, log)
    note_what_was_met(verdict, twilio, agents, moves)
    note_traffic(verdict, twilio, agents, sent, known, events)
    return verdict


def _rebuild_from_why(verdict: Verdict, db: Queries, phones: Iterable[str]) -> None:
    """The output of `why --json` is enough to rebuild how every message and every call ended."""
    messages: dict[int, str] = {}
    calls: dict[str, str | None] = {}
    for phone in phones:
        for entry in (decision.to_json() for decision in why(db, phone) or ()):
            if entry["message_id"] is not None and entry["status"] is not None:
                messages[entry["message_id"]] = entry["status"]
            if entry["event"] == "call" and entry["reason"] != "filled_in":
                calls[entry["call"]] = entry["reason"]
    stored = {row[0]: row[1] for row in db.execute("select id, status from conversation_messages")}
    skipped = {row[0]: row[1] for row in db.execute("select elevenlabs_conversation_id, skipped from calls")}
    for number in sorted(stored.keys() | messages.keys()):
        shown, real = messages.get(number), stored.get(number)
        verdict.check(shown == real, f"`why` says that message {number} is {shown}, and it is {real}")
    for key in sorted(skipped.keys() | calls.keys()):
        shown, real = calls.get(key, "nothing"), skipped.get(key)
        verdict.check(shown == real, f"`why` says {shown} of call {key}, and it is {real}")
    verdict.figures.update({"rebuilt from why": len(messages) + len(calls)})


def _sent(entry: Entry, known: Expected) -> Sent:
    data = entry.data
    return Sent(
        entry.number,
        entry.at,
        str(data["sid"]),
        known.addresses.phone(str(data["to"]).removeprefix("whatsapp:")),
        str(data["shown"] or data["body"]),
        message_id_of(entry),
        str(data["sender"]),
    )


def _adoption(
    verdict: Verdict, sent: Sequence[Sent], outbound: Sequence[sqlite3.Row], resent: set[int], kills: int
) -> None:
    taken = Counter(one.row for one in sent)
    by_id = {row["id"]: row for row in outbound}
    late: set[int] = set()
    for one in sent:
        row = by_id.get(one.row or 0)
        verdict.check(row is not None, f"{one.sid} was sent and belongs to no row")
        if row is not None and row["status"] == "uncertain" and too_late(row["attempted_at"], one.at):
            late.add(row["id"])
        elif row is not None and taken[one.row] == 1:
            verdict.check(
                row["twilio_message_id"] == one.sid,
                f"{one.sid} was sent and row {row['id']} ({row['status']}, {row['evidence']}) "
                f"has {row['twilio_message_id']}",
            )
    for number, count in taken.items():
        verdict.check(count == 1 or number in resent, f"row {number} was sent {count} times")
    begun = [row for row in outbound if row["sends"]]
    uncertain = [row for row in begun if row["status"] == "uncertain"]
    for row in uncertain:
        known = not taken[row["id"]] or row["id"] in late
        verdict.check(known, f"row {row['id']} is uncertain and was really sent")
    verdict.check(len(late) <= LATE_SHARE * len(begun), f"{len(late)} sends were taken too late for a look-up")
    verdict.figures.update({"taken too late for a look-up": len(late)})
    for row in outbound:
        verdict.check(row["status"] in ENDS, f"row {row['id']} ({row['kind']}) is {row['status']} at the end")
    most = max(UNCERTAIN_SHARE * len(begun), UNCERTAIN_OF_KILL * kills)
    verdict.check(len(uncertain) <= most, f"{len(uncertain)} of {len(begun)} sends are uncertain")
    verdict.figures.update(sends=len(begun), accepted=len(sent), uncertain=len(uncertain))
    verdict.figures.update(f"ended {row['status']}" for row in outbound)


def _openings(
    verdict: Verdict, sent: Sequence[Sent], known: Expected, followed: dict[str, str | None], refused: set[str]
) -> None:
    """Every call is opened once, or has an opening that failed, or was skipped for a reason.

    `followed` are the calls that have an opening (None), or why they were skipped.
    """
    rows_of = {(int(number), one.row) for one in sent for number in CALLED.findall(one.text)}
    opened = Counter(number for number, _ in rows_of)
    for number, count in opened.items():
        verdict.check(count == 1, f"call {number} was opened {count} times")
        verdict.check(number not in known.history, f"call {number} is history and was opened")
    for number, phone in known.calls.items():
        if number in known.keys and number not in known.history:
            reason = followed.get(known.keys[number], "nothing")
            kept = number in opened or reason is None or phone in refused
            # An operator has the conversation into which the customer's other number was merged.
            kept |= reason == "handed_over" and phone in known.addresses.same
            verdict.check(kept, f"call {number} was lost: {reason}")
    verdict.figures.update(calls=len(known.keys), opened=len(opened))


def _asked(twilio: TwilioStandin, known: Expected) -> Iterator[tuple[str, int]]:
    """Each question with the phone that asked it, written or spoken."""
    spoken = {sid: number for number, sid in known.spoken.items()}
    for entry in twilio.journal.entries("inbound"):
        phone, sid = str(entry.data["phone"]), str(entry.data["sid"])
        numbers = [spoken[sid]] if sid in spoken else map(int, ASKED.findall(str(entry.data["body"])))
        yield from ((phone, number) for number in numbers)


def _conversations(
    verdict: Verdict, twilio: TwilioStandin, agents: ElevenLabsStandin, sent: Sequence[Sent], known: Expected
) -> None:
    """No text twice, no answer without a question, and the answers in the order of the questions.

    Messages that an operator had sent again come when the operator decides, and are left out here. An answer belongs to
    the phone that asked; after a merge, answers to the customer's other phone may come in between.
    """
    asker = {number: phone for phone, number in _asked(twilio, known)}
    first_asked: dict[tuple[int, ...], int] = {}
    for entry in agents.journal.entries("user_message"):
        numbers = tuple(int(number) for number in ASKED.findall(str(entry.data["text"])))
        first_asked.setdefault(numbers, entry.number)
    by_phone: defaultdict[str, list[Sent]] = defaultdict(list)
    fixed: Counter[tuple[str, str]] = Counter()
    for one in sent:
        by_phone[asker.get(one.asked[0], one.phone) if one.asked else one.phone].append(one)
        if one.asked or CALLED.search(one.text):
            fixed[min(known.addresses.everyone((one.phone,))), one.text] += 1
    for (phone, text), count in fixed.items():
        verdict.check(count == 1, f"{phone} got {count} times: {text[:60]}")
    disordered = 0
    for phone, thread in by_phone.items():
        order = [first_asked.get(one.asked, 0) for one in thread if one.asked]
        verdict.check(all(order), f"{phone} got an answer to a question that was never asked")
        if order != sorted(order):
            disordered += 1
            verdict.check(False, f"{phone} got answers out of order: {[one.asked for one in thread if one.asked]}")
        parts = [one for one in thread if "Segunda parte" in one.text]
        for part in parts:
            before = [one for one in thread if one.asked == part.asked and one.number < part.number]
            after = [one for one in thread if one.asked == part.asked and one.number > part.number]
            verdict.check(not after and len(before) <= 1, f"{phone} got the parts of {part.asked} out of order")
        verdict.check(not any(GREETING in one.text for one in thread), f"{phone} got the greeting as an answer")
    verdict.figures.update(conversations=len(by_phone), disordered=disordered)


def _questions(
    verdict: Verdict,
    twilio: TwilioStandin,
    sent: Sequence[Sent],
    known: Expected,
    outbound: Sequence[sqlite3.Row],
    refused: set[str],
    phones: dict[int, str],
    broken_off: set[int],
) -> None:
    """Every inbound message is answered once, or closed by a fallback, or cancelled by an opt-out."""
    answers: defaultdict[int, set[tuple[int, ...]]] = defaultdict(set)
    for one in sent:
        for number in one.asked:
            answers[number].add(one.asked)
    shown = {int(number) for row in outbound for number in ASKED.findall(row["content"])}
    with_fallback = {one.phone for one in sent if one.text == FALLBACK}
    with_fallback |= {phones[row["conversation_id"]] for row in outbound if row["notice"] == "fallback"}
    everyone = known.addresses.everyone
    left, spoken_to = everyone(_left(twilio)) | refused, everyone(with_fallback | known.deeds.answered)
    written = 0
    for entry in twilio.journal.entries("inbound"):
        phone = str(entry.data["phone"])
        for number in map(int, ASKED.findall(str(entry.data["body"]))):
            written += 1
            count = len(answers[number])
            if number in known.old_questions:
                verdict.check(not count, f"question {number} is older than the database and was answered")
                continue
            verdict.check(count <= 1, f"question {number} was answered {count} times: {answers[number]}")
            if number in known.early:
                late = count and known.early[number]
                verdict.check(not late, f"question {number} was written before any conversation and was answered")
                continue
            closed = number in shown | broken_off or phone in left or phone in spoken_to
            verdict.check(bool(count) or closed, f"question {number} of {phone} was lost")
            verdict.figures.update(["answered" if count else "closed otherwise"])
    verdict.figures.update(written=written)
    turns: defaultdict[str, list[str]] = defaultdict(list)
    for row in outbound:
        if row["kind"] == "reply" or row["notice"] == "fallback":
            turns[phones[row["conversation_id"]]].append(row["kind"])
    for phone in with_fallback:
        fallbacks = {one.row for one in sent if one.phone == phone and one.text == FALLBACK}
        replies = sum(turns[each].count("reply") for each in everyone((phone,)))
        verdict.check(len(fallbacks) <= 1 + replies, f"{phone} got the fallback {len(fallbacks)} times")


def _spoken(
    verdict: Verdict,
    twilio: TwilioStandin,
    agents: ElevenLabsStandin,
    sent: Sequence[Sent],
    known: Expected,
    unheard: set[str],
    shown: set[int],
    *,
    closed: set[str],
    kills: int,
) -> None:
    """Every voice note is answered once, or known to have failed; only a kill or a lost answer makes one be paid
    twice."""
    answers: defaultdict[int, set[tuple[int, ...]]] = defaultdict(set)
    for one in sent:
        for number in one.asked:
            answers[number].add(one.asked)
    phones = {str(entry.data["sid"]): str(entry.data["phone"]) for entry in twilio.journal.entries("inbound")}
    for number, sid in known.spoken.items():
        count, phone = len(answers[number]), phones[sid]
        verdict.check(count <= 1, f"voice note {number} was answered {count} times: {answers[number]}")
        otherwise = sid in unheard or phone in closed or number in shown
        verdict.check(bool(count) or otherwise, f"voice note {number} of {phone} was lost")
        verdict.figures.update(["voice notes answered" if count else "voice notes closed otherwise"])
    again = sum(count - 1 for count in agents.transcriptions.values())
    spoilt = sum(
        entry.data["route"] == "speech" and entry.data["fault"] in PAID_IN_VAIN
        for entry in agents.journal.entries("fault")
    )
    verdict.check(again <= kills + spoilt, f"{again} transcriptions were paid again, by {kills} kills")
    verdict.figures.update({"transcriptions paid": sum(agents.transcriptions.values()), "paid again": again})


def _senders(verdict: Verdict, sent: Sequence[Sent], known: Expected) -> None:
    """A conversation stays at the number of ours at which it began and to which the customer writes."""
    for one in sent:
        wanted = SALES if one.phone in known.addresses.sales else SANDBOX
        verdict.check(one.sender == wanted, f"{one.phone} was written to from {one.sender}, not {wanted}")


def _left(twilio: TwilioStandin) -> set[str]:
    """Nobody who opted out is written to."""
    return {str(entry.data["phone"]) for entry in _baja(twilio)}


def _baja(twilio: TwilioStandin) -> Iterator[Entry]:
    words = {"BAJA", "¡Stop!", "no molestar"}
    return (entry for entry in twilio.journal.entries("inbound") if entry.data["body"] in words)


def _opt_outs(verdict: Verdict, twilio: TwilioStandin, sent: Sequence[Sent]) -> None:
    heard: dict[str, float] = {}
    for entry in twilio.journal.entries("webhook"):
        if entry.data["answer"] == 200:
            heard.setdefault(str(entry.data["sid"]), entry.at)
    by_phone: defaultdict[str, list[Sent]] = defaultdict(list)
    for one in sent:
        by_phone[one.phone].append(one)
    for entry in _baja(twilio):
        stored = heard.get(str(entry.data["sid"]))
        thread = by_phone[str(entry.data["phone"])]
        confirmed = [one for one in thread if one.text == CONFIRMATION]
        verdict.check(len(confirmed) <= 1, f"{entry.data['phone']} had the opt-out confirmed {len(confirmed)} times")
        if stored is None:
            continue
        verdict.figures.update(opted_out=1)
        for one in thread:
            late = one.at > stored + ON_THE_WAY and one.text != CONFIRMATION
            verdict.check(not late, f"{one.phone} opted out and got {one.text[:40]} {one.at - stored:.1f} s later")


def _leaks(verdict: Verdict, twilio: TwilioStandin, log: str) -> None:
    secrets = (CANARY, TOKEN, twilio.settings.auth_token, "sk_standin", "wsec_standin", FALLBACK[:20])
    for secret in secrets:
        verdict.check(secret not in log, f"the log holds {secret[:9]}…")
    # The digits of a SID may look like a number's.
    log = SID.sub("", log)
    found = PHONE.search(log)
    verdict.check(
        found is None, f"the log holds a phone: {log[max(0, found.start() - 80) : found.end()] if found else ''}"
    )
    at = log.find("Traceback")
    verdict.check(at < 0, f"the log holds a traceback: {log[at : at + 1500]}")
    for fault in re.findall(r" (\w+_fault) (.*)", log)[:5]:
        verdict.broken.append(f"the log holds an unexpected fault: {fault}")
    gone = [entry for entry in twilio.journal.entries("elsewhere") if not MEDIA.match(str(entry.data["path"]))]
    verdict.check(not gone, f"{len(gone)} redirects were followed")
    leaked = twilio.journal.entries("violation")
    verdict.check(not leaked, f"credentials were shown elsewhere {len(leaked)} times")
