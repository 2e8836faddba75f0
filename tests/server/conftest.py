"""One daemon for all tests that need nothing special of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.served import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # The tests tell of more calls in a minute than the breaker lets pass.
    with serving(tmp_path_factory.mktemp("served"), {"opening": {"burst_limit": 0}}) as one:
        yield one
        assert "Traceback" not in one.relay.log
        assert "request_fault" not in one.relay.log
