"""What a run has met: faults, moves of the state machine, and each kind of traffic."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from tests.crash.people import Expected
from tests.crash.traffic import SALES
from tests.crash.verdict import Sent, Verdict
from wa_relay.standins.elevenlabs import ElevenLabsStandin
from wa_relay.standins.twilio import TwilioStandin

POLLED = ("workspace", "batch", "conversation")


def note_what_was_met(
    verdict: Verdict, twilio: TwilioStandin, agents: ElevenLabsStandin, moves: Sequence[sqlite3.Row]
) -> None:
    """What the run has met: each fault by operation, each edge of the state machine."""
    for entry in twilio.journal.entries("fault"):
        verdict.hit[f"{entry.data['fault']} {entry.data['operation']}"] += 1
    for entry in agents.journal.entries("fault"):
        verdict.hit[f"agent {entry.data['fault']}"] += 1
        verdict.figures[f"faults of {'the poll' if entry.data['route'] in POLLED else 'the agent'}"] += 1
    for move in moves:
        verdict.hit[f"{move['from_status']} -> {move['to_status']}"] += 1
        if move["to_status"] == "queued" and move["code"]:
            verdict.hit[move["code"]] += 1


def note_traffic(
    verdict: Verdict,
    twilio: TwilioStandin,
    agents: ElevenLabsStandin,
    sent: Sequence[Sent],
    known: Expected,
    events: Counter[str],
) -> None:
    """The result of each kind of traffic."""
    forms = [entry.data["form"] for entry in twilio.journal.entries("inbound")]
    files = [form for form in forms if isinstance(form, dict) and form["NumMedia"] == "1"]
    verdict.hit.update(
        {
            "traffic voices": sum(agents.transcriptions.values()),
            "traffic pictures": len(files) - len(known.spoken),
            "traffic media-faults": len(twilio.journal.entries("elsewhere")),
            "traffic handovers": len(known.deeds.takeovers),
            "traffic merges": events["merge"],
            "traffic senders": sum(one.sender == SALES for one in sent),
            "traffic templates": events["hold template"],
        }
    )
