"""Holds: what keeps messages back, and when one message may go out as a probe (contract 7.2).

An `operator` and a `burst` hold keep openings back until an operator releases them. An `account` hold keeps everything
back after Twilio refused the account or the sender in the response to a send; the first accepted probe ends it. A
`sender` hold does so after receipts brought three such codes in a row, and ends with a receipt of a probe itself. A
`limited` hold keeps the openings of one sender back for an hour. A `template` hold keeps back one template, except
for a probe every ten minutes, and ends when a receipt says that a probe was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wa_relay.model import Moment
from wa_relay.policy.rules import Rules

Subject = Literal["operator", "burst", "account", "sender", "limited", "template"]

ACCOUNT_CODES = frozenset(
    {"20003", "20005", "20404", "21701", "21702", "21703", "21704", "21705", "30002", "63112", "401"}
)
SENDER_CODES = frozenset({"63001", "63002", "63007", "63008", "63020", "63022", "63051", "63062"})
RECEIPT_CODES = (ACCOUNT_CODES | SENDER_CODES) - {"20404", "401"}
"""Codes that hold everything when receipts bring them in a row. 20404 counts only in the response to a send."""

LIMIT_CODES = frozenset({"63018", "63038"})
"""Codes of a sender's limit: three openings in a row that receipts fail with them hold its openings."""

TEMPLATE_CODES = frozenset({"21655", "63027", "63028", "63040", "63041", "63042"})
"""Codes that stop their template, in the response to a send or in a receipt."""

ROW = 3
ACCOUNT_PROBES = (2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
"""Seconds until a held account is tried again, by how often it was refused in a row."""

PROBE_PATIENCE = 60.0
"""Seconds after which an account's probe that brought no result is followed by another."""

SENDER_PROBE, SENDER_PROBE_MOST = 600.0, 3600.0
LIMIT_HOLD = 3600.0
TEMPLATE_PROBE = 600.0


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold. `name` is the sender or the template that it is about, "" for the default sender or for everything.

    `probes` counts refusals in a row (`account`) or probes made (`sender`, `template`). `probe_at` is when the next
    probe may go out, or when a `limited` hold ends; None where only an operator ends the hold.
    """

    subject: Subject
    name: str = ""
    code: str | None = None
    meaning: str | None = None
    since: Moment = 0.0
    last_at: Moment = 0.0
    probes: int = 0
    probe_at: Moment | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """The messages that may be claimed under the holds.

    `openings` and `everything` are false while a hold keeps them back. `probing` are the holds for which the next
    message is a probe; there is one probe at a time then. `sender` restricts it to one sender (None: any).
    """

    everything: bool = True
    openings: bool = True
    probing: tuple[Hold, ...] = ()
    sender: str | None = None

    @property
    def openings_first(self) -> bool:
        """True for the probe of a sender, for which an opening is risked before a reply."""
        return any(hold.subject == "sender" for hold in self.probing)


def gate(holds: Sequence[Hold], rules: Rules, now: Moment) -> Gate:
    """Decides which messages the holds release now."""
    openings = not any(hold.subject in ("operator", "burst") for hold in holds)
    accounts = [hold for hold in holds if hold.subject == "account"]
    senders = sorted((hold for hold in holds if hold.subject == "sender"), key=lambda hold: hold.probe_at or 0.0)
    due = [hold for hold in senders if _is_due(hold, rules, now)]
    # One held sender holds all of them (contract 7.2).
    if not all(_is_due(hold, rules, now) for hold in accounts) or (senders and not due):
        return Gate(everything=False, openings=False)
    # One sender at a time, the longest waiting first: two probes at once could not be distinguished by a receipt.
    probed = due[:1]
    return Gate(True, openings, (*accounts, *probed), probed[0].name if probed else None)


def probe_pause(subject: Subject, probes: int) -> float:
    """Seconds until the next probe, after `probes` of them (`account`: after that many refusals in a row)."""
    if subject == "account":
        return ACCOUNT_PROBES[min(max(probes, 1), len(ACCOUNT_PROBES)) - 1]
    if subject == "limited":
        return LIMIT_HOLD
    if subject == "template":
        return TEMPLATE_PROBE
    return min(SENDER_PROBE_MOST, SENDER_PROBE * 2.0 ** min(probes, 16))


def template_waits(hold: Hold, rules: Rules, now: Moment) -> Moment | None:
    """Returns when a stopped template may be probed, None if that is now."""
    return None if _is_due(hold, rules, now) else hold.probe_at


def _is_due(hold: Hold, rules: Rules, now: Moment) -> bool:
    # A clock that was set back does not put a probe off for longer than its pause.
    longest = PROBE_PATIENCE if hold.subject == "account" else SENDER_PROBE_MOST
    return hold.probe_at is None or not 0.0 < hold.probe_at - now <= rules.scaled(longest)
