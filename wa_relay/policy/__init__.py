"""The decisions of the relay: who is written to, when, and what follows a failure.

Pure: facts, rules and `now` in, a decision out. The ledger asks inside its transactions, the
workers ask between their awaits; neither decides by itself.
"""

from wa_relay.policy.capacity import NO_CAPACITY_BASE, NO_CAPACITY_CAP, AdaptiveLimit
from wa_relay.policy.hours import closes_at, opens_at
from wa_relay.policy.openings import (
    CustomerFacts,
    Rendered,
    Skip,
    SkipReason,
    Write,
    client_name,
    opening_values,
    plan_opening,
    render_opening,
)
from wa_relay.policy.receipts import CLOCK_TOLERANCE, FAILURES, RANK, match_unclear, receipt_moves
from wa_relay.policy.rules import WINDOW, WINDOW_MARGIN, OpeningText, Rules
from wa_relay.policy.sending import (
    ACCOUNT_PROBES,
    BURST_WATCH,
    HOLD,
    LATE_LOOKUP,
    LATE_LOOKUPS_END,
    LOOKUPS,
    PART_PAUSE,
    PERSON_BUCKET,
    PERSON_REFILL,
    RECEIPT_POLLS,
    SEND_RETRY_BASE,
    SEND_RETRY_CAP,
    Circuit,
    account_probe,
    next_lookup,
    next_receipt_poll,
    refill,
    retry_delay,
)
from wa_relay.policy.turns import DEBOUNCE_LIMIT, TURN_TRIES, turn_due

__all__ = [
    "ACCOUNT_PROBES",
    "BURST_WATCH",
    "CLOCK_TOLERANCE",
    "DEBOUNCE_LIMIT",
    "FAILURES",
    "HOLD",
    "LATE_LOOKUP",
    "LATE_LOOKUPS_END",
    "LOOKUPS",
    "NO_CAPACITY_BASE",
    "NO_CAPACITY_CAP",
    "PART_PAUSE",
    "PERSON_BUCKET",
    "PERSON_REFILL",
    "RANK",
    "RECEIPT_POLLS",
    "SEND_RETRY_BASE",
    "SEND_RETRY_CAP",
    "TURN_TRIES",
    "WINDOW",
    "WINDOW_MARGIN",
    "AdaptiveLimit",
    "Circuit",
    "CustomerFacts",
    "OpeningText",
    "Rendered",
    "Rules",
    "Skip",
    "SkipReason",
    "Write",
    "account_probe",
    "client_name",
    "closes_at",
    "match_unclear",
    "next_lookup",
    "next_receipt_poll",
    "opening_values",
    "opens_at",
    "plan_opening",
    "receipt_moves",
    "refill",
    "render_opening",
    "retry_delay",
    "turn_due",
]
