"""Never an agent's reply while a person has the conversation, and no message of a person lost or sent twice: judged by
what Twilio was asked to send, and when."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from urllib.parse import parse_qs

from tests.crash.operators import Deeds
from tests.crash.verdict import ASKED, Sent, Verdict
from wa_relay.standins.twilio import TwilioStandin

LOST = ("failed", "uncertain")


def check(
    verdict: Verdict, twilio: TwilioStandin, sent: Sequence[Sent], deeds: Deeds, outbound: Sequence[sqlite3.Row]
) -> None:
    """Compares what operators did with what Twilio was asked."""
    _one_voice(verdict, twilio, deeds)
    taken = Counter(one.text for one in sent)
    rows = Counter(row["content"] for row in outbound if row["kind"] == "human")
    status = {row["content"]: row["status"] for row in outbound if row["kind"] == "human"}
    for text, phone in deeds.messages.items():
        verdict.check(rows[text] == 1, f"a person's message to {phone} has {rows[text]} rows")
        verdict.check(taken[text] <= 1, f"{phone} got a person's message {taken[text]} times")
        verdict.check(
            taken[text] == 1 or status.get(text) in LOST,
            f"a person's message to {phone} was lost: {status.get(text)}",
        )
    verdict.figures.update(
        takeovers=len(deeds.takeovers), human_messages=len(deeds.messages), human_refused=deeds.refused
    )


def _one_voice(verdict: Verdict, twilio: TwilioStandin, deeds: Deeds) -> None:
    """No request with a reply of the agent arrives between the takeover's answer and the next release."""
    begun: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for entry in twilio.journal.entries("request"):
        if entry.data["operation"] == "create":
            form = parse_qs(str(entry.data["form"]))
            phone = form.get("To", [""])[0].removeprefix("whatsapp:")
            begun[phone].append((entry.at, form.get("Body", [""])[0]))
    for takeover in deeds.takeovers:
        for at, text in begun[takeover.phone]:
            late = takeover.since < at < takeover.until and ASKED.search(text) is not None
            verdict.check(
                not late, f"{takeover.phone} was taken over, and {at - takeover.since:.3f} s later got {text[:50]}"
            )
