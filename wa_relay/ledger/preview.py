"""Previews of calls that are not recorded yet, by the functions that decide about recorded ones. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from wa_relay import policy
from wa_relay.ledger import calls, consent, customers, failed_calls, forgotten, holds, openings, waiting_openings
from wa_relay.ledger.claims import COUNT_BURST
from wa_relay.ledger.customers import Customer
from wa_relay.ledger.store import SELECT_RELAY, Ledger
from wa_relay.model import Call, Moment

SELECT_WINDOW = "select window_ends_at from conversation_state where id = :id"


@dataclass(frozen=True, slots=True)
class Preview:
    """The result for one call. `due_at` is None without an opening that has a time.

    `content` is None where a template's text isn't known, and without an opening.
    """

    decision: Literal["send", "wait", "skip"]
    reason: str | None = None
    due_at: Moment | None = None
    content: str | None = None
    content_sid: str | None = None


class Previewer:
    """Decides calls one after the other: the openings of earlier ones count for the gap and for the breaker.

    `starting` is true if no daemon runs: then the breaker watches from its next start.
    """

    def __init__(self, ledger: Ledger, now: Moment, *, starting: bool) -> None:
        self._ledger = ledger
        self._now = now
        self._pushes = calls.pushes_recently(ledger, now)
        self._planned: dict[str, Moment] = {}
        self._holds = holds.all_holds(ledger)
        relay = ledger.need_one(SELECT_RELAY)
        self._watching = starting or (relay["watching"] and now <= relay["started_at"] + policy.BURST_WATCH)
        begun = 0 if starting else relay["openings_begun"]
        self._due = begun + ledger.need_one(COUNT_BURST, {"by": now, "epoch": ledger.epoch})["due"]

    def preview(self, call: Call) -> Preview:
        """Previews a finished call that ElevenLabs has."""
        ledger = self._ledger
        customer = customers.find_customer(ledger, call.phone)
        if self._is_known(call, customer):
            return Preview("skip", "known")
        if customer is None:
            opted_out = consent.stranger_opted_out(ledger, call.phone)
        else:
            opted_out = customer.status == "opted_out" or consent.stranger_opted_out(ledger, call.phone)
        facts = waiting_openings.customer_facts(ledger, None if customer is None else customer.id, opted_out=opted_out)
        name = call.phone if customer is None else customer.phone
        earlier = self._planned.get(name)
        if earlier is not None and (facts.last_opening_at is None or facts.last_opening_at < earlier):
            facts = replace(facts, last_opening_at=earlier)
        plan = calls.plan_call(ledger, call, facts, self._now, backend_pushes=self._pushes)
        if isinstance(plan, policy.Skip):
            return Preview("skip", plan.reason)
        if isinstance(plan, policy.Wait):
            return Preview("wait", "undecided", plan.until)
        return self._opening(call, customer, plan, name)

    def _is_known(self, call: Call, customer: Customer | None) -> bool:
        if openings.find_call(self._ledger, call.key) is not None:
            return True
        if forgotten.is_forgotten(self._ledger, "call", call.key):
            return True
        same = None if customer is None else failed_calls.find_duplicate_failure(self._ledger, call, customer.id)
        return same is not None

    def _opening(self, call: Call, customer: Customer | None, plan: policy.Write, name: str) -> Preview:
        rules = self._ledger.rules
        text = rules.openings.get(call.outcome, policy.OpeningText())
        values = policy.opening_values(
            rules,
            call.variables,
            name=call.client_name,
            agent_name=call.agent_name,
            batch_name=call.batch_name,
            group_name=call.group_name,
        )
        ends_at = None if customer is None else self._ledger.need_one(SELECT_WINDOW, {"id": customer.id})[0]
        window_open = ends_at is not None and self._now < ends_at - policy.WINDOW_MARGIN
        rendered = policy.render_opening(text, values, window_open=window_open)
        if rendered.empty_variable is not None:
            return Preview("skip", "empty_variable", content_sid=rendered.content_sid)
        if not rendered.content.strip():
            return Preview("skip", "cancelled")
        self._planned[name] = self._now
        shown = None if rendered.content_sid is not None and not text.body else rendered.content
        reason = self._waits(call, text, plan, rendered.content_sid)
        return Preview("wait" if reason else "send", reason, plan.due_at, shown, rendered.content_sid)

    def _waits(self, call: Call, text: policy.OpeningText, plan: policy.Write, content_sid: str | None) -> str | None:
        """The reason why an opening would not go out at once, None if it would."""
        if plan.due_at > self._now:
            return openings.why_waiting(self._ledger.rules, text, call.ended_at, plan.due_at, self._now)
        for hold in self._holds:
            if hold.subject != "template" or hold.name == content_sid:
                return hold.subject
        self._due += 1
        limit = self._ledger.rules.burst_limit
        return "burst" if self._watching and limit and self._due > limit else None
