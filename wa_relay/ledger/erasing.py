"""Erases one customer: what identifies them is removed from every table, what the reports count stays.

The rows stay, without texts, names, numbers and ids, so that `stats` counts the same. Hashes of the erased ids are
remembered (`forgotten`). SQLite overwrites what is erased (`secure_delete`); the caller then brings the log into the
main file and cuts it (`LedgerThread.scrub`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from wa_relay.ledger import customers, forgotten, indexing, journal
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.forgotten import ERASED, Kind
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError

SELECT_IN_FLIGHT = """
    select id, status from conversation_messages
    where conversation_id = :id and in_flight order by id limit 1"""
SELECT_SIDS = """
    select twilio_message_id from conversation_messages
    where conversation_id = :id and twilio_message_id is not null"""
SELECT_CALL_KEYS = "select elevenlabs_conversation_id from calls where conversation_id = :id"
SELECT_STRANGERS = "select id, twilio_message_id from strangers where phone_number = :address"
SELECT_OPT_OUTS = "select id, returned_at from opt_outs where phone_number = :address"
SELECT_STATUS_OF_CONVERSATION = "select status from conversation_state where id = :id"
SELECT_HINTS = "select elevenlabs_conversation_id as key, call from call_hints"
OF_CONVERSATION = """id in (select turn_id from conversation_messages where conversation_id = :id)"""
SELECT_SESSIONS = f"select session_id from turns where {OF_CONVERSATION} and session_id is not null"
SELECT_WITH_ATTACHMENT = """
    select twilio_message_id from conversation_messages
    where conversation_id = :id and direction = 'inbound' and attachment is not null
        and twilio_message_id is not null"""

CANCEL_WAITING = """
    update conversation_messages set status = 'failed', reason = 'cancelled', failed_at = :now, moved_at = :now,
        moved_by = 'operator', moved_code = null, moved_actor = :actor, evidence = null
    where conversation_id = :id and status = 'queued'"""
END_TURNS = """
    update turns set state = 'cancelled', finished_at = :now
    where conversation_id = :id and (state = 'open' or state = 'held' or state = 'asking')"""
ERASE_MESSAGES = f"""
    update conversation_messages set content = '',
        twilio_message_id = case when twilio_message_id is not null then '{ERASED}' || id end,
        error_message = null, attachment = null, referral = null, to_address = null, content_variables = null,
        evidence = null, lookup_at = null, poll_at = null
    where conversation_id = :id"""
ERASE_TURNS = f"update turns set session_id = null, error = null where {OF_CONVERSATION}"
ERASE_CALLS = f"""
    update calls set elevenlabs_conversation_id = '{ERASED}' || id, phone_number = '{ERASED}' || id,
        recipient_id = null, client_name = null, client_id = null, variables = '{{}}', summary = null,
        transcript = null, raw = null, collected = null, decide_by = null, details_at = null,
        lacks_details = false
    where conversation_id = :id"""
ERASE_CONVERSATION = f"""
    update conversation_state set phone_number = '{ERASED}' || id, client_name = null,
        elevenlabs_conversation_id = '', call_summary = null, user_id = null, reply_to = null, window_ends_at = null,
        unanswered_turn_id = null, erased_at = :now, handler = 'agent', handler_until = null, handler_reason = null,
        handler_by = null, waiting_since = null, unread = 0, unanswered_since = null, merging = false, handed_at = :now,
        handed_code = 'forgotten', handed_actor = null, handed_evidence = null
    where id = :id"""
ERASE_RECEIPTS = f"update receipts set sid = '{ERASED}' || id where sid = :sid"
ERASE_ADDRESS = """
    update addresses set address = :token, kind = 'bsuid', writes_since = null where address = :address"""
DELETE_ADDRESS = "delete from addresses where address = :address"
ERASE_OPT_OUT = "update opt_outs set phone_number = :token where id = :id"
DELETE_STRANGER = "delete from strangers where id = :id"
DELETE_HINT = "delete from call_hints where elevenlabs_conversation_id = :key"
DELETE_IDEMPOTENCY_KEYS = "delete from idempotency_keys where conversation_id = :id"
DELETE_ALERTS = "delete from alerts where conversation_id = :id"
DELETE_FILES = "delete from media_chunks where media in (select id from media where conversation_id = :id)"
DELETE_MEDIA = "delete from media where conversation_id = :id"
SELECT_PARTNERS = """
    select s.phone_number from merges p join conversation_state s on s.id in (p.older_id, p.younger_id)
    where :id in (p.older_id, p.younger_id) and s.id <> :id"""
DELETE_PAIRS = "delete from merges where :id in (older_id, younger_id)"
ERASED_ENTRY = "set detail = null, facts = case when event = 'console' then facts end"
"""The console's log keeps the masked number; what was decided stays by its code."""

ERASE_ENTRIES_OF_CONVERSATION = f"""
    update journal {ERASED_ENTRY}
    where conversation_id = :id and message_id is null and turn_id is null"""
ERASE_ENTRIES_OF_TURNS = f"""
    update journal {ERASED_ENTRY}
    where message_id is null
        and turn_id in (select turn_id from conversation_messages where conversation_id = :id)"""
ERASE_ENTRIES_OF_MESSAGES = f"""
    update journal {ERASED_ENTRY}
    where event <> 'message'
        and message_id in (select id from conversation_messages where conversation_id = :id)"""

ERASE = (
    ERASE_ENTRIES_OF_MESSAGES,
    ERASE_ENTRIES_OF_TURNS,
    DELETE_IDEMPOTENCY_KEYS,
    DELETE_ALERTS,
    DELETE_FILES,
    DELETE_MEDIA,
    ERASE_TURNS,
    ERASE_MESSAGES,
    ERASE_CALLS,
)
"""The statements that erase a conversation's rows, in order."""

SELECT_ALL_CALLS = "select conversation_id, elevenlabs_conversation_id as value, recorded_at as at from calls"
SELECT_ALL_MESSAGES = """
    select conversation_id, twilio_message_id as value, created_at as at from conversation_messages
    where twilio_message_id is not null"""
SELECT_ALL_STRANGERS = """
    select phone_number, twilio_message_id as value, received_at as at from strangers
    where twilio_message_id is not null"""
SELECT_NEWEST_ACTIVITY = """
    select greatest(
        (select max(recorded_at) from calls where conversation_id = :id),
        (select max(created_at) from conversation_messages where conversation_id = :id)) as at"""
SELECT_ADDRESS = "select phone_number from conversation_state where id = :id and erased_at is null"
SELECT_OLD_THREADS = """
    select id, phone_number from conversation_state
    where erased_at is null and last_message_at < :before order by id limit :limit"""
COUNT_OLD_THREADS = """
    select count(*) as threads from conversation_state where erased_at is null and last_message_at < :before"""


class MessageInFlight(RelayError):
    """A message of the customer is being sent, or it is unknown whether it was."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Everything by which one customer is found: `conversation_id` is None for a stranger."""

    conversation_id: int | None
    addresses: tuple[str, ...]
    call_keys: tuple[str, ...] = ()
    message_sids: tuple[str, ...] = ()
    session_ids: tuple[str, ...] = ()
    sids_with_media: tuple[str, ...] = ()
    opt_outs: tuple[int, ...] = ()
    strangers: tuple[tuple[int, str | None], ...] = ()
    hints: tuple[str, ...] = ()
    opted_out: bool = field(default=False)

    @property
    def empty(self) -> bool:
        """True if nothing of the customer is stored."""
        return self.conversation_id is None and not (self.opt_outs or self.strangers or self.hints)


def find_traces(ledger: Ledger, address: str) -> Traces:
    """Returns what is stored of the customer with an address, in any spelling."""
    conversation_id = customers.find_conversation(ledger.db, address)
    known = () if conversation_id is None else customers.addresses_of(ledger.db, conversation_id)
    spellings = dict.fromkeys(spelling for each in (address, *known) for spelling in customers.spellings(each))
    opt_outs = [row for each in spellings for row in ledger.all(SELECT_OPT_OUTS, {"address": each})]
    strangers = [row for each in spellings for row in ledger.all(SELECT_STRANGERS, {"address": each})]
    hints = tuple(row["key"] for row in ledger.all(SELECT_HINTS) if json.loads(row["call"])["phone"] in spellings)
    found = Traces(
        conversation_id,
        tuple(spellings),
        opt_outs=tuple(row["id"] for row in opt_outs),
        strangers=tuple((row["id"], row["twilio_message_id"]) for row in strangers),
        hints=hints,
        opted_out=any(row["returned_at"] is None for row in opt_outs),
    )
    return found if conversation_id is None else _with_thread(ledger, found, conversation_id)


def _with_thread(ledger: Ledger, found: Traces, conversation_id: int) -> Traces:
    def column(sql: str) -> tuple[str, ...]:
        return tuple(row[0] for row in ledger.all(sql, {"id": conversation_id}))

    status = ledger.need_one(SELECT_STATUS_OF_CONVERSATION, {"id": conversation_id})[0]
    return Traces(
        conversation_id,
        found.addresses,
        call_keys=column(SELECT_CALL_KEYS),
        message_sids=column(SELECT_SIDS),
        session_ids=column(SELECT_SESSIONS),
        sids_with_media=column(SELECT_WITH_ATTACHMENT),
        opt_outs=found.opt_outs,
        strangers=found.strangers,
        hints=found.hints,
        opted_out=found.opted_out or status == "opted_out",
    )


def refuse_in_flight(ledger: Ledger, conversation_id: int | None) -> None:
    """Raises `MessageInFlight` while a message of the conversation is in flight."""
    row = None if conversation_id is None else ledger.one(SELECT_IN_FLIGHT, {"id": conversation_id})
    if row is None:
        return
    if row["status"] == "sending":
        raise MessageInFlight(f"message {row['id']} is being sent. Try again in a moment.")
    raise MessageInFlight(
        f"it is unknown whether message {row['id']} was sent. Try again in 10 minutes, or decide it first: "
        f"wa-relay resolve {row['id']} --sent SID | --resend | --cancel"
    )


def stop_customer(ledger: Ledger, address: str, actor: str | None, now: Moment) -> Traces:
    """Ends what waits for a customer who is about to be erased, so that nothing new begins. Returns their traces.

    Raises `MessageInFlight` while a message is in flight.
    """
    traces = find_traces(ledger, address)
    if traces.conversation_id is not None:
        ledger.run(CANCEL_WAITING, {"id": traces.conversation_id, "actor": actor, "now": now})
        ledger.run(END_TURNS, {"id": traces.conversation_id, "now": now})
    return traces


def erase(ledger: Ledger, address: str, actor: str | None, now: Moment, at: Moment | None = None) -> bool:
    """Erases a customer; `at` is the time that is remembered, by default now. False if nothing was stored.

    Raises `MessageInFlight` while a message is in flight; nothing is changed then.
    """
    traces = find_traces(ledger, address)
    if traces.empty:
        return False
    refuse_in_flight(ledger, traces.conversation_id)
    _erase_partners(ledger, traces, actor, now, at)
    hashes = forgotten.traces_of(ledger, _values(traces), now if at is None else at)
    forgotten.remember(ledger, hashes)
    if traces.conversation_id is not None:
        _erase_thread(ledger, traces, traces.conversation_id, actor, now)
    _erase_addresses(ledger, traces)
    for stranger_id, _ in traces.strangers:
        ledger.run(DELETE_STRANGER, {"id": stranger_id})
    for key in traces.hints:
        ledger.run(DELETE_HINT, {"key": key})
    entry = journal.Entry("operator", "forgotten", conversation_id=traces.conversation_id, actor=actor)
    journal.record(ledger, entry, now)
    return True


def forget_again(ledger: Ledger, now: Moment) -> int:
    """Erases what the file of hashes remembers and the database still has: it was restored from an older backup.

    Customers who have come back since are left alone. Returns how many customers were erased. Costs a hash of every
    id in the database, and only if the file knows hashes that the database does not.
    """
    known = {(row["kind"], row["hash"]) for row in ledger.all(forgotten.SELECT_ALL_FORGOTTEN)}
    missing = {name: at for name, at in forgotten.read(ledger.forgotten).items() if name not in known}
    key = forgotten.find_key(ledger.forgotten)
    if not missing or key is None:
        return 0
    erased = 0
    for address, at in _remembered(ledger, key, missing):
        erased += erase(ledger, address, None, now, at)
    for (kind, value), at in missing.items():
        ledger.run(forgotten.INSERT_FORGOTTEN, {"kind": kind, "hash": value, "at": at})
    return erased


def old_threads(ledger: Ledger, before: str, limit: int) -> list[str]:
    """The addresses of conversations whose last message is older than a time (RFC 3339)."""
    return [row["phone_number"] for row in ledger.all(SELECT_OLD_THREADS, {"before": before, "limit": limit})]


def count_old_threads(db: Queries, before: str) -> int:
    """The number of conversations to erase."""
    return int(db.execute(COUNT_OLD_THREADS, {"before": before}).fetchone()["threads"])


def _values(traces: Traces) -> Iterator[tuple[Kind, str]]:
    """The values that are remembered as hashes."""
    for key in (*traces.call_keys, *traces.hints):
        yield "call", key
    for sid in (*traces.message_sids, *(sid for _, sid in traces.strangers if sid is not None)):
        yield "message", sid
    if traces.opted_out:
        for address in traces.addresses:
            yield "address", address


def _erase_partners(ledger: Ledger, traces: Traces, actor: str | None, now: Moment, at: Moment | None) -> None:
    """Erases the conversations of the same customer that wait to be merged with this one."""
    partners = ledger.all(SELECT_PARTNERS, {"id": traces.conversation_id})
    ledger.run(DELETE_PAIRS, {"id": traces.conversation_id})
    for row in partners:
        erase(ledger, row["phone_number"], actor, now, at)


def _erase_thread(ledger: Ledger, traces: Traces, conversation_id: int, actor: str | None, now: Moment) -> None:
    one = {"id": conversation_id}
    ledger.run(CANCEL_WAITING, one | {"actor": actor, "now": now})
    ledger.run(END_TURNS, one | {"now": now})
    for sid in traces.message_sids:
        ledger.run(ERASE_RECEIPTS, {"sid": sid})
    for statement in ERASE:
        ledger.run(statement, one)
    ledger.run(ERASE_CONVERSATION, one | {"now": now})
    indexing.forget_name(ledger, conversation_id)
    ledger.run(ERASE_ENTRIES_OF_CONVERSATION, one)


def _erase_addresses(ledger: Ledger, traces: Traces) -> None:
    """Replaces each address by a meaningless token, so that the report still finds each opt-out's call."""
    owner = f"{ERASED}{traces.conversation_id or 'stranger'}"
    for number, address in enumerate(traces.addresses, 1):
        rows = ledger.all(SELECT_OPT_OUTS, {"address": address})
        for row in rows:
            # A stranger's opt-outs share nothing with any conversation: each gets its own token.
            token = f"{owner}-{number}" if traces.conversation_id else f"{owner}-{row['id']}"
            ledger.run(ERASE_OPT_OUT, {"token": token, "id": row["id"]})
        if rows and traces.conversation_id is not None:
            ledger.run(ERASE_ADDRESS, {"token": f"{owner}-{number}", "address": address})
        else:
            ledger.run(DELETE_ADDRESS, {"address": address})


def _remembered(ledger: Ledger, key: bytes, missing: dict[tuple[Kind, str], Moment]) -> Iterator[tuple[str, Moment]]:
    """The customers (an address each) of whom something was erased, and when it was."""
    found: dict[int, Moment] = {}
    for kind, sql in (("call", SELECT_ALL_CALLS), ("message", SELECT_ALL_MESSAGES)):
        for row in ledger.db.execute(sql):
            at = missing.get((forgotten.KINDS[kind], forgotten.hash_of(key, forgotten.KINDS[kind], row["value"])))
            if at is not None:
                found[row["conversation_id"]] = max(at, found.get(row["conversation_id"], at))
    strangers: dict[str, Moment] = {}
    for row in ledger.db.execute(SELECT_ALL_STRANGERS):
        at = missing.get(("message", forgotten.hash_of(key, "message", row["value"])))
        if at is not None and row["at"] <= at:
            strangers[row["phone_number"]] = at
    for conversation_id, at in found.items():
        address = ledger.one(SELECT_ADDRESS, {"id": conversation_id})
        newest = ledger.need_one(SELECT_NEWEST_ACTIVITY, {"id": conversation_id})["at"]
        if address is not None and newest <= at:
            yield address["phone_number"], at
    yield from strangers.items()
