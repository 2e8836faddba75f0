"""The short form of `make texts`."""

from __future__ import annotations

from pathlib import Path

from tests.texts.__main__ import carry


def test_generated_texts_reach_the_agent_and_the_customer_whole(tmp_path: Path) -> None:
    assert carry(tmp_path, 400, seed=20_261_128) > 400
