"""The agents' settings when they can't be read."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from wa_relay.agent.settings_cache import SettingsCache
from wa_relay.logs import LOGGER
from wa_relay.model import UpstreamError


class Away:
    """An agent service that shows no settings."""

    async def agent(self, agent_id: str) -> Any:
        """Refuses."""
        raise UpstreamError(f"ElevenLabs can't be reached for {agent_id}.")


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        self.records.append(record)


def test_a_turn_continues_without_unreadable_settings_and_the_log_says_whose_and_why() -> None:
    handler = Kept()
    LOGGER.addHandler(handler)
    try:
        assert asyncio.run(SettingsCache(Away()).get("agent_1")) is None  # type: ignore[arg-type]
    finally:
        LOGGER.removeHandler(handler)
    (record,) = handler.records
    assert record.getMessage() == "agent_settings_unknown"
    assert getattr(record, "fields", {}) == {"agent": "agent_1", "why": "ElevenLabs can't be reached for agent_1."}
