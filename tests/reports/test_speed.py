"""The cost of reading beside a million messages: run with `-m soak`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.big_ledger import NOW, make
from wa_relay.ledger.file import open_for_reading
from wa_relay.reports import conversation, stats_queries
from wa_relay.reports.spans import Span

BOGOTA = ZoneInfo("America/Bogota")


def best(of: Callable[[], object]) -> float:
    """Seconds of the fastest of five."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        of()
        times.append(time.perf_counter() - begun)
    return min(times)


@pytest.mark.soak
def test_one_person_is_found_in_10_ms_and_a_report_is_made_in_time(tmp_path: Path) -> None:
    make(tmp_path / "relay.db")
    db = open_for_reading(tmp_path / "relay.db")
    assert db.execute("select count(*) from conversation_messages").fetchone()[0] >= 1_000_000
    assert best(lambda: conversation.conversation(db, phone="+573000050000", limit=100)) <= 0.010
    whole = {
        by: best(lambda by=by: stats_queries.stats(db, span=Span(), by=by, timezone=BOGOTA))  # type: ignore[misc]
        for by in (None, "day", "batch", "group", "agent")
    }
    week = best(lambda: stats_queries.stats(db, span=Span(NOW - 7 * 86400.0, None), by="batch", timezone=BOGOTA))
    db.close()
    assert week <= 1.0
    assert max(whole.values()) <= 1.0, whole
