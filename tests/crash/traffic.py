"""The kinds of traffic of a run, and the numbers and users of its customers.

A run has all of it; `--without voices handovers` leaves kinds out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.e2e.stage import AGENT
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent
from wa_relay.standins.twilio import SANDBOX, Serving, Template

KINDS = ("voices", "pictures", "media-faults", "handovers", "merges", "senders", "templates")

UNCONFIGURED = frozenset(KINDS) - {"senders", "templates"}
"""The kinds that need nothing in the configuration."""

SALES = "whatsapp:+573000000001"
"""The second number of the account, from which the calls of `SALES_AGENT` are followed up."""

SALES_AGENT = Agent("agent_5801k8fcsvhaes5s1h6tw894g98s", client_events=CHAT_EVENTS)
SENDERS = (SANDBOX, SALES)
TEMPLATE = Template("HX" + "7" * 32, "Hola {{1}}, te llamamos y no contestaste.", {"1": "Ana"}, name="missed")
TEMPLATE_CODES = (63027, 63028, 63040, 63041, 63042)
"""Codes that stop a template."""

SERVINGS = (
    *(Serving(missing=number) for number in (1, 2)),
    *(Serving(status=status, times=1) for status in (429, 500, 503)),
    Serving(status=403, times=99),
    Serving(slow=0.4),
    Serving(broken=True, broken_times=1),
    Serving(broken=True),
    Serving(content_type="text/html"),
    Serving(content_type="video/mp4"),
    Serving(drip=0.02),
    Serving(hops=2),
    Serving(loop=True),
)
"""The ways in which the download of a file fails: for a time, or always."""

SPOILT = 0.35
"""The share of files whose download fails."""


def serving(dice: random.Random, kinds: frozenset[str]) -> Serving:
    """How a file will be served."""
    return dice.choice(SERVINGS) if "media-faults" in kinds and dice.random() < SPOILT else Serving()


@dataclass(slots=True)
class Addresses:
    """The identities of customers, for the judge. `users` are the phones of BSUIDs, `same` a customer's other phones by
    phone.

    `sales` are those whose conversation begins and stays at the second number.
    """

    users: dict[str, str] = field(default_factory=dict)
    same: dict[str, set[str]] = field(default_factory=dict)
    sales: set[str] = field(default_factory=set)

    def are_one(self, one: str, other: str) -> None:
        """Notes that two phones belong to one customer."""
        everyone = self.everyone((one, other))
        for phone in everyone:
            self.same[phone] = everyone

    def everyone(self, phones: set[str] | tuple[str, ...]) -> set[str]:
        """The given phones, and the other phones of the same customers."""
        return set(phones).union(*(self.same.get(phone, ()) for phone in phones))

    def phone(self, address: str) -> str:
        """The phone of an address, which may be a BSUID."""
        return self.users.get(address, address)


def agent_of(phone: str, addresses: Addresses) -> Agent:
    """The agent that called a phone."""
    return SALES_AGENT if phone in addresses.sales else AGENT
