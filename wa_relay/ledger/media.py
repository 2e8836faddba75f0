"""Customers' files as jobs: fetched, kept, transcribed. A crash at any moment loses nothing.

A claim gives a step to a worker for a while (`CLAIM`); a step that has not ended by then, or by a restart, is due
again. What costs money is stored in the transaction that ends its step: a transcript is paid twice only if the process
dies between the service's answer and that commit.
"""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay import policy
from wa_relay.ledger import alerts, journal
from wa_relay.ledger.store import Ledger
from wa_relay.model import Attachment, Moment

INSERT_MEDIA = """
    insert into media (message_id, conversation_id, purpose, url, content_type, name, arrived_at)
    values (:message_id, :conversation_id, :purpose, :url, :content_type, :name, :arrived_at)"""
SELECT_IDLE_OF_MESSAGE = "select id, purpose from media where message_id = :message_id and state = 'idle'"
SELECT_IDLE_OF_CONVERSATION = """
    select id, purpose from media
    where conversation_id = :conversation_id and state = 'idle' and arrived_at > :oldest"""
BEGIN_FETCH = """
    update media set state = 'fetch', due_at = :now, waits_since = :now, give_up_at = :give_up_at, holds = :holds
    where id = :id and state = 'idle'"""
SELECT_DUE = """
    select m.id, m.message_id, m.purpose, m.state, m.url, m.content_type, m.tries, m.size
    from media m where m.state = :state and m.due_at <= :now order by m.due_at, m.id limit :limit"""
SELECT_LONGEST_WAIT = "select min(waits_since) from media where state = 'transcribe' and due_at is not null"
CLAIM_STEP = "update media set due_at = :until, tries = tries + 1, epoch = :epoch where id = :id"
SELECT_NEXT_STEP_DUE = "select min(due_at) from media where due_at is not null"
INSERT_CHUNK = "insert into media_chunks (media, number, content) values (:media, :number, :content)"
DELETE_CHUNKS = "delete from media_chunks where media = :media"
SELECT_STATE = "select state, message_id, conversation_id, purpose from media where id = :id"
MARK_STORED = """
    update media set stored = :stored, size = :size, public_id = :public_id, content_type = :content_type,
        state = :state, due_at = :due_at, tries = 0, holds = :holds
    where id = :id and state = 'fetch'"""
MARK_TRANSCRIBED = """
    update media set state = 'ready', due_at = null, holds = false, transcript = :transcript, seconds = :seconds,
        reason = null, evidence = null
    where id = :id"""
MARK_FAILED_FILE = """
    update media set state = 'failed', due_at = null, holds = false, reason = :reason, evidence = :evidence
    where id = :id and due_at is not null"""
RETRY_STEP = "update media set due_at = :due_at, epoch = null where id = :id and due_at is not null"
SET_CONTENT = "update conversation_messages set content = :content where id = :id"
SELECT_OVERDUE = "select id, state from media where due_at is not null and give_up_at <= :now"
RESCUE_MEDIA = """
    update media set due_at = :now, waits_since = :now,
        give_up_at = case when purpose = 'keep' then cast(:keep_until as double precision)
            else cast(:hold_until as double precision) end
    where due_at is not null
        and not exists (select 1 from runs where runs.id = media.epoch and runs.ended_at is null)"""
SELECT_EXPIRED_FILES = """
    select m.id from media m join conversation_messages c on c.id = m.message_id
    where m.stored and m.arrived_at <= :oldest and m.due_at is null
        and not exists (select 1 from turns t where t.id = c.turn_id and (t.state = 'open' or t.state = 'asking'))
    order by m.arrived_at limit :limit"""
FORGET_FILE = "update media set stored = false, public_id = null where id = :id"

CLAIM = 120.0
"""Seconds after which a step that was claimed and has not ended is due again."""

EXPIRED_AT_ONCE = 4

SPEECH_REFUSED = "speech_refused"
"""The reason of a recording that ElevenLabs refused because of the account: a fault that an operator must mend."""


@dataclass(frozen=True, slots=True)
class DueFile:
    """A file whose next step is due. `size` is in bytes, None before it is stored."""

    id: int
    message_id: int
    purpose: policy.Purpose
    state: str
    url: str
    content_type: str | None
    tries: int
    size: int | None


@dataclass(frozen=True, slots=True)
class ClaimedFiles:
    """The result of a claim, and when the next step is due (None without one)."""

    fetches: tuple[DueFile, ...]
    transcriptions: tuple[DueFile, ...]
    failed: int
    next_due: Moment | None


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A complete file. `public_id` is the id in `GET /api/media/{id}`, None if it is never shown."""

    content_type: str | None
    size: int
    public_id: str | None


@dataclass(frozen=True, slots=True)
class Heard:
    """A transcription. `seconds` is the recording's length, None if it is not known."""

    text: str
    seconds: float | None


def store_file(
    ledger: Ledger, message_id: int, conversation_id: int, attachment: Attachment, arrived_at: Moment
) -> None:
    """Notes the file of a message. Nothing is fetched before `begin`."""
    purpose = policy.purpose_of(attachment, ledger.rules)
    if purpose is None:
        return
    file = {
        "message_id": message_id,
        "conversation_id": conversation_id,
        "purpose": purpose,
        "url": attachment.url,
        "content_type": attachment.content_type,
        "name": attachment.name,
        "arrived_at": arrived_at,
    }
    ledger.run(INSERT_MEDIA, file)


def begin(ledger: Ledger, message_id: int, now: Moment) -> None:
    """Makes the file of a message due, if its fetch has not begun."""
    for media_id, purpose in ledger.all(SELECT_IDLE_OF_MESSAGE, {"message_id": message_id}):
        _begin(ledger, media_id, purpose, now)


def begin_all(ledger: Ledger, conversation_id: int, now: Moment) -> int:
    """Makes due what came while nothing was fetched for this customer (opted out, muted). Returns how many files.

    Files older than the retention stay as they are.
    """
    idle = {"conversation_id": conversation_id, "oldest": now - ledger.rules.media_kept}
    found = ledger.all(SELECT_IDLE_OF_CONVERSATION, idle)
    for media_id, purpose in found:
        _begin(ledger, media_id, purpose, now)
    return len(found)


def claim(ledger: Ledger, fetches: int, transcribing: int, now: Moment) -> ClaimedFiles:
    """Takes the steps that are due: at most `fetches`, and as many transcriptions as may join `transcribing` others."""
    failed = fail_overdue(ledger, now)
    taken = _due(ledger, "fetch", fetches, now)
    since = ledger.need_one(SELECT_LONGEST_WAIT)[0]
    at_once = policy.transcriptions_at_once(0.0 if since is None else now - since)
    recordings = _due(ledger, "transcribe", max(at_once - transcribing, 0), now)
    for file in (*taken, *recordings):
        ledger.run(CLAIM_STEP, {"id": file.id, "until": now + CLAIM, "epoch": ledger.epoch})
    following = ledger.need_one(SELECT_NEXT_STEP_DUE)[0]
    return ClaimedFiles(tuple(taken), tuple(recordings), failed, following)


def store_chunk(ledger: Ledger, media_id: int, number: int, content: bytes) -> None:
    """Stores a part of a file. The first one drops what an earlier try left."""
    if number == 0:
        drop_chunks(ledger, media_id)
    ledger.run(INSERT_CHUNK, {"media": media_id, "number": number, "content": content})


def drop_chunks(ledger: Ledger, media_id: int) -> None:
    """Drops the bytes of a file that is incomplete or not kept."""
    ledger.run(DELETE_CHUNKS, {"media": media_id})


def finish_fetch(
    ledger: Ledger,
    media_id: int,
    file: FetchedFile,
    card: str | None,
    now: Moment,
    last: tuple[int, bytes] | None = None,
) -> bool:
    """Ends the fetch of a complete file. Returns false if it was given up meanwhile.

    `card` is the text of a contact card; "" for one without a name. A card itself is not kept.

    `last` is the number and the content of the part that is not stored yet: with it, a file of one part, as most voice
    notes are, takes one commit.
    """
    row = ledger.one(SELECT_STATE, {"id": media_id})
    if row is None or row["state"] != "fetch":
        drop_chunks(ledger, media_id)
        return False
    if row["purpose"] == "card":
        drop_chunks(ledger, media_id)
        if not card:
            return fail_file(ledger, media_id, "empty_card", "the contact card has no name", now)
        ledger.run(SET_CONTENT, {"id": row["message_id"], "content": card})
    elif last is not None:
        store_chunk(ledger, media_id, *last)
    kept, spoken = row["purpose"] != "card", row["purpose"] == "transcript"
    stored = {
        "id": media_id,
        "stored": kept,
        "size": file.size,
        "public_id": file.public_id if kept else None,
        "content_type": file.content_type,
        "state": "transcribe" if spoken else "ready",
        "due_at": now if spoken else None,
        "holds": spoken,
    }
    ledger.run(MARK_STORED, stored)
    return True


def mark_transcribed(ledger: Ledger, media_id: int, heard: Heard) -> tuple[int, int] | None:
    """Stores a transcript with its message. Returns message and conversation, None if there is one already.

    A recording that was given up meanwhile takes its transcript all the same: it is paid, and the thread shows it.
    """
    row = ledger.one(SELECT_STATE, {"id": media_id})
    if row is None or row["state"] not in ("transcribe", "failed"):
        return None
    transcript = {"id": media_id, "transcript": heard.text, "seconds": heard.seconds}
    ledger.run(MARK_TRANSCRIBED, transcript)
    ledger.run(SET_CONTENT, {"id": row["message_id"], "content": heard.text})
    return row["message_id"], row["conversation_id"]


def fail_file(ledger: Ledger, media_id: int, reason: str, evidence: str, now: Moment) -> bool:
    """Gives a file up. From then on its message is a note. Returns false if there was nothing left to do for it."""
    failed = {"id": media_id, "reason": reason, "evidence": evidence[:300]}
    row = ledger.one(SELECT_STATE, {"id": media_id})
    if row is None or ledger.run(MARK_FAILED_FILE, failed) == 0:
        return False
    if row["state"] == "fetch":
        drop_chunks(ledger, media_id)
    if reason == SPEECH_REFUSED:
        alert = policy.Alert(
            "agent.failing", "speech_to_text", {"service": "speech_to_text", "message": evidence[:300]}
        )
        alerts.raise_alert(ledger, alert, now)
    entry = journal.Entry(
        "turn", "attachment_failed", evidence[:300], conversation_id=row["conversation_id"],
        message_id=row["message_id"], facts={"code": reason},
    )  # fmt: skip
    journal.record(ledger, entry, now)
    return True


def put_off(ledger: Ledger, media_id: int, due_at: Moment) -> None:
    """Tries a step again later. Gives it up once its time is over."""
    ledger.run(RETRY_STEP, {"id": media_id, "due_at": due_at})


def fail_overdue(ledger: Ledger, now: Moment) -> int:
    """Gives up the files that have held their turns for too long. Returns how many."""
    overdue = ledger.all(SELECT_OVERDUE, {"now": now})
    for media_id, state in overdue:
        what = "transcribed" if state == "transcribe" else "fetched"
        fail_file(ledger, media_id, "late", f"it was not {what} in time", now)
    return len(overdue)


def rescue_media(ledger: Ledger, now: Moment) -> int:
    """Makes files due again on which no living run works, with a new time limit. Returns the number of files."""
    again = {
        "now": now,
        "keep_until": policy.give_up_at("keep", now),
        "hold_until": policy.give_up_at("transcript", now),
    }
    return ledger.run(RESCUE_MEDIA, again)


def delete_expired(ledger: Ledger, now: Moment) -> int:
    """Deletes files that have been kept long enough, a few at a time. Returns how many."""
    expired = ledger.all(SELECT_EXPIRED_FILES, {"oldest": now - ledger.rules.media_kept, "limit": EXPIRED_AT_ONCE})
    for (media_id,) in expired:
        drop_chunks(ledger, media_id)
        ledger.run(FORGET_FILE, {"id": media_id})
    return len(expired)


def _begin(ledger: Ledger, media_id: int, purpose: policy.Purpose, now: Moment) -> None:
    beginning = {"id": media_id, "now": now, "give_up_at": policy.give_up_at(purpose, now), "holds": purpose != "keep"}
    ledger.run(BEGIN_FETCH, beginning)
    ledger.db.announce("media", now)


def _due(ledger: Ledger, state: str, limit: int, now: Moment) -> list[DueFile]:
    if limit < 1:
        return []
    return [DueFile(*row) for row in ledger.all(SELECT_DUE, {"state": state, "now": now, "limit": limit})]
