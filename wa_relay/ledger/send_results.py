"""The results of a send: accepted, provably not sent, refused, or unclear.

The result decides the next move. A send whose result is unknown leaves its message `uncertain`: it is looked up at
Twilio, and never sent again automatically.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger import consent, handover, holds, human_messages, turns, window
from wa_relay.ledger.engine import Query
from wa_relay.ledger.outbox import MOVED, SELECT_OUTBOUND, Outbound, Proof, get_message
from wa_relay.ledger.read_ahead import reads_ahead
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Moment, NotSent, SendRefused, SendResult, Unclear
from wa_relay.moments import stamp

MARK_SENT = f"""
    update conversation_messages set status = 'sent', twilio_message_id = :sid, in_flight = false, accepted_at = :at,
        sent_at = :stamp, poll_at = :poll_at, lookup_at = null, due_at = null, {MOVED}
    where id = :id"""
NOTE_SENT = "update conversation_state set last_message_at = :stamp where id = :id and last_message_at < :stamp"
# All parts of an answer go to one address, also when the customer's conversations are merged in between.
FREE_NEXT_PART = """
    update conversation_messages set due_at = :due, to_address = coalesce(to_address, :address)
    where turn_id = :turn_id and part = :part and direction = 'outbound' and status = 'queued'
        and (due_at is null or due_at > :due)"""
SELECT_LATER_PARTS = """
    select id from conversation_messages
    where turn_id = :turn_id and part > :part and direction = 'outbound' and status = 'queued'"""
MARK_QUEUED = f"""
    update conversation_messages set status = 'queued', in_flight = false, due_at = :due, lookup_at = null, {MOVED}
    where id = :id"""
MARK_UNCERTAIN = f"""
    update conversation_messages set status = 'uncertain', lookups = 0, lookup_matches = null, lookup_at = :now,
        in_flight = :in_flight, {MOVED}
    where id = :id"""
MARK_FAILED = f"""
    update conversation_messages set status = 'failed', reason = :reason, error_code = :code, error_message = :message,
        in_flight = false, failed_at = :now, lookup_at = null, poll_at = null, {MOVED}
    where id = :id"""
SELECT_ACCEPTED = SELECT_OUTBOUND.format(
    more=""",
        exists (select 1 from conversation_messages o where o.twilio_message_id = :sid) as owned,
        exists (select 1 from conversation_messages n
            where n.turn_id = m.turn_id and n.part = m.part + 1 and n.direction = 'outbound' and n.status = 'queued')
            as followed,
        exists (select 1 from holds where subject = 'account' and name = '') as account_held""",
    where="m.id = :id",
)
"""The message that Twilio has accepted, with what its acceptance may change: four statements took 3 % of a message."""

SELECT_SID_OWNER = "select id from conversation_messages where twilio_message_id = :sid"
SELECT_LEFT_SENDING = """
    select m.id from conversation_messages m
    where m.in_flight and m.status = 'sending'
        and not exists (select 1 from runs r where r.id = m.epoch and r.ended_at is null)"""

ACCEPTED = Proof("http", "Twilio accepted it")
KILLED = Proof("run", "the process ended while it was being sent")


@dataclass(frozen=True, slots=True)
class Finished:
    """The consequence of a send's result. `alarm` is a sentence for an operator who must act."""

    message_id: int
    status: str
    reason: str | None = None
    due_at: Moment | None = None
    alarm: str | None = None


def _query_of_accepted(message_id: int, result: SendResult, _now: Moment) -> Query | None:
    """The query of an accepted send; every other result may concern all customers."""
    return (SELECT_ACCEPTED, {"id": message_id, "sid": result.sid}) if isinstance(result, Accepted) else None


@reads_ahead(_query_of_accepted)
def finish_send(ledger: Ledger, message_id: int, result: SendResult, now: Moment) -> Finished:
    """Moves a message by the result of its send; one that a receipt has moved meanwhile stays there."""
    if isinstance(result, Accepted):
        return _accepted(ledger, message_id, result.sid, now)
    message = get_message(ledger, message_id)
    if message.status != "sending":
        return Finished(message_id, message.status, message.reason)
    _wake_requests(ledger, message, now)
    if isinstance(result, NotSent):
        return _try_again(ledger, message, result, now)
    if isinstance(result, Unclear):
        return _become_uncertain(ledger, message, Proof("http", result.evidence, result.code), now)
    return _refused(ledger, message, result, now)


def _wake_requests(ledger: Ledger, message: Outbound, now: Moment) -> None:
    """Wakes the report of a call that waits at another daemon for what becomes of its opening."""
    if message.kind == "opening":
        ledger.db.announce("moved", now)


def _accepted(ledger: Ledger, message_id: int, sid: str, now: Moment) -> Finished:
    *columns, owned, followed, account_held = ledger.need_one(SELECT_ACCEPTED, {"id": message_id, "sid": sid})
    message = Outbound(*columns)
    _wake_requests(ledger, message, now)
    # Any acceptance proves that the account works again, not only that of a probe.
    if account_held:
        holds.end_account_hold(ledger, now)
    done = _adopt(ledger, message, sid, ACCEPTED, message.attempted_at, now, owned=owned, followed=followed)
    if done.status != "sending":
        return done
    # Another message has that SID: an operator has to find out what became of this one.
    proof = Proof("http", f"Twilio accepted it as {sid}, which another message has")
    return replace(_become_uncertain(ledger, message, proof, now), alarm=done.alarm)


def accept(ledger: Ledger, message: Outbound, sid: str, proof: Proof, at: Moment | None, now: Moment) -> Finished:
    """Adopts a SID for a message: Twilio has it. A SID other than the known one is an alarm.

    `at` is when Twilio accepted it, as far as that is known; a response proves that it is now.
    """
    owned = ledger.one(SELECT_SID_OWNER, {"sid": sid}) is not None
    return _adopt(ledger, message, sid, proof, at, now, owned=owned, followed=True)


def _adopt(
    ledger: Ledger,
    message: Outbound,
    sid: str,
    proof: Proof,
    at: Moment | None,
    now: Moment,
    *,
    owned: bool,
    followed: bool,
) -> Finished:
    """`owned` is true if a message has that SID, `followed` if a further part of the answer may wait for this one."""
    if message.sid == sid:
        return Finished(message.id, message.status)
    # Not adopted: a row has one SID, and a person must know that Twilio may have delivered two messages.
    if message.sid is not None or owned or message.status == "failed":
        why = f"message {message.id} is {message.status} and Twilio also has {sid}: it may have been sent twice"
        return Finished(message.id, message.status, alarm=why)
    estimated = at if at is not None else now
    # Twilio's list has whole seconds of another clock. They serve for the order of a thread, not for our timers.
    accepted_at = now if proof.by == "http" else estimated
    parameters = {
        "id": message.id,
        "sid": sid,
        "at": accepted_at,
        "stamp": stamp(accepted_at),
        "poll_at": policy.next_receipt_poll(now, 0, ledger.rules),
    }
    ledger.write(MARK_SENT, parameters | proof.columns(now))
    ledger.write(NOTE_SENT, {"stamp": stamp(estimated), "id": message.conversation_id})
    if followed:
        free_next_part(ledger, message, now + policy.PART_PAUSE)
    return Finished(message.id, "sent")


def free_next_part(ledger: Ledger, message: Outbound, due: Moment) -> bool:
    """Makes the part of an answer that follows a message due; false when none waits for it."""
    if message.turn_id is None:
        return False
    following = {"turn_id": message.turn_id, "part": message.part + 1}
    freed = ledger.run(FREE_NEXT_PART, following | {"due": due, "address": message.address}) > 0
    if freed:
        ledger.db.announce("send", due)
    return freed


def rescue_sends(ledger: Ledger, now: Moment) -> int:
    """At startup: whatever was being sent when the process died is uncertain. Returns how many messages."""
    rows = ledger.all(SELECT_LEFT_SENDING)
    for row in rows:
        _become_uncertain(ledger, get_message(ledger, row["id"]), KILLED, now)
    return len(rows)


def requeue(ledger: Ledger, message_id: int, due: Moment, proof: Proof, now: Moment) -> None:
    """Returns a message to the queue; the schema refuses it without proof that nothing was sent."""
    ledger.write(MARK_QUEUED, {"id": message_id, "due": due} | proof.columns(now))
    ledger.db.announce("send", due)


def end(
    ledger: Ledger,
    message_id: int,
    reason: str,
    proof: Proof,
    now: Moment,
    *,
    code: str | None = None,
    message: str | None = None,
) -> None:
    """Ends a message without success, and with it the later parts of the same answer."""
    parameters = {"id": message_id, "reason": reason, "code": code, "message": message}
    ledger.write(MARK_FAILED, parameters | proof.columns(now))
    ended = get_message(ledger, message_id)
    if ended.turn_id is None:
        return
    if ended.kind == "human":
        human_messages.restore_question(ledger, ended, now)
        return
    follows = replace(proof, by="rule", evidence=f"the part before it ended: {reason}", code=None)
    for later in ledger.all(SELECT_LATER_PARTS, {"turn_id": ended.turn_id, "part": ended.part}):
        # Half an answer is worse than none: what follows a part that ended would be read without its beginning.
        why = "window_closed" if code == "63016" else "cancelled"
        rest = {"id": later["id"], "reason": why, "code": None, "message": None}
        ledger.write(MARK_FAILED, rest | follows.columns(now))


def follow_refusal(ledger: Ledger, message: Outbound, code: str | None, now: Moment) -> None:
    """Applies what a code means besides: 21610 is an opt-out, 63016 a closed window, 30036 an answer that expired."""
    # The customer opted out at Twilio, not here: the state here must agree before the next send.
    if code == "21610":
        consent.opt_out(ledger, message.address, "twilio", now)
    elif code == "63016":
        window.close(ledger, message, now)
    # It never arrived. A further part that expires leaves a question that was answered in part.
    if code == "30036" and message.kind == "reply" and message.part == 0 and message.turn_id is not None:
        turns.leave_unanswered(ledger, message.conversation_id, message.turn_id)


def _end_if_taken_over(ledger: Ledger, message: Outbound, proof: Proof, now: Moment) -> Finished | None:
    """Ends an agent's message that provably was not sent, if a person has taken over meanwhile. None otherwise.

    Back in the queue it would hold back the person's own messages until its pause ends.
    """
    if handover.may_speak(ledger, message.conversation_id, message.kind):
        return None
    end(ledger, message.id, "handed_over", proof, now)
    handover.keep_question(ledger, message.conversation_id, message.turn_id, message.part, now)
    return Finished(message.id, "failed", "handed_over")


def _try_again(ledger: Ledger, message: Outbound, result: NotSent, now: Moment) -> Finished:
    proof = Proof("http", f"not sent: {result.evidence}", result.code)
    if (ended := _end_if_taken_over(ledger, message, proof, now)) is not None:
        return ended
    pause = policy.retry_delay(
        message.sends - 1, result.retry_after, base=policy.SEND_RETRY_BASE, cap=policy.SEND_RETRY_CAP
    )
    due = now + ledger.rules.scaled(pause)
    requeue(ledger, message.id, due, proof, now)
    return Finished(message.id, "queued", due_at=due)


def _become_uncertain(ledger: Ledger, message: Outbound, proof: Proof, now: Moment) -> Finished:
    holds = now < message.began_at + ledger.rules.scaled(policy.HOLD)
    # Looked up at once, whatever time has passed since the send: a restart may be hours later.
    ledger.write(MARK_UNCERTAIN, {"id": message.id, "in_flight": holds} | proof.columns(now))
    if not holds:
        free_next_part(ledger, message, now)
    return Finished(message.id, "uncertain")


def _refused(ledger: Ledger, message: Outbound, refusal: SendRefused, now: Moment) -> Finished:
    if refusal.scope in ("account", "sender"):
        return _hold_account(ledger, message, refusal, now)
    proof = Proof("http", f"Twilio refused it: {refusal.meaning}", refusal.code)
    text = refusal.message or refusal.meaning
    end(ledger, message.id, "refused", proof, now, code=refusal.code, message=text)
    follow_refusal(ledger, message, refusal.code, now)
    alarm = holds.hold_template(ledger, message, refusal.code, refusal.meaning, now)
    return Finished(message.id, "failed", "refused", alarm=alarm)


def _hold_account(ledger: Ledger, message: Outbound, refusal: SendRefused, now: Moment) -> Finished:
    proof = Proof("http", "not sent: Twilio refused the account or the sender", refusal.code)
    ended = _end_if_taken_over(ledger, message, proof, now)
    if ended is None:
        requeue(ledger, message.id, now, proof, now)
    # The message goes back to the queue unharmed: a wrong token must not fail a campaign (contract 7.2).
    probe_at = holds.hold_account(ledger, refusal.code, refusal.meaning, message.began_at, now)
    if probe_at is None:
        return ended or Finished(message.id, "queued", due_at=now)
    alarm = f"everything is held, Twilio refused with {refusal.code}: {refusal.meaning}"
    done = ended or Finished(message.id, "queued", due_at=probe_at)
    return replace(done, alarm=alarm)
