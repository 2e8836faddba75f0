"""The customer's 24-hour window when Twilio says that it is closed (63016): Twilio is the judge, our clock a hint.

The texts that wait fail. A question of which no part of the answer arrived is unanswered again. A template may then ask
the customer to write (`reply.reopen_content_sid`): once, until they do.
"""

from __future__ import annotations

from wa_relay import policy
from wa_relay.ledger import human_messages, journal, openings, outbox, turns
from wa_relay.ledger.outbox import NewMessage, Outbound
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, Scalar

CLOSE_WINDOW = "update conversation_state set window_ends_at = least(window_ends_at, :now) where id = :id"
FAIL_WAITING_TEXTS = """
    update conversation_messages set status = 'failed', reason = 'window_closed', failed_at = :now, moved_at = :now,
        moved_by = 'rule', moved_code = '63016', moved_actor = null, evidence = 'the 24-hour window is closed'
    where conversation_id = :id and status = 'queued' and kind <> 'opening' and content_sid is null
    returning id"""
SELECT_ARRIVED_PART = """
    select 1 from conversation_messages
    where turn_id = :turn_id and direction = 'outbound' and status <> 'failed' limit 1"""
SELECT_REOPENABLE = """
    select s.client_name, s.call_id, (select max(i.accepted_at) from conversation_messages i
            where i.conversation_id = s.id and i.direction = 'inbound') as wrote_at
    from conversation_state s where s.id = :id and s.status = 'active' and s.handler = 'agent'"""
SELECT_TEMPLATE_SINCE = """
    select 1 from conversation_messages
    where conversation_id = :id and direction = 'outbound' and content_sid is not null and created_at >= :since
        and (notice = 'reopen' or status not in ('queued', 'failed'))
    limit 1"""
CANCEL_REOPENING = """
    update conversation_messages set status = 'failed', reason = 'cancelled', failed_at = :now, moved_at = :now,
        moved_by = 'customer', moved_code = null, moved_actor = null, evidence = 'the customer has written'
    where conversation_id = :id and status = 'queued' and notice = 'reopen'"""

WHY_NOT_REOPENED = "a variable of reply.reopen_content_variables is empty: the template is not sent"


def close(ledger: Ledger, message: Outbound, now: Moment) -> None:
    """Closes the window of a conversation after a text of it met 63016; the message itself has failed already."""
    if message.content_sid is not None:
        return
    ledger.write(CLOSE_WINDOW, {"now": now, "id": message.conversation_id})
    for (message_id,) in ledger.all(FAIL_WAITING_TEXTS, {"now": now, "id": message.conversation_id}):
        waiting = outbox.get_message(ledger, message_id)
        if waiting.kind == "human":
            human_messages.restore_question(ledger, waiting, now)
    if message.kind != "reply":
        return
    if message.turn_id is not None and ledger.one(SELECT_ARRIVED_PART, {"turn_id": message.turn_id}) is None:
        turns.leave_unanswered(ledger, message.conversation_id, message.turn_id)
    if ledger.rules.reopen.content_sid:
        _reopen(ledger, message, now)


def cancel_reopening(ledger: Ledger, conversation_id: int, now: Moment) -> None:
    """Cancels a template that was to ask for the customer's answer: the customer has written."""
    if ledger.rules.reopen.content_sid:
        ledger.write(CANCEL_REOPENING, {"id": conversation_id, "now": now})


def _reopen(ledger: Ledger, message: Outbound, now: Moment) -> None:
    row = ledger.one(SELECT_REOPENABLE, {"id": message.conversation_id})
    if row is None or row["wrote_at"] is None:
        return
    if ledger.one(SELECT_TEMPLATE_SINCE, {"id": message.conversation_id, "since": row["wrote_at"]}):
        return
    rendered = policy.render_opening(
        ledger.rules.reopen, _values(ledger, row["client_name"], row["call_id"]), window_open=False
    )
    if rendered.empty_variable is not None:
        entry = journal.Entry(
            "wait", "empty_variable", WHY_NOT_REOPENED, conversation_id=message.conversation_id, message_id=message.id
        )
        journal.record(ledger, entry, now)
        return
    template = NewMessage(
        message.conversation_id,
        "notice",
        rendered.content,
        now,
        row["call_id"],
        notice="reopen",
        content_sid=rendered.content_sid,
        content_variables=rendered.content_variables,
    )
    outbox.queue_message(ledger, template, now)


def _values(ledger: Ledger, name: str | None, call_id: int | None) -> dict[str, Scalar]:
    """The values of the template's placeholders: those of the latest call; for a stranger, the name alone."""
    if call_id is not None:
        return openings.opening_values(ledger, openings.get_call_by_id(ledger, call_id))
    return policy.opening_values(ledger.rules, {}, name=name, agent_name=None, batch_name=None, group_name=None)
