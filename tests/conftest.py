"""Fixtures that several tests share: a ledger in which things happen, a reader beside it, and a PostgreSQL server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.engines import Cluster, Place, place_for
from tests.story import Story
from wa_relay.ledger.engine import Queries

# A shell's background job ignores Ctrl-C, and one under nohup hang-ups, and so would each command that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Hypothesis measures wall time: on a busy machine its health check and its deadline fail tests that are right.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One PostgreSQL server for all tests of this process."""
    started = Cluster()
    yield started
    started.stop()


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place of the test's database: a file, unless the folder of the tests or the test wants otherwise."""
    with place_for(getattr(request, "param", "sqlite"), tmp_path, request) as made:
        yield made


@pytest.fixture
def story(place: Place) -> Iterator[Story]:
    """A new database, driven by the test as the daemon would."""
    driven = Story(place)
    yield driven
    driven.close()


@pytest.fixture
def db(story: Story) -> Iterator[Queries]:
    """The story's database, read beside its writer."""
    connection = story.place.open_for_reading()
    yield connection
    connection.close()
