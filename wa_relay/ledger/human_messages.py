"""Messages that a person writes: stored like all others, sent exactly as written, never twice.

A message that is accepted takes the conversation over, and answers everything before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from wa_relay import policy
from wa_relay.ledger import customers, handover, held_turns, journal, turns
from wa_relay.ledger.outbox import NewMessage, Outbound, queue_message
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.unfinished_sends import Begun, refuse_unbegun
from wa_relay.model import Moment
from wa_relay.policy import HumanRefusal, Operator

SELECT_SENDABLE = """
    select status = 'opted_out' as opted_out, window_ends_at, coalesce(reply_to, phone_number) as address, call_id
    from conversation_state where id = :id"""
SELECT_USED_KEY = """
    select body, message_id from idempotency_keys
    where conversation_id = :id and key = :key and used_at > :since"""
SET_KEY = """
    insert into idempotency_keys (conversation_id, key, body, message_id, used_at)
    values (:id, :key, :body, :message_id, :now)
    on conflict (conversation_id, key) do update set body = excluded.body, message_id = excluded.message_id,
        used_at = excluded.used_at"""
FORGET_OLD_KEYS = "delete from idempotency_keys where used_at <= :before"
MARK_UNANSWERED_AGAIN = """
    update conversation_state set unanswered_since = least(unanswered_since, :since)
    where id = :id and handler = 'human'"""

KEYS_KEPT = 7 * 86400.0
"""Seconds for which an Idempotency-Key is remembered."""

WHY_REFUSED: dict[str, str] = {
    "unknown_conversation": "no customer with this number has been called or has written.",
    "idempotency_mismatch": "this Idempotency-Key stands for another message: use a new key for a new message.",
    "opted_out": "this customer has opted out: nothing is sent to them until they write ALTA or START.",
    "window_closed": "the 24-hour window is closed: WhatsApp takes only an approved template now.",
    "quiet_hours": "it is quiet hours for this customer: send the template later, or anyway.",
}


@dataclass(frozen=True, slots=True)
class HumanMessage:
    """A message that a person sends: a text exactly as written, or a template with its variables.

    With `anyway` a template goes out in quiet hours too.
    """

    text: str | None = None
    content_sid: str | None = None
    content_variables: Mapping[str, str] | None = None
    anyway: bool = False

    @property
    def content(self) -> str:
        """The text that the thread shows."""
        if self.text is not None:
            return self.text
        return f"[{self.content_sid}] {json.dumps(dict(self.content_variables or {}), ensure_ascii=False)}"

    @property
    def fingerprint(self) -> str:
        """The same text for the same request: what an Idempotency-Key stands for."""
        variables = None if self.content_variables is None else dict(self.content_variables)
        return json.dumps([self.text, self.content_sid, variables, self.anyway], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Stored:
    """A person's message was stored. `repeated` is true if the same key had stored it before."""

    message_id: int
    conversation_id: int
    repeated: bool = False


Failure = HumanRefusal | str
"""Why nothing was stored: a `HumanRefusal`, `unknown_conversation` or `idempotency_mismatch`."""


def write(
    ledger: Ledger,
    address: str,
    message: HumanMessage,
    operator: Operator,
    key: str | None,
    now: Moment,
    begun: Begun | None = None,
) -> Stored | Failure:
    """Stores a person's message, due at once, and takes the conversation over. Returns a failure if that is refused.

    With a `key` that has been used for this conversation in the last 7 days, the message of that time is returned.
    With `begun`, raises `MayBegin` while a message of the agent may begin after it.
    """
    conversation_id = customers.find_conversation(ledger.db, address)
    if conversation_id is None:
        return "unknown_conversation"
    if key is not None:
        used = ledger.one(SELECT_USED_KEY, {"id": conversation_id, "key": key, "since": now - KEYS_KEPT})
        if used is not None:
            # A key with a different body is a programming error of the caller: neither message is certain to be meant.
            same = used[0] == message.fingerprint
            return Stored(used[1], conversation_id, repeated=True) if same else "idempotency_mismatch"
    row = ledger.need_one(SELECT_SENDABLE, {"id": conversation_id})
    refusal = policy.refuses_human_message(
        opted_out=bool(row["opted_out"]),
        window_ends_at=row["window_ends_at"],
        template=message.content_sid is not None,
        anyway=message.anyway,
        phone=row["address"],
        rules=ledger.rules,
        now=now,
    )
    if refusal is not None:
        return refusal
    if begun is not None:
        refuse_unbegun(ledger, conversation_id, begun)
    message_id = _store(ledger, conversation_id, row["call_id"], message, operator, now)
    if key is not None:
        entry = {"id": conversation_id, "key": key, "body": message.fingerprint, "message_id": message_id, "now": now}
        ledger.run(SET_KEY, entry)
    return Stored(message_id, conversation_id)


def why_refused(failure: Failure) -> str:
    """Why a message was not stored, with what to do."""
    return WHY_REFUSED[failure]


def restore_question(ledger: Ledger, message: Outbound, now: Moment) -> None:
    """Makes the question of a failed message by a person unanswered again."""
    if message.turn_id is None:
        return
    if not handover.has_person(ledger, message.conversation_id):
        turns.leave_unanswered(ledger, message.conversation_id, message.turn_id)
        return
    held_turns.hold_question(ledger, message.conversation_id, message.turn_id, now)
    since = held_turns.first_held_at(ledger, message.conversation_id)
    ledger.run(MARK_UNANSWERED_AGAIN, {"id": message.conversation_id, "since": since})


def forget_old_keys(ledger: Ledger, now: Moment) -> int:
    """Forgets the keys that are older than 7 days. Returns how many."""
    return ledger.run(FORGET_OLD_KEYS, {"before": now - KEYS_KEPT})


def _store(
    ledger: Ledger, conversation_id: int, call_id: int | None, message: HumanMessage, operator: Operator, now: Moment
) -> int:
    before = handover.handling_of(ledger, conversation_id)
    # Before the message is queued: the agent's queued replies would go out in front of it.
    handover.silence_agent(ledger, conversation_id, operator.name, now)
    after = policy.write(before, operator, ledger.rules, now)
    evidence = f"{operator.name} writes"
    handover.set_handling(ledger, conversation_id, after, operator.channel, evidence, operator.name, now)
    answered = held_turns.answer_held(ledger, conversation_id, "answered_by_person", now)
    new = NewMessage(
        conversation_id,
        "human",
        message.content,
        now,
        call_id,
        turn_id=answered,
        author=operator.name,
        content_sid=message.content_sid,
        content_variables=message.content_variables,
    )
    message_id = queue_message(ledger, new, now)
    ledger.run(turns.ALLOW_TEXT_ONLY, {"conversation_id": conversation_id})
    if message.anyway:
        detail = f"sent by {operator.name} without regard to quiet hours"
        entry = journal.Entry(
            "operator", "anyway", detail, operator.name, conversation_id=conversation_id, message_id=message_id
        )
        journal.record(ledger, entry, now)
    return message_id
