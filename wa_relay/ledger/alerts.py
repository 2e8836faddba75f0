"""Alerts, by the outbox's rules: stored in the transaction of what causes them, tried until they are acknowledged.

Nothing is stored for a type that `[alerts] events` leaves out, nor without `alerts.url`. `loops/alert_delivery.py`
posts what is stored here; a slow or broken receiver holds up no customer.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from wa_relay import policy
from wa_relay.ledger.engine import Queries, Row
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, Scalar
from wa_relay.moments import stamp
from wa_relay.phone import mask
from wa_relay.policy import Alert, AlertType, HandoverRequest, Hold, Mute, Subject

INSERT_ALERT = """
    insert into alerts (webhook_id, type, subject, conversation_id, data, created_at, due_at)
    select :webhook_id, :type, :subject, :conversation_id, :data, :now, :now
    where not exists (select 1 from alerts where type = :type and subject = :subject and created_at > :since)"""
SELECT_DUE_ALERTS = """
    select id, webhook_id, type, data, created_at, tries from alerts
    where due_at <= :now order by due_at, id limit :limit"""
SELECT_WAITING_ALERT = "select created_at, tries from alerts where id = :id and state = 'waiting'"
MARK_ACKNOWLEDGED = """
    update alerts set state = 'acknowledged', due_at = null, finished_at = :now, tries = tries + 1, evidence = :evidence
    where id = :id and state = 'waiting'"""
PUT_OFF_ALERT = "update alerts set due_at = :due_at, tries = tries + 1, evidence = :evidence where id = :id"
MARK_UNACKNOWLEDGED = """
    update alerts set state = 'failed', reason = 'unacknowledged', due_at = null, finished_at = :now,
        tries = tries + 1, evidence = :evidence
    where id = :id"""
FAIL_WAITING_ALERTS = """
    update alerts set state = 'failed', reason = 'restored', due_at = null, finished_at = :now
    where due_at is not null"""
DELETE_OLD_ALERTS = "delete from alerts where finished_at < :before"
SELECT_PHONE_OF_CONVERSATION = "select phone_number from conversation_state where id = :id"
SELECT_UNANSWERED_CUSTOMERS = """
    select s.id, s.phone_number, s.unanswered_since from conversation_state s
    where s.unanswered_since <= :before and s.handler = 'human' and not exists (
        select 1 from alerts a where a.conversation_id = s.id and a.type = 'handover.unanswered'
            and a.created_at > :hour_ago and a.created_at >= s.unanswered_since)
    order by s.unanswered_since limit :limit"""
COUNT_AGENT_FAILURE = """
    insert into agent_failures (agent_id, in_a_row)
    select agent_id, 1 from conversation_state where id = :conversation_id
    on conflict (agent_id) do update set in_a_row = agent_failures.in_a_row + 1
    returning agent_id, in_a_row"""
CLEAR_AGENT_FAILURES = """
    update agent_failures set in_a_row = 0
    where in_a_row > 0 and agent_id = (select agent_id from conversation_state where id = :conversation_id)"""

KEPT = 30 * 86400.0
"""Seconds for which an alert that is finished can be looked at."""

OF_HOLDS: dict[Subject, AlertType] = {
    "burst": "burst.held",
    "account": "account.held",
    "sender": "account.held",
    "limited": "sender.limited",
    "template": "template.stopped",
}
"""The meaning of each hold in an alert. An operator's own pause raises none."""


@dataclass(frozen=True, slots=True)
class DueAlert:
    """An alert that is to be posted now. `body` is the same at every try."""

    id: int
    webhook_id: str
    type: str
    body: bytes
    tries: int


def raise_alert(ledger: Ledger, alert: Alert, now: Moment) -> bool:
    """Stores an alert, due at once. Returns false if its type is off, or if its subject had one in the last 10
    minutes."""
    if alert.type not in ledger.rules.alerts:
        return False
    row = {
        "webhook_id": f"msg_{secrets.token_hex(12)}",
        "type": alert.type,
        "subject": alert.subject,
        "conversation_id": alert.conversation_id,
        "data": json.dumps(dict(alert.data), ensure_ascii=False),
        "now": now,
        "since": now - policy.ALERT_SPACING,
    }
    return ledger.run(INSERT_ALERT, row) > 0


def raise_wanted(ledger: Ledger, conversation_id: int, reason: HandoverRequest, now: Moment) -> None:
    """Reports a request for a person. Each request is a subject of its own."""
    alert = _about_customer(ledger, "handover.wanted", f"{conversation_id} at {now}", conversation_id, reason=reason)
    raise_alert(ledger, alert, now)


def raise_muted(ledger: Ledger, conversation_id: int, reason: Mute, now: Moment) -> None:
    """Reports that a conversation is muted."""
    alert = _about_customer(ledger, "conversation.muted", str(conversation_id), conversation_id, reason=reason)
    raise_alert(ledger, alert, now)


def raise_unanswered(ledger: Ledger, limit: int, now: Moment) -> int:
    """Reports customers who wait too long for a person's answer, each at most hourly. Returns the number of them."""
    rows = ledger.all(SELECT_UNANSWERED_CUSTOMERS, _unanswered(ledger.rules, limit, now))
    raised = 0
    for conversation_id, phone, since in rows:
        data = {"conversation_id": _name(conversation_id), "phone_number": str(phone), "unanswered_since": stamp(since)}
        raised += raise_alert(ledger, Alert("handover.unanswered", str(conversation_id), data, conversation_id), now)
    return raised


def has_unanswered(db: Queries, rules: policy.Rules, now: Moment) -> bool:
    """True if `raise_unanswered` would find a customer; reads only."""
    return db.execute(SELECT_UNANSWERED_CUSTOMERS, _unanswered(rules, 1, now)).fetchone() is not None


def raise_uncertain(ledger: Ledger, message_id: int, kind: str, conversation_id: int, now: Moment) -> None:
    """Reports a send that was not found at Twilio: an operator may have to decide it."""
    data: dict[str, Scalar] = {"message_id": message_id, "kind": kind, "conversation_id": _name(conversation_id)}
    raise_alert(ledger, Alert("send.uncertain", str(message_id), data, conversation_id), now)


def raise_held(ledger: Ledger, hold: Hold, held: int | None, now: Moment) -> None:
    """Reports the beginning of a hold. `held` is the number of openings that it keeps back, where that was counted."""
    if hold.subject not in OF_HOLDS:
        return
    data: dict[str, str | int | None] = {"error_code": hold.code, "meaning": hold.meaning}
    if hold.subject == "template":
        data = {"content_sid": hold.name, "error_code": hold.code}
    elif hold.subject == "burst":
        data = {"held": held}
    elif hold.subject in ("sender", "limited"):
        # It is our own number, but contract 9.1 allows numbers in three types only.
        data = {"sender": mask(hold.name) if hold.name else None, "error_code": hold.code}
    raise_alert(ledger, Alert(OF_HOLDS[hold.subject], f"{hold.subject} {hold.name}".strip(), data), now)


def count_agent_failure(ledger: Ledger, conversation_id: int, now: Moment) -> None:
    """Counts a turn that failed; reports its agent when that is the third in a row."""
    row = ledger.one(COUNT_AGENT_FAILURE, {"conversation_id": conversation_id})
    if row is not None and row[1] == policy.FAILURES_IN_A_ROW:
        data = {"agent_id": row[0], "failures": row[1]}
        raise_alert(ledger, Alert("agent.failing", row[0], data), now)


def clear_agent_failures(ledger: Ledger, conversation_id: int) -> None:
    """Ends the row of failures of a conversation's agent: it has answered."""
    ledger.run(CLEAR_AGENT_FAILURES, {"conversation_id": conversation_id})


def due_alerts(db: Queries, limit: int, now: Moment) -> list[DueAlert]:
    """The alerts that are to be posted now, the longest waiting first; reads only."""
    return [
        DueAlert(row["id"], row["webhook_id"], row["type"], _body(row), row["tries"])
        for row in db.execute(SELECT_DUE_ALERTS, {"now": now, "limit": limit})
    ]


def acknowledge(ledger: Ledger, alert_id: int, evidence: str, now: Moment) -> None:
    """Ends an alert that the receiver has acknowledged, and forgets those that ended long ago."""
    ledger.run(MARK_ACKNOWLEDGED, {"id": alert_id, "evidence": evidence, "now": now})
    ledger.run(DELETE_OLD_ALERTS, {"before": now - KEPT})


def put_off(ledger: Ledger, alert_id: int, evidence: str, now: Moment) -> Moment | None:
    """Plans the next try of an alert that was not acknowledged. Returns its time; None if the alert has failed."""
    row = ledger.one(SELECT_WAITING_ALERT, {"id": alert_id})
    if row is None:
        return None
    due_at = policy.next_alert_try(row["created_at"], row["tries"] + 1, ledger.rules, now)
    if due_at is None:
        ledger.run(MARK_UNACKNOWLEDGED, {"id": alert_id, "evidence": evidence, "now": now})
    else:
        ledger.run(PUT_OFF_ALERT, {"id": alert_id, "evidence": evidence, "due_at": due_at})
    return due_at


def fail_waiting(ledger: Ledger, now: Moment) -> int:
    """Ends every waiting alert after a restore: its cause may be long over. Returns the number."""
    return ledger.run(FAIL_WAITING_ALERTS, {"now": now})


def _about_customer(ledger: Ledger, type_: AlertType, subject: str, conversation_id: int, *, reason: str) -> Alert:
    phone = ledger.need_one(SELECT_PHONE_OF_CONVERSATION, {"id": conversation_id})[0]
    data = {"conversation_id": _name(conversation_id), "phone_number": phone, "reason": reason}
    return Alert(type_, subject, data, conversation_id)


def _unanswered(rules: policy.Rules, limit: int, now: Moment) -> dict[str, float | int]:
    before = now - rules.handover_unanswered
    return {"before": before, "hour_ago": now - policy.UNANSWERED_SPACING, "limit": limit}


def _name(conversation_id: int) -> str:
    return f"conv_local_{conversation_id}"


def _body(row: Row) -> bytes:
    content = {"type": row["type"], "timestamp": stamp(row["created_at"]), "data": json.loads(row["data"])}
    return json.dumps(content, ensure_ascii=False).encode()
