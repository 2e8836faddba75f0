"""Claims: which messages of the outbox are sent now, by every rule of sending.

A message is marked `sending` in a transaction before the request is made, and the mark says which send of
which run it is. `send_results` deals with the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger import daily_limit, handover, holds, journal, merging, openings, outbox, send_results
from wa_relay.ledger.daily_limit import DailyLimit
from wa_relay.ledger.openings import KnownCall
from wa_relay.ledger.outbox import MOVED, Proof
from wa_relay.ledger.store import SELECT_RELAY, Ledger
from wa_relay.ledger.waiting_openings import allowed_at, is_delayed
from wa_relay.model import Moment, Outgoing

SELECT_DUE = """
    select m.id, m.conversation_id, m.kind, m.content, m.call_id, m.turn_id, m.due_at, m.not_after, m.sends,
        m.notice, m.epoch, m.sender, m.part, coalesce(m.to_address, s.reply_to, s.phone_number) as address,
        s.status as consent, s.window_ends_at, s.bucket, s.bucket_at, m.content_sid, m.content_variables, s.handler,
        s.handler_reason, s.handler_by, m.waits_for
    from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.status = 'queued' and {kind} and m.due_at <= :now and not s.merging
        and (cast(:sender as text) is null or coalesce(m.sender, '') = :sender)
        and not exists (select 1 from conversation_messages b
            where b.conversation_id = m.conversation_id and b.in_flight)
        and not exists (select 1 from conversation_messages e
            where e.conversation_id = m.conversation_id and e.status = 'queued' and e.id < m.id
                and (e.kind <> 'opening' or (:openings and e.due_at <= :now)))
    order by m.due_at limit :limit"""
SELECT_DUE_REPLIES = SELECT_DUE.format(kind="m.kind <> 'opening'")
SELECT_DUE_OPENINGS = SELECT_DUE.format(kind="m.kind = 'opening'")
SELECT_STANDING = """
    select watching, exists (select 1 from merges) as merging, exists (select 1 from holds) as holding from relay"""
"""Says which of the rarer rules a claim has to ask at all."""

MARK_SENDING = f"""
    update conversation_messages set status = 'sending', in_flight = true, sends = sends + 1, attempted_at = :now,
        epoch = :epoch, content = :content, content_sid = :content_sid, content_variables = :variables,
        to_address = :to_address, waits_for = null, lookups = 0, lookup_matches = null, lookup_at = null, {MOVED}
    where id = :id and status = 'queued'"""
SPEND_ALLOWANCE = "update conversation_state set bucket = :tokens, bucket_at = :now where id = :id"
DEFER_MESSAGE = "update conversation_messages set due_at = :due_at, waits_for = :why where id = :id"
COUNT_BURST = """
    select count(*) as due from conversation_messages
    where status = 'queued' and kind = 'opening' and due_at <= :by and not released and coalesce(epoch, 0) < :epoch"""
COUNT_BEGUN = "update relay set openings_begun = openings_begun + :count where watching"
END_WATCH = "update relay set watching = false"


@dataclass(frozen=True, slots=True)
class _Due:
    """A message that is due, with what the rules ask about its customer; the columns of `SELECT_DUE` in order."""

    id: int
    conversation_id: int
    kind: str
    content: str
    call_id: int | None
    turn_id: int | None
    due_at: Moment
    not_after: Moment | None
    sends: int
    notice: str | None
    epoch: int | None
    sender: str | None
    part: int
    address: str
    consent: str
    window_ends_at: Moment | None
    bucket: float
    bucket_at: Moment
    content_sid: str | None
    content_variables: str | None
    handler: policy.Handler
    handler_reason: policy.HandlerReason | None
    handler_by: str | None
    waits_for: str | None

    @property
    def call(self) -> int:
        """The call of an opening. The schema requires it for openings; other messages may lack it."""
        if self.call_id is None:
            raise LookupError(f"message {self.id} belongs to no call")
        return self.call_id


CLAIMED = Proof("run")
WHY_WORTHLESS = {
    "handed_over": "a person has the conversation",
    "expired": "it waited until its window or its time had ended",
    "cancelled": "the customer's opt-out forbids it",
}
WHY_WAITING = {
    "delay": "openings wait for their delay after the end of the call",
    "quiet_hours": "openings wait for the end of quiet hours",
    "daily_limit": "openings wait while opening.daily_limit customers have had a template in 24 hours",
    "sender_limited": "Twilio reported a limit of the sender for three openings in a row",
    "template": "Twilio has stopped the template",
    "pair_limit": "WhatsApp limits how many messages one customer may get in a short time",
}


@dataclass(frozen=True, slots=True)
class SendJob:
    """A message that is marked as being sent: the request must follow, and its result be finished."""

    outgoing: Outgoing
    conversation_id: int
    kind: str
    call_key: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The result of a claim: the messages to send, and those that ended unsent (ids with their reasons).

    `burst` counts the openings that the breaker has begun to hold in this claim, 0 if it began none. `next_due` is when
    the outbox has something due after this claim, None if nothing waits.
    """

    jobs: tuple[SendJob, ...]
    ended: tuple[tuple[int, str], ...] = ()
    burst: int = 0
    next_due: Moment | None = None


def claim_messages(ledger: Ledger, limit: int, now: Moment, sender: str | None = None) -> Claimed:
    """Marks the messages that may go out now as `sending`: replies first, at most one for each conversation.

    `sender` restricts it to one of our numbers, "" to messages whose number the messaging service chooses.

    Every rule of sending is asked here, in the transaction that makes the mark: account and
    operator holds, the breaker, consent, window, quiet hours, expiry, order and pair limit.
    """
    watching, merges, holding = ledger.need_one(SELECT_STANDING)
    if merges:
        merging.merge_idle(ledger, now)
    held: list[policy.Hold] = []
    if holding:
        holds.end_limits(ledger, now)
        held = holds.all_holds(ledger)
    gate = policy.gate(held, ledger.rules, now)
    if not gate.everything or (gate.sender is not None and sender not in (None, gate.sender)):
        return Claimed((), next_due=outbox.next_due(ledger))
    if gate.probing:
        # One probe at a time: the next one when this one has failed, or has brought no result.
        limit = min(limit, 1)
    burst = _trips_breaker(ledger, now) if watching and gate.openings else 0
    openings_go = gate.openings and not burst
    claim = _Claim(ledger, limit, openings_go, gate.sender if sender is None else sender, tuple(held), now)
    if gate.openings_first:
        claim.take_openings()
    claim.take_replies()
    if not gate.openings_first:
        claim.take_openings()
    if claim.new_openings and watching:
        ledger.write(COUNT_BEGUN, {"count": claim.new_openings})
    for hold in gate.probing if claim.jobs else ():
        holds.count_probe(ledger, hold, now)
    return Claimed(tuple(claim.jobs), tuple(claim.ended), burst, outbox.next_due(ledger))


def _trips_breaker(ledger: Ledger, now: Moment) -> int:
    """Holds openings if more than the limit became due since the start. Returns how many are held, 0 for none."""
    relay = ledger.need_one(SELECT_RELAY)
    limit, end = ledger.rules.burst_limit, relay["started_at"] + policy.BURST_WATCH
    # The first look after the minute still counts: in it, sending may have been held.
    due: int = ledger.need_one(COUNT_BURST, {"by": min(now, end), "epoch": relay["watch_epoch"]})["due"] if limit else 0
    # More than the limit may have gone out, because an operator let them go. A hold of no opening would not be logged.
    if not due or due + relay["openings_begun"] <= limit:
        if not limit or now > end:
            ledger.write(END_WATCH)
        return 0
    holds.hold_burst(ledger, due, now)
    return due


class _Claim:
    """One claim: goes through what is due until it has as many messages as it may have."""

    def __init__(
        self, ledger: Ledger, limit: int, openings: bool, sender: str | None, held: tuple[policy.Hold, ...], now: Moment
    ) -> None:
        self.jobs: list[SendJob] = []
        self.ended: list[tuple[int, str]] = []
        self.new_openings = 0
        self._ledger = ledger
        self._limit = limit
        self._openings = openings
        self._sender = sender
        self._limited = {hold.name: hold.probe_at for hold in held if hold.subject == "limited"}
        self._templates = {hold.name: hold for hold in held if hold.subject == "template"}
        self._now = now
        self._begun: set[int] = set()
        self._daily = DailyLimit(ledger, now)

    def take_replies(self) -> None:
        """Claims what is due and not an opening."""
        self._take(SELECT_DUE_REPLIES)

    def take_openings(self) -> None:
        """Claims openings that are due, unless they are held."""
        if self._openings:
            self._take(SELECT_DUE_OPENINGS)

    def _take(self, sql: str) -> None:
        wanted = self._limit - len(self.jobs)
        if wanted < 1:
            return
        # More than are wanted: some of them end or are put off when they are examined.
        parameters = {"openings": self._openings, "sender": self._sender, "limit": wanted * 2 + 8}
        for row in self._ledger.all(sql, parameters | {"now": self._now}):
            if len(self.jobs) >= self._limit:
                return
            message = _Due(*row)
            # One before it in this claim may have begun for the same customer.
            if message.conversation_id not in self._begun:
                self._take_one(message)

    def _take_one(self, message: _Due) -> None:
        # In the transaction of the mark: an opt-out or a takeover of a second ago still counts.
        if (reason := _worthless(message, self._now)) is not None:
            send_results.end(self._ledger, message.id, reason, Proof("rule", WHY_WORTHLESS[reason]), self._now)
            if reason == "handed_over":
                handover.keep_question(self._ledger, message.conversation_id, message.turn_id, message.part, self._now)
            self.ended.append((message.id, reason))
            return
        call = openings.get_call_by_id(self._ledger, message.call) if message.kind == "opening" else None
        due_at, why = self._due(message, call)
        if due_at > self._now:
            _defer(self._ledger, message, due_at, why, self._now)
            return
        job = _begin(self._ledger, message, call, self._now)
        if isinstance(job, str):
            self.ended.append((message.id, job))
        else:
            self.jobs.append(job)
            self._begun.add(message.conversation_id)
            # An opening that was begun in this run before, and did not go out, is already counted.
            self.new_openings += call is not None and message.epoch != self._ledger.epoch
            if job.outgoing.content_sid is not None:
                # Also before Twilio accepts: an uncertain send may have used Meta's slot.
                self._daily.count(message.sender, message.conversation_id)
                self._count_template_probe(job.outgoing.content_sid)

    def _due(self, message: _Due, call: KnownCall | None) -> tuple[Moment, str]:
        """Returns when a due message may really be sent, and the rule that delays it; `call` is an opening's."""
        if call is not None:
            due_at, why = self._opening_due(message, call)
            if due_at > self._now:
                return due_at, why
        if message.notice == "reopen":
            due_at, why = self._reopening_due(message)
            if due_at > self._now:
                return due_at, why
        stopped = self._template_waits(message, call)
        if stopped is not None:
            return stopped, "template"
        tokens = policy.refill(message.bucket, message.bucket_at, self._now)
        if tokens >= 1.0:
            return self._now, ""
        return self._now + max(0.05, (1.0 - tokens) * policy.PERSON_REFILL), "pair_limit"

    def _opening_due(self, message: _Due, call: KnownCall) -> tuple[Moment, str]:
        allowed = allowed_at(self._ledger, call, self._now)
        if allowed > self._now:
            return allowed, "delay" if is_delayed(self._ledger, call, self._now) else "quiet_hours"
        limited = self._limited.get(message.sender or "")
        if limited is not None:
            return limited, "sender_limited"
        if self._ledger.rules.daily_limit and openings.needs_template(self._ledger, call, self._now):
            return self._daily.due_at(message.sender, message.conversation_id), daily_limit.WAITS
        return self._now, ""

    def _reopening_due(self, message: _Due) -> tuple[Moment, str]:
        allowed = policy.opens_at(self._now, self._ledger.rules, message.address)
        if allowed > self._now:
            return allowed, "quiet_hours"
        return self._daily.due_at(message.sender, message.conversation_id), daily_limit.WAITS

    def _template_waits(self, message: _Due, call: KnownCall | None) -> Moment | None:
        """Returns when a message with a stopped template may be tried, None if it may go out."""
        if not self._templates:
            return None
        name = message.content_sid
        if call is not None:
            name = openings.render_opening(self._ledger, call, self._now).content_sid
        hold = None if name is None else self._templates.get(name)
        return None if hold is None else policy.template_waits(hold, self._ledger.rules, self._now)

    def _count_template_probe(self, content_sid: str) -> None:
        hold = self._templates.get(content_sid)
        if hold is not None:
            probe_at = holds.count_probe(self._ledger, hold, self._now)
            self._templates[content_sid] = replace(hold, probes=hold.probes + 1, probe_at=probe_at)


def _worthless(message: _Due, now: Moment) -> str | None:
    """The reason why a message that is due must not be sent, None when it may be."""
    # Only the confirmation of an opt-out goes to customers who have opted out.
    if (message.consent == "opted_out") != (message.notice == "opt_out"):
        return "cancelled"
    handling = policy.Handling(message.handler, None, message.handler_reason, message.handler_by)
    if not policy.may_speak(message.kind, handling):
        return "handed_over"
    if message.notice == "reopen" and message.handler != "agent":
        return "handed_over"
    if message.kind != "opening" and message.content_sid is not None:
        return None
    if message.kind == "opening":
        return "expired" if message.not_after is not None and message.not_after <= now else None
    return "expired" if message.window_ends_at is None or message.window_ends_at <= now else None


def _defer(ledger: Ledger, message: _Due, due_at: Moment, why: str, now: Moment) -> None:
    ledger.write(DEFER_MESSAGE, {"due_at": due_at, "why": why, "id": message.id})
    if message.waits_for == why:
        return
    entry = journal.Entry(
        "wait",
        why,
        WHY_WAITING[why],
        conversation_id=message.conversation_id,
        call_id=message.call_id,
        message_id=message.id,
        turn_id=message.turn_id,
        facts={"due_at": due_at},
    )
    journal.record(ledger, entry, now)


def _begin(ledger: Ledger, message: _Due, call: KnownCall | None, now: Moment) -> SendJob | str:
    """Marks one message as being sent; returns the reason instead when its text can't be made."""
    content, call_key = message.content, None
    if call is None:
        body, content_sid, variables = _as_written(message)
    else:
        # Rendered again now: a name may have come with a later report, and the settings may have changed since.
        rendered = openings.render_opening(ledger, call, now)
        if (reason := _unsendable(ledger, message.id, rendered, now)) is not None:
            return reason
        content, call_key = rendered.content, call.key
        body, content_sid, variables = rendered.body, rendered.content_sid, rendered.content_variables
    validity = policy.validity(
        message.kind,
        template=content_sid is not None,
        window_ends_at=message.window_ends_at,
        phone=message.address,
        rules=ledger.rules,
        now=now,
    )
    outgoing = Outgoing(message.id, message.address, body, content_sid, variables, validity, message.sender)
    parameters = {
        "id": message.id,
        "epoch": ledger.epoch,
        "content": content,
        "content_sid": content_sid,
        "to_address": message.address,
        "variables": outbox.as_json(variables),
    }
    # Without its mark it would be sent twice.
    ledger.write_one(MARK_SENDING, parameters | CLAIMED.columns(now))
    tokens = policy.refill(message.bucket, message.bucket_at, now)
    ledger.write(SPEND_ALLOWANCE, {"tokens": tokens - 1.0, "now": now, "id": message.conversation_id})
    return SendJob(outgoing, message.conversation_id, message.kind, call_key)


def _as_written(message: _Due) -> tuple[str | None, str | None, Mapping[str, str] | None]:
    """Text, or template and variables, of a message that is sent as stored: of any but an opening."""
    if message.content_sid is None:
        return message.content, None, None
    return None, message.content_sid, json.loads(message.content_variables or "{}")


def _unsendable(ledger: Ledger, message_id: int, rendered: policy.Rendered, now: Moment) -> str | None:
    """Ends an opening that has no text to send, and returns the reason; None when it has one."""
    if rendered.empty_variable is not None:
        why = f"the template's variable {rendered.empty_variable} is empty: set opening.default_name, or send a name"
        send_results.end(ledger, message_id, "empty_variable", Proof("rule", why), now, message=why)
        return "empty_variable"
    if not rendered.content.strip():
        send_results.end(ledger, message_id, "cancelled", Proof("rule", "its outcome is no longer followed up"), now)
        return "cancelled"
    return None
