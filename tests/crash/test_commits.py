"""The process is killed at the first commit of a flow, at the second, … until the flow completes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.flow import FLOWS, Driver, Flow, Journal, Moment, die_at, judged
from tests.crash.world import MADE, Store

MOST = 200
PAUSE = 5.0
"""Seconds from a kill to the next start."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_kill_at_any_commit_of_a_flow_ends_as_if_nothing_had_happened(
    tmp_path: Path, flow: Flow, when: Moment
) -> None:
    for commit in range(1, MOST):
        folder = tmp_path / str(commit)
        folder.mkdir()
        database, journal = folder / "relay.db", Journal(folder / "journal")

        def first() -> None:
            Driver(flow, Store(database), journal, MADE + 10.0).play()  # noqa: B023 - done before the next turn

        completed = die_at(commit, when, first)
        store = Store(database)
        later = max((one["at"] for one in journal.entries("clock")), default=MADE + 10.0) + PAUSE
        store.restart(later)
        Driver(flow, store, journal, later).play()
        assert not (broken := judged(flow, store, journal, not completed)), (commit, broken)
        store.close()
        if completed:
            assert commit > len(flow.inputs) * 3
            return
    raise AssertionError("the flow does not complete")
