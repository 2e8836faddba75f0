"""Makes a big database, ten messages for each person on average: `python -m tests.big_ledger FILE [PEOPLE]`."""

from __future__ import annotations

import argparse
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

from wa_relay.ledger import file
from wa_relay.moments import stamp

NOW = 1_795_000_000.0
DAYS = 60
FILLED = ("conversation_state", "calls", "conversation_messages", "turns")
"""The tables with an `id` that are filled."""

PEOPLE = """
    insert into conversation_state (id, phone_number, client_name, elevenlabs_conversation_id, agent_id, started_at,
        last_message_at, message_count, call_id, created_at, window_ends_at)
    values (:id, :phone, :name, :key, :agent, :at, :at, 10, :id, :ended, :ended + 86400)"""
ADDRESSES = """
    insert into addresses (address, kind, conversation_id, known_since) values (:phone, 'phone', :id, :ended)"""
CALLS = """
    insert into calls (id, elevenlabs_conversation_id, conversation_id, phone_number, agent_id, agent_name, batch_id,
        batch_name, group_id, group_name, outcome, source, ended_at, recorded_at, summary)
    values (:id, :key, :id, :phone, :agent, :agent, :batch, :batch, :group, :group, 'completed', 'poll', :ended, :ended,
        'Quiere saber los precios del plan y si incluye la instalación.')"""
MESSAGES = """
    insert into conversation_messages (id, conversation_id, direction, content, twilio_message_id, sent_at, kind,
        status, reason, error_code, call_id, turn_id, created_at, attempted_at, accepted_at, failed_at, evidence)
    values (:id, :person, :direction, :content, :sid, :stamp, :kind, :status, :reason, :code, :person, :turn, :at,
        :attempted, :accepted, :failed, :evidence)"""
TURNS = """
    insert into turns (id, conversation_id, call_id, state, first_at, last_at, due_at, tries, begun_at, finished_at,
        replied_at)
    values (:id, :person, :person, 'answered', :at, :at, :at + 2, 1, :at + 2, :at + 3.5, :replied)"""


def make(path: Path, people: int = 100_000) -> None:
    """Fills a new database with people, one call each; two thirds of them answer and get answers."""
    db = file.open_for_writing(path, account_sid="AC1", now=NOW - (DAYS + 1) * 86400.0).connection
    # With a small cache every index page is written and read again and again: 2 GB hold 5,000,000 messages.
    for setting in ("synchronous = off", "foreign_keys = off", "cache_size = -2000000"):
        db.execute(f"pragma {setting}")
    db.execute("begin")
    db.executemany(PEOPLE, _people(people))
    db.executemany(ADDRESSES, _people(people))
    db.executemany(CALLS, _people(people))
    events = sorted(_events(people))
    db.executemany(MESSAGES, (_message(number, *event) for number, event in enumerate(events, 1)))
    replied = {turn: at + 0.4 for at, _, kind, turn in events if kind == "reply"}
    turns = (event for event in events if event[2] == "customer")
    db.executemany(
        TURNS, ({"id": turn, "person": customer, "at": at, "replied": replied[turn]} for at, customer, _, turn in turns)
    )
    db.execute("commit")
    db.execute("pragma wal_checkpoint(truncate)")
    db.close()


def _people(people: int) -> Iterator[dict[str, object]]:
    for customer in range(1, people + 1):
        ended = _ended(customer, people)
        yield {
            "id": customer,
            "phone": f"+57300{customer:07d}",
            "name": f"Cliente {customer}",
            "key": f"conv_{customer}",
            "agent": f"agent_{customer % 5}",
            "batch": f"Campaña {customer % 40}",
            "group": f"Grupo {customer % 10}",
            "at": stamp(ended),
            "ended": ended,
        }


def _ended(customer: int, people: int) -> float:
    return NOW - DAYS * 86400.0 * (1.0 - customer / people)


def _events(people: int) -> Iterator[tuple[float, int, str, int]]:
    """The messages in order: (moment, person, kind, turn)."""
    dice, turn = random.Random(1), 0
    for customer in range(1, people + 1):
        at = _ended(customer, people) + 6.0
        yield at, customer, "opening", 0
        for _ in range(7 if customer % 3 else 0):
            at += dice.uniform(30.0, 20_000.0)
            turn += 1
            yield at, customer, "customer", turn
            yield at + dice.uniform(3.0, 12.0), customer, "reply", turn


def _message(number: int, at: float, customer: int, kind: str, turn: int) -> dict[str, object]:
    ours, failed = kind != "customer", kind == "reply" and number % 500 == 0
    return {
        "id": number,
        "person": customer,
        "direction": "outbound" if ours else "inbound",
        "content": "El plan cuesta $99 al mes e incluye soporte, instalación y dos líneas."
        if ours
        else "¿Y el precio?",
        # Random, as Twilio's are.
        "sid": f"SM{hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()}",
        "stamp": stamp(at),
        "kind": kind,
        "status": "failed" if failed else "read" if ours else "received",
        "reason": "undelivered" if failed else None,
        "code": "63024" if failed else None,
        "turn": turn or None,
        "at": at,
        "attempted": at if ours else None,
        "accepted": at + 0.4 if ours else at,
        "failed": at + 3.0 if failed else None,
        "evidence": "http: 201" if ours else None,
    }


def main() -> None:
    """Makes the file that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.big_ledger", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("people", type=int, nargs="?", default=100_000, metavar="PEOPLE")
    chosen = parser.parse_args()
    make(chosen.file, chosen.people)


if __name__ == "__main__":
    main()
