"""The table of holds: set by refusals, by receipts and by people, and ended by what proves that the cause is gone."""

from __future__ import annotations

from wa_relay import policy
from wa_relay.ledger import alerts, journal
from wa_relay.ledger.engine import Row
from wa_relay.ledger.outbox import Outbound
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment
from wa_relay.policy import Hold, Subject

SELECT_HOLDS = """
    select subject, name, code, meaning, since, last_at, probes, probe_at from holds order by subject, name"""
SET_HOLD = """
    insert into holds (subject, name, code, meaning, since, last_at, probes, probe_at)
    values (:subject, :name, :code, :meaning, :now, :now, :probes, :probe_at)
    on conflict (subject, name) do update set code = excluded.code, meaning = excluded.meaning,
        last_at = excluded.last_at, probes = excluded.probes, probe_at = excluded.probe_at
    where holds.last_at < :attempted_at"""
SET_PROBE = """
    update holds set probes = :probes, probe_at = :probe_at where subject = :subject and name = :name"""
END_HOLD = "delete from holds where subject = :subject and name = :name"
END_LIMITS = "delete from holds where subject = 'limited' and probe_at <= :now"
END_PROBED_HOLD = "delete from holds where subject = :subject and name = :name and since < :attempted_at"
PROBE_TEMPLATE_NOW = "update holds set probe_at = :now where subject = 'template' and name = :name"
FREE_TEMPLATES = """
    update conversation_messages set due_at = :now where status = 'queued' and waits_for = 'template'"""
SELECT_FAILED_IN_A_ROW = """
    select twilio_message_id as sid from conversation_messages
    where failed_at is not null and moved_by = 'receipt' and coalesce(sender, '') = :name
        and error_code in ({codes}) and kind in ({kinds})
    order by failed_at desc, id desc limit :row"""
SELECT_GOOD_SINCE = """
    select 1 from receipts r join conversation_messages m on m.id = r.message_id
    where r.id > (select min(f.id) from receipts f where f.sid = :sid and f.status in ('failed', 'undelivered'))
        and r.status in ('sent', 'delivered', 'read') and m.status in ('sent', 'delivered', 'read')
        and coalesce(m.sender, '') = :name
    limit 1"""


def _codes(codes: frozenset[str]) -> str:
    return ", ".join(f"'{code}'" for code in sorted(codes))


SELECT_REFUSED_IN_A_ROW = SELECT_FAILED_IN_A_ROW.format(
    codes=_codes(policy.RECEIPT_CODES), kinds="'opening', 'reply', 'notice'"
)
SELECT_LIMITED_IN_A_ROW = SELECT_FAILED_IN_A_ROW.format(codes=_codes(policy.LIMIT_CODES), kinds="'opening'")


def all_holds(ledger: Ledger) -> list[Hold]:
    """Every hold in force."""
    return [_hold(row) for row in ledger.all(SELECT_HOLDS)]


def pause_openings(ledger: Ledger, now: Moment, actor: str | None) -> None:
    """Holds openings until an operator releases them."""
    _set(ledger, Hold("operator"), now, now)
    journal.record(ledger, journal.Entry("operator", "pause", "openings are paused", actor=actor), now)


def hold_burst(ledger: Ledger, held: int, now: Moment) -> None:
    """Holds the openings that the breaker counted, until an operator releases them."""
    _set(ledger, Hold("burst"), now, now, held=held)
    journal.record(ledger, journal.Entry("hold", "burst", facts={"held": held}), now)


def release_openings(ledger: Ledger, now: Moment, actor: str | None) -> None:
    """Ends the holds that an operator may end: `operator` and `burst`."""
    for subject in ("operator", "burst"):
        ledger.run(END_HOLD, {"subject": subject, "name": ""})
    journal.record(ledger, journal.Entry("operator", "resume", "openings go out again", actor=actor), now)


def hold_account(ledger: Ledger, code: str, meaning: str, attempted_at: Moment, now: Moment) -> Moment | None:
    """Holds everything after Twilio refused the account or the sender. Returns when to probe, None if that was known.

    What was being sent together is refused together: only the first of them, and each probe, counts.
    """
    known = next((hold for hold in all_holds(ledger) if hold.subject == "account"), None)
    refusals = 1 if known is None else known.probes + 1
    probe_at = now + ledger.rules.scaled(policy.probe_pause("account", refusals))
    # SET_HOLD ignores a send that began before the last refusal: 20 refusals at once are one, not twenty doublings.
    if not _set(ledger, Hold("account", "", code, meaning, probes=refusals, probe_at=probe_at), attempted_at, now):
        return None
    journal.record(ledger, journal.Entry("hold", "account", meaning, facts={"code": code}), now)
    return probe_at


def end_account_hold(ledger: Ledger, now: Moment) -> None:
    """Ends an account's hold: Twilio has accepted a message."""
    if ledger.run(END_HOLD, {"subject": "account", "name": ""}):
        journal.record(ledger, journal.Entry("hold", "account_released"), now)


def count_probe(ledger: Ledger, hold: Hold, now: Moment) -> Moment:
    """Notes that a message was claimed as a probe. Returns when the next one may go out."""
    probes = hold.probes if hold.subject == "account" else hold.probes + 1
    # An account's refusal comes with the response, a sender's by receipt, perhaps minutes later.
    pause = policy.PROBE_PATIENCE if hold.subject == "account" else policy.probe_pause(hold.subject, probes)
    probe_at = now + ledger.rules.scaled(pause)
    parameters = {"subject": hold.subject, "name": hold.name, "probes": probes, "probe_at": probe_at}
    ledger.run(SET_PROBE, parameters)
    return probe_at


def note_failure(ledger: Ledger, message: Outbound, code: str | None, now: Moment) -> str | None:
    """Counts a failure that a receipt brought. Returns an alarm when it holds something from now on."""
    if code in policy.RECEIPT_CODES and _in_a_row(ledger, message, SELECT_REFUSED_IN_A_ROW):
        return _hold_sender(ledger, message, "sender", code, now)
    if code in policy.LIMIT_CODES and _in_a_row(ledger, message, SELECT_LIMITED_IN_A_ROW):
        return _hold_sender(ledger, message, "limited", code, now)
    # A template can be stopped at the first code: it names the template itself, no row of three is needed.
    return hold_template(ledger, message, code, None, now)


def note_success(ledger: Ledger, message: Outbound, now: Moment) -> bool:
    """Ends the hold of a sender or a template when the receipt of a probe says that it was sent. True if it did."""
    if message.attempted_at is None:
        return False
    ended = _end_probed(ledger, "sender", message.sender or "", message.attempted_at)
    if ended:
        journal.record(ledger, journal.Entry("hold", "sender_released", message_id=message.id), now)
    # Not `or`: one receipt may release the sender and the template.
    return bool(ended) | _note_template(ledger, message, message.attempted_at, now)


def _end_probed(ledger: Ledger, subject: Subject, name: str, attempted_at: Moment) -> bool:
    return ledger.run(END_PROBED_HOLD, {"subject": subject, "name": name, "attempted_at": attempted_at}) > 0


def _note_template(ledger: Ledger, message: Outbound, attempted_at: Moment, now: Moment) -> bool:
    """Ends the hold of a template when the receipt of a probe says that it was sent. True if it did."""
    name = message.content_sid
    if name is None or not _end_probed(ledger, "template", name, attempted_at):
        return False
    ledger.run(FREE_TEMPLATES, {"now": now})
    facts = {"template": name}
    journal.record(ledger, journal.Entry("hold", "template_released", message_id=message.id, facts=facts), now)
    return True


def hold_template(ledger: Ledger, message: Outbound, code: str | None, meaning: str | None, now: Moment) -> str | None:
    """Stops the template that a message met the code with. Returns an alarm if it was not stopped yet."""
    attempted_at = message.attempted_at
    if message.content_sid is None or attempted_at is None or code not in policy.TEMPLATE_CODES:
        return None
    name = message.content_sid
    known = any(hold.subject == "template" and hold.name == name for hold in all_holds(ledger))
    probe_at = now + ledger.rules.scaled(policy.probe_pause("template", 0))
    if not _set(ledger, Hold("template", name, code, meaning, probe_at=probe_at), attempted_at, now) or known:
        return None
    entry = journal.Entry("hold", "template", meaning, message_id=message.id, facts={"code": code, "template": name})
    journal.record(ledger, entry, now)
    return f"the template {name} is stopped: Twilio reported {code}. Other messages with it wait"


def probe_template_now(ledger: Ledger, content_sid: str, now: Moment, actor: str | None) -> bool:
    """Releases one message with a stopped template go out at once. False if that template is not stopped."""
    if not ledger.run(PROBE_TEMPLATE_NOW, {"name": content_sid, "now": now}):
        return False
    if not ledger.run(FREE_TEMPLATES, {"now": now}):
        # Nothing proves that it works again: only the next message with it can.
        ledger.run(END_HOLD, {"subject": "template", "name": content_sid})
    facts = {"template": content_sid}
    journal.record(ledger, journal.Entry("operator", "resume", "a template is tried again", actor, facts=facts), now)
    return True


def end_limits(ledger: Ledger, now: Moment) -> None:
    """Ends the holds of senders' limits whose hour is over."""
    ledger.run(END_LIMITS, {"now": now})


def _in_a_row(ledger: Ledger, message: Outbound, sql: str) -> bool:
    """True if this sender's last failures of a kind are a row: no message that has not failed was sent between them."""
    name = message.sender or ""
    rows = ledger.all(sql, {"name": name, "row": policy.ROW})
    if len(rows) < policy.ROW:
        return False
    return ledger.one(SELECT_GOOD_SINCE, {"sid": rows[-1]["sid"], "name": name}) is None


def _hold_sender(ledger: Ledger, message: Outbound, subject: Subject, code: str | None, now: Moment) -> str | None:
    name = message.sender or ""
    if any(hold.subject == subject and hold.name == name for hold in all_holds(ledger)):
        return None
    probe_at = now + ledger.rules.scaled(policy.probe_pause(subject, 0))
    _set(ledger, Hold(subject, name, code, probe_at=probe_at), now, now)
    entry = journal.Entry("hold", subject, message_id=message.id, facts={"code": code, "sender": name})
    journal.record(ledger, entry, now)
    if subject == "limited":
        return f"openings are held for an hour: Twilio reported {code} for three of them in a row"
    return f"everything is held: Twilio reported {code} for three messages in a row"


def _set(ledger: Ledger, hold: Hold, attempted_at: Moment, now: Moment, *, held: int | None = None) -> bool:
    begins = not any((known.subject, known.name) == (hold.subject, hold.name) for known in all_holds(ledger))
    parameters = {
        "subject": hold.subject,
        "name": hold.name,
        "code": hold.code,
        "meaning": hold.meaning,
        "probes": hold.probes,
        "probe_at": hold.probe_at,
        "attempted_at": attempted_at,
        "now": now,
    }
    if not ledger.run(SET_HOLD, parameters):
        return False
    if begins:
        alerts.raise_held(ledger, hold, held, now)
    return True


def _hold(row: Row) -> Hold:
    return Hold(
        subject=row["subject"],
        name=row["name"],
        code=row["code"],
        meaning=row["meaning"],
        since=row["since"],
        last_at=row["last_at"],
        probes=row["probes"],
        probe_at=row["probe_at"],
    )
