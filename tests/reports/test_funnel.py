"""For any fate of the openings, the steps of the funnel and their losses add up."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.story import BOGOTA, Story
from wa_relay.ledger.file import open_for_reading
from wa_relay.model import Accepted, NotSent, SendRefused, SendResult, Unclear
from wa_relay.reports import spans, stats_queries
from wa_relay.reports.figures import Figures

RESULTS = ("accepted", "refused", "unclear", "busy", "waiting")
RECEIPTS = ("", "sent", "delivered", "read", "failed", "undelivered")


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of one call's opening."""

    outcome: str
    result: str
    receipt: str
    replies: bool


FATES = st.lists(
    st.builds(
        Fate,
        st.sampled_from(("completed", "voicemail")),
        st.sampled_from(RESULTS),
        st.sampled_from(RECEIPTS),
        st.booleans(),
    ),
    max_size=8,
)


def figures_of(fates: list[Fate]) -> Figures:
    """Plays the calls, each of a customer of its own, and counts."""
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder) / "relay.db")
        for number, fate in enumerate(fates):
            _play(story, number, fate)
        story.close()
        db = open_for_reading(Path(folder) / "relay.db")
        try:
            return stats_queries.stats(db, span=spans.Span(), by=None, timezone=BOGOTA).total
        finally:
            db.close()


def _play(story: Story, number: int, fate: Fate) -> None:
    phone = f"+57300{number:07}"
    story.call(f"conv_{number}", phone, outcome=fate.outcome)
    if fate.outcome != "completed" or fate.result == "waiting":
        return
    sid = f"SM{number:032x}"
    results: dict[str, SendResult] = {
        "accepted": Accepted(sid, "queued"),
        "refused": SendRefused("63016", "closed", "message", "closed"),
        "unclear": Unclear("no response"),
        "busy": NotSent("429", answered=True, code="20429"),
    }
    story.send(results[fate.result])
    if fate.result == "accepted" and fate.receipt:
        story.receipt(sid, fate.receipt, "63024" if fate.receipt in ("failed", "undelivered") else None)
    story.now += 5.0
    if fate.replies:
        story.write("Hola", phone)


@given(FATES)
@settings(max_examples=40, deadline=None)
def test_the_steps_add_up_with_their_losses(fates: list[Fate]) -> None:
    figures = figures_of(fates)
    openings = figures.openings
    lost = dict.fromkeys(("opening", "sent", "delivered", "read", "replied"), 0)
    for loss in figures.losses:
        assert loss.count > 0
        assert loss.meaning
        lost[loss.stage] += loss.count
    every = openings.queued + openings.sent + openings.failed + openings.uncertain + openings.cancelled
    assert figures.calls == len(fates) == every + lost["opening"]
    assert openings.sent >= openings.delivered >= openings.read >= 0
    assert openings.sent >= figures.replied
    no_receipt = sum(loss.count for loss in figures.losses if loss.reason == "no_receipt")
    assert lost["sent"] + lost["delivered"] - no_receipt == every - openings.queued - openings.sent
    assert openings.sent - openings.delivered == no_receipt
    assert openings.delivered - openings.read == lost["read"]
    assert openings.sent - figures.replied == lost["replied"]
