"""What several tests share: a ledger in which things happen, and a reader beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story import Story
from wa_relay.ledger.file import open_for_reading


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """A new file, driven by the test as the daemon would."""
    told = Story(tmp_path / "relay.db")
    yield told
    told.close()


@pytest.fixture
def db(story: Story) -> Iterator[sqlite3.Connection]:
    """The story's file, read beside its writer."""
    connection = open_for_reading(story.path)
    yield connection
    connection.close()
