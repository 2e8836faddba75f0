"""Matters that wait for an operator: sends with an unknown result, and what holds openings back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wa_relay.basics import Moment
from wa_relay.ledger.engine import Queries
from wa_relay.moments import stamp
from wa_relay.reports.figures import StoppedTemplate

UNCERTAIN = """
    select m.id, s.phone_number, m.kind, m.content, m.attempted_at, m.evidence, m.lookups, m.lookup_matches
    from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.status = 'uncertain' order by m.attempted_at, m.id"""
STANDING = """
    select (select count(*) from conversation_messages where status = 'uncertain') as uncertain,
        exists (select 1 from holds where subject = 'operator') as by_operator,
        exists (select 1 from holds where subject = 'burst') as by_burst,
        (select coalesce(code || ': ' || meaning, code) from holds where subject in ('account', 'sender')
            order by subject, since limit 1) as account_fault,
        (select post_call_at from relay) as post_call_at"""
SELECT_STOPPED_TEMPLATES = (
    "select name, code, meaning, since from holds where subject = 'template' order by since, name"
)

COUNT_WAITING = "select count(*) from conversation_state where waiting_since is not null"


@dataclass(frozen=True, slots=True)
class Undecided:
    """A send whose result is unknown. `evidence` says why; `lookups` counts how often it was looked for at Twilio.

    `lookup_matches` is how many messages could be it in the last look-up, None before the first one.
    """

    id: int
    phone_number: str
    kind: str
    content: str
    attempted_at: str
    age_seconds: float
    evidence: str | None
    lookups: int = 0
    lookup_matches: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry of `resolve --json`."""
        return {
            "id": self.id,
            "phone_number": self.phone_number,
            "kind": self.kind,
            "content": self.content,
            "attempted_at": self.attempted_at,
            "age_seconds": self.age_seconds,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Matters to know beside the figures. `account_fault` is Twilio's refusal as a sentence.

    `post_call_seen` is true once a correctly signed post-call webhook has arrived.
    """

    uncertain: int
    paused_by_operator: bool
    paused_by_burst: bool
    account_fault: str | None
    templates: tuple[StoppedTemplate, ...] = ()
    post_call_seen: bool = False


def uncertain(db: Queries, now: Moment) -> list[Undecided]:
    """Lists the sends that need a decision, the oldest first."""
    return [
        Undecided(
            id=row["id"],
            phone_number=row["phone_number"],
            kind=row["kind"],
            content=row["content"],
            attempted_at=stamp(row["attempted_at"]),
            age_seconds=round(max(0.0, now - row["attempted_at"]), 3),
            evidence=row["evidence"],
            lookups=row["lookups"],
            lookup_matches=row["lookup_matches"],
        )
        for row in db.execute(UNCERTAIN)
    ]


def standing(db: Queries) -> Standing:
    """Returns what holds messages back, and how many sends wait for a decision."""
    row = db.execute(STANDING).fetchone()
    return Standing(
        row["uncertain"],
        bool(row["by_operator"]),
        bool(row["by_burst"]),
        row["account_fault"],
        stopped_templates(db),
        row["post_call_at"] is not None,
    )


def stopped_templates(db: Queries) -> tuple[StoppedTemplate, ...]:
    """Lists the templates that are held, the longest first."""
    return tuple(
        StoppedTemplate(held["name"], held["code"], held["meaning"], stamp(held["since"]))
        for held in db.execute(SELECT_STOPPED_TEMPLATES)
    )


def count_waiting(db: Queries) -> int:
    """Counts the customers who wait for a person."""
    return int(db.execute(COUNT_WAITING, {}).fetchone()[0])
