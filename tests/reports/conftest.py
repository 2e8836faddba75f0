"""The reports on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import ENGINES, Place, place_for


@pytest.fixture(params=ENGINES)
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place of the test's database: a file, then a PostgreSQL server."""
    with place_for(request.param, tmp_path, request) as made:
        yield made
