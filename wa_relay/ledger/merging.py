"""Merging: two conversations that turn out to be one customer's become one, the older.

A message, a receipt or a call may show two addresses that were known of two customers. While anything of either is in
flight or being asked, they only wait for each other: nothing new of them is sent or asked. Then everything of the
younger moves to the older in one transaction, and the younger's id is never given out again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from wa_relay import policy
from wa_relay.ledger import consent, customers, handover, held_turns, journal, turns
from wa_relay.ledger.customers import Customer
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment
from wa_relay.policy import Handling

SELECT_CUSTOMER_OF_ADDRESS = "select conversation_id from addresses where address = :address"
INSERT_PAIR = """
    insert into merges (younger_id, older_id, noted_at) values (:younger, :older, :now) on conflict do nothing"""
SELECT_PAIRS = "select older_id, younger_id from merges order by noted_at, older_id, younger_id"
INSERT_MERGED = "insert into merged (younger_id, older_id) values (:younger, :older)"
MOVE_MERGED = "update merged set older_id = :older where older_id = :younger"
SELECT_MERGED_INTO = "select older_id from merged where younger_id = :id"
DELETE_PAIRS_OF = "delete from merges where younger_id = :id or older_id = :id"
MARK_MERGING = "update conversation_state set merging = :merging where id = :id"
SELECT_BUSY = """
    select 1 from conversation_messages where conversation_id in (:older, :younger) and in_flight
    union all select 1 from turns where conversation_id in (:older, :younger) and state = 'asking' limit 1"""

SELECT_THREAD = """
    select id, phone_number, client_name, elevenlabs_conversation_id, agent_id, status, call_summary, started_at,
        last_message_at, message_count, call_id, user_id, reply_to, created_at, window_ends_at, fallback_sent, bucket,
        bucket_at, unanswered_turn_id, sender
    from conversation_state where id = :id"""
SELECT_OPEN = "select id from turns where conversation_id = :id and state = 'open'"
SELECT_HELD = "select id from turns where conversation_id = :id and state = 'held'"
SELECT_LATEST_CALL = """
    select id, conversation_id from calls where conversation_id in (:older, :younger)
    order by coalesce(ended_at, recorded_at) desc, id desc limit 1"""
SELECT_LAST_SENT_OPENING = """
    select max(coalesce(accepted_at, created_at)) from conversation_messages
    where conversation_id = :id and kind = 'opening' and status not in ('queued', 'failed')"""

MOVE_TURNS = "update turns set conversation_id = :older where conversation_id = :younger"
"""Walks through the turns: an index for it would cost each turn a page, and a customer is merged once in a lifetime."""

MOVE_MESSAGES = "update conversation_messages set conversation_id = :older where conversation_id = :younger"
MOVE_CALLS = "update calls set conversation_id = :older where conversation_id = :younger"
MOVE_ADDRESSES = "update addresses set conversation_id = :older where conversation_id = :younger"
MOVE_ENTRIES = """
    update journal set conversation_id = :older
    where conversation_id = :younger and message_id is null and turn_id is null"""
DROP_USED_KEYS = """
    delete from idempotency_keys where conversation_id = :younger
        and key in (select o.key from idempotency_keys o where o.conversation_id = :older)"""
MOVE_KEYS = "update idempotency_keys set conversation_id = :older where conversation_id = :younger"
MOVE_ALERTS = "update alerts set conversation_id = :older where conversation_id = :younger"
MOVE_MEDIA = "update media set conversation_id = :older where conversation_id = :younger"
MOVES = (
    MOVE_MEDIA,
    MOVE_ALERTS,
    MOVE_TURNS,
    MOVE_MESSAGES,
    MOVE_CALLS,
    MOVE_ADDRESSES,
    MOVE_ENTRIES,
    DROP_USED_KEYS,
    MOVE_KEYS,
)
"""Every table with a `conversation_id`, except what is merged by hand."""

DELETE_CONVERSATION = "delete from conversation_state where id = :younger"
"""SQLite looks for turns that are left, as it has no index for it: the same walk as `MOVE_TURNS`."""

UPDATE_THREAD = """
    update conversation_state set phone_number = :phone_number, client_name = :client_name,
        elevenlabs_conversation_id = :elevenlabs_conversation_id, agent_id = :agent_id, call_summary = :call_summary,
        started_at = :started_at, last_message_at = :last_message_at, message_count = :message_count,
        call_id = :call_id, user_id = :user_id, reply_to = :reply_to, created_at = :created_at,
        window_ends_at = :window_ends_at, fallback_sent = :fallback_sent, bucket = :bucket, bucket_at = :bucket_at,
        unanswered_turn_id = :unanswered_turn_id, sender = :sender
    where id = :id"""
SELECT_QUEUED_TWICE = """
    select m.id, m.kind, m.notice from conversation_messages m left join calls c on c.id = m.call_id
    where m.conversation_id = :id and m.status = 'queued' and m.kind in ('opening', 'notice')
    order by coalesce(c.ended_at, c.recorded_at, 0) desc, m.id desc"""
SELECT_NOTICE_SENT = """
    select 1 from conversation_messages s
    where s.conversation_id = :id and s.notice = :notice and s.status not in ('queued', 'failed')
        and not exists (select 1 from conversation_messages r
            where r.conversation_id = s.conversation_id and r.id > s.id and r.kind in ('reply', 'human')
                and r.status <> 'failed')
    limit 1"""
CANCEL_TWICE = """
    update conversation_messages set status = 'failed', reason = 'cancelled', failed_at = :now, moved_at = :now,
        moved_by = 'rule', moved_code = null, moved_actor = null, evidence = :evidence
    where id = :id and status = 'queued'"""

ONCE = frozenset({"fallback", "text_only"})
"""Notices that a customer gets once until the agent or a person has answered."""

TWICE = "two conversations belong to one customer: the same opening or notice waits in both, or one has got it"
TOO_SOON = "two conversations belong to one customer, who got an opening within opening.min_gap_hours"
MERGED = "two conversations turned out to belong to one customer"


@dataclass(frozen=True, slots=True)
class _Thread:
    """A conversation's row; the columns of `SELECT_THREAD` in order."""

    id: int
    phone_number: str
    client_name: str | None
    elevenlabs_conversation_id: str
    agent_id: str
    status: str
    call_summary: str | None
    started_at: str
    last_message_at: str
    message_count: int
    call_id: int | None
    user_id: str | None
    reply_to: str | None
    created_at: Moment
    window_ends_at: Moment | None
    fallback_sent: bool
    bucket: float
    bucket_at: Moment
    unanswered_turn_id: int | None
    sender: str | None


def learn_address(ledger: Ledger, customer: Customer, address: str, now: Moment) -> Customer:
    """Adds an address to a customer; one of another customer's shows that both are one. Returns that customer as it is
    now."""
    # It may change what was read ahead of the other one.
    ledger.db.forget_ahead()
    row = ledger.one(SELECT_CUSTOMER_OF_ADDRESS, {"address": address})
    if row is None:
        return consent.learn_address(ledger, customer, address, now)
    return customer if row[0] == customer.id else _join(ledger, customer, row[0], now)


def merge_idle(ledger: Ledger, now: Moment) -> list[int]:
    """Merges what waits for it and has nothing in flight or being asked. Returns the ids that stay."""
    return [older for older, younger in ledger.all(SELECT_PAIRS) if _merge_if_idle(ledger, older, younger, now)]


def merged_into(db: Queries, conversation_id: int) -> int | None:
    """The conversation that a merged one has become part of; None for an id that was not merged. Reads only."""
    row = db.execute(SELECT_MERGED_INTO, {"id": conversation_id}).fetchone()
    return None if row is None else int(row[0])


def _join(ledger: Ledger, customer: Customer, other: int, now: Moment) -> Customer:
    older, younger = sorted((customer.id, other))
    _note_pair(ledger, older, younger, now)
    merged = _merge_if_idle(ledger, older, younger, now)
    return customers.get_customer(ledger, older) if merged else customer


def _note_pair(ledger: Ledger, older: int, younger: int, now: Moment) -> None:
    ledger.run(INSERT_PAIR, {"older": older, "younger": younger, "now": now})
    for each in (older, younger):
        ledger.run(MARK_MERGING, {"merging": True, "id": each})


def _merge_if_idle(ledger: Ledger, older: int, younger: int, now: Moment) -> bool:
    both = {"older": older, "younger": younger}
    if ledger.one(SELECT_BUSY, both):
        return False
    if ledger.one(SELECT_THREAD, {"id": younger}) is None:
        # The younger has been merged into a third one, which was noted in its place.
        return False
    _merge(ledger, older, younger, now)
    others = [pair for pair in ledger.all(SELECT_PAIRS) if younger in tuple(pair)]
    ledger.run(DELETE_PAIRS_OF, {"id": younger})
    ledger.run(MARK_MERGING, {"merging": False, "id": older})
    for pair in others:
        first, second = sorted(older if each == younger else each for each in pair)
        if first != second:
            _note_pair(ledger, first, second, now)
    return True


def _merge(ledger: Ledger, older: int, younger: int, now: Moment) -> None:
    both = {"older": older, "younger": younger}
    kept, gone = (_Thread(*ledger.need_one(SELECT_THREAD, {"id": each})) for each in (older, younger))
    handlings = [handover.handling_of(ledger, each) for each in (older, younger)]
    _join_turns(ledger, kept, gone, now)
    latest = ledger.one(SELECT_LATEST_CALL, both)
    for move in MOVES:
        ledger.run(move, both)
    ledger.run(DELETE_CONVERSATION, both)
    ledger.run(MOVE_MERGED, both)
    ledger.run(INSERT_MERGED, both)
    merged = _merged(kept, gone, called=gone if latest is not None and latest[1] == younger else kept)
    columns: dict[str, Any] = {name: getattr(merged, name) for name in _Thread.__slots__ if name != "status"}
    ledger.run(UPDATE_THREAD, columns)
    if "opted_out" in (kept.status, gone.status):
        consent.silence(ledger, older, "merged", now)
    _settle_handling(ledger, older, handlings[0], policy.choose_stricter(*handlings), now)
    _cancel_twice(ledger, older, now)
    entry = journal.Entry("merge", None, MERGED, conversation_id=older, facts={"younger": younger})
    journal.record(ledger, entry, now)


def _join_turns(ledger: Ledger, kept: _Thread, gone: _Thread, now: Moment) -> None:
    """Combines the open turns of both, their held turns, and their unanswered messages."""
    for select in (SELECT_OPEN, SELECT_HELD):
        mine, other = (ledger.one(select, {"id": each.id}) for each in (kept, gone))
        if mine is not None and other is not None:
            ends = {"to_turn": mine[0], "from_turn": other[0]}
            ledger.run(turns.MOVE_QUESTION, ends)
            ledger.run(turns.TAKE_END, ends)
            ledger.run(turns.MARK_MERGED, {"turn_id": other[0], "now": now})
    if kept.unanswered_turn_id is not None and gone.unanswered_turn_id is not None:
        questions = {"to_turn": kept.unanswered_turn_id, "from_turn": gone.unanswered_turn_id}
        ledger.run(turns.MOVE_QUESTION, questions)


def _merged(kept: _Thread, gone: _Thread, *, called: _Thread) -> _Thread:
    """Combines two rows. `called` has the latest call; the customer's last message decides the window and the
    number."""
    wrote = gone if (gone.window_ends_at or 0.0) > (kept.window_ends_at or 0.0) else kept
    numbers = [each.phone_number for each in (kept, gone) if customers.is_number(each.phone_number)]
    silent = gone if wrote is kept else kept
    wrote_from = wrote.phone_number if wrote.window_ends_at and customers.is_number(wrote.phone_number) else None
    return replace(
        kept,
        phone_number=numbers[0] if numbers else kept.phone_number,
        client_name=called.client_name or kept.client_name or gone.client_name,
        elevenlabs_conversation_id=called.elevenlabs_conversation_id,
        agent_id=called.agent_id or kept.agent_id or gone.agent_id,
        call_summary=called.call_summary,
        started_at=min(kept.started_at, gone.started_at),
        last_message_at=max(kept.last_message_at, gone.last_message_at),
        message_count=kept.message_count + gone.message_count,
        call_id=called.call_id,
        user_id=wrote.user_id or silent.user_id,
        reply_to=wrote.reply_to or wrote_from or silent.reply_to,
        created_at=min(kept.created_at, gone.created_at),
        window_ends_at=wrote.window_ends_at,
        fallback_sent=bool(kept.fallback_sent or gone.fallback_sent),
        bucket=min(kept.bucket, gone.bucket),
        bucket_at=max(kept.bucket_at, gone.bucket_at),
        unanswered_turn_id=kept.unanswered_turn_id or gone.unanswered_turn_id,
        sender=wrote.sender,
    )


def _settle_handling(ledger: Ledger, conversation_id: int, before: Handling, after: Handling, now: Moment) -> None:
    """Gives the conversation to the stricter handler, and ends what the agent has begun on the other side."""
    if after.handler == "human":
        handover.silence_agent(ledger, conversation_id, after.by, now)
    elif after.handler == "muted":
        held_turns.hold_begun_turns(ledger, conversation_id, now)
        if after.reason == "repeats_itself":
            held_turns.answer_held(ledger, conversation_id, "muted", now)
    if after != before:
        handover.set_handling(ledger, conversation_id, after, "merged", MERGED, None, now)


def _cancel_twice(ledger: Ledger, conversation_id: int, now: Moment) -> None:
    """Ends what is queued twice: of openings the latest call's stays, of each notice the newest; none too soon.

    A notice that one of both has already got ends as well, where it is sent once.
    """
    queued = ledger.all(SELECT_QUEUED_TWICE, {"id": conversation_id})
    seen: set[str] = set()
    last = ledger.need_one(SELECT_LAST_SENT_OPENING, {"id": conversation_id})[0]
    too_soon = last is not None and now - last < ledger.rules.min_gap
    for message_id, kind, notice in queued:
        what = kind if notice is None else notice
        sent = notice in ONCE and ledger.one(SELECT_NOTICE_SENT, {"id": conversation_id, "notice": notice}) is not None
        if what in seen or sent or (kind == "opening" and too_soon):
            evidence = TOO_SOON if kind == "opening" and what not in seen else TWICE
            ledger.run(CANCEL_TWICE, {"id": message_id, "evidence": evidence, "now": now})
        seen.add(what)
