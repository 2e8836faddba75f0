"""Numbers that can't be used: announced once, and without the number."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from tests.loops.incoming import RULES, Incoming, played
from tests.sources.scripted import Scripted, batch, recipient
from wa_relay import metrics
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import LOGGER, EventFormatter
from wa_relay.sources.batch_outcomes import Rejection


def _unusable(source: str) -> float:
    return float(metrics.CALLS.labels(source, "unusable_number")._value.get())


def test_a_number_that_can_not_be_used_is_a_warning_without_the_number_and_counts_once(
    tmp_path: Path,
) -> None:
    unusable = batch(recipient(1, "failed", None, phone_number="3001112233"), status="in_progress")

    async def scenario(_ledger: LedgerThread, incoming: Incoming, _clock: list[float]) -> None:
        before = {source: _unusable(source) for source in ("poll", "webhook")}
        for _ in range(3):
            await incoming.polling.poll_once()
        incoming.announcements.reject(Rejection("number_unusable", "conv_9", phone="anonymous"), "webhook")
        incoming.announcements.reject(Rejection("number_unusable", "conv_9", phone="anonymous"), "webhook")
        assert {source: _unusable(source) - before[source] for source in before} == {"poll": 1, "webhook": 1}

    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(EventFormatter(as_json=False, personal_data=False, timezone=RULES.timezone))
    LOGGER.addHandler(handler)
    try:
        played(tmp_path, Scripted(batches={"btcal_1": unusable}), scenario)
    finally:
        LOGGER.removeHandler(handler)
    polled, hooked = (line for line in log.getvalue().splitlines() if "call_number_unusable" in line)
    assert "WARNING" in polled
    assert "call=btcal_1/rcpt_1 batch=btcal_1 recipient=rcpt_1 source=poll" in polled
    assert "call=conv_9" in hooked
    assert "3001112233" not in log.getvalue()
