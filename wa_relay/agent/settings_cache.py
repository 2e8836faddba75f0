"""The agents' settings, cached: a turn works better with them, but also works without."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from wa_relay.logs import warn
from wa_relay.model import Moment, UpstreamError

if TYPE_CHECKING:
    from wa_relay.elevenlabs.client import AgentSettings, ElevenLabs

FRESH_SECONDS = 300.0
FAILED_SECONDS = 30.0
READ_SECONDS = 5.0
_MAX_AGENTS = 1_000


class SettingsCache:
    """Settings by agent id. All turns that wait for the same settings share one request."""

    def __init__(self, api: ElevenLabs) -> None:
        self._api = api
        self._kept: dict[str, tuple[Moment, AgentSettings | None]] = {}
        self._reading: dict[str, asyncio.Task[AgentSettings | None]] = {}

    async def get(self, agent_id: str) -> AgentSettings | None:
        """Returns the agent's settings: at most 5 minutes old, older if they can't be read again, None if never."""
        until, settings = self._kept.get(agent_id, (0.0, None))
        if asyncio.get_running_loop().time() < until:
            return settings
        task = self._reading.get(agent_id)
        if task is None:
            task = asyncio.create_task(self._read(agent_id, settings))
            self._reading[agent_id] = task
            task.add_done_callback(lambda _: self._reading.pop(agent_id, None))
        return await asyncio.shield(task)

    def override_refused(self, agent_id: str) -> None:
        """Corrects kept settings that allow an override which the agent has just refused."""
        until, settings = self._kept.get(agent_id, (0.0, None))
        if settings is not None:
            self._kept[agent_id] = (until, replace(settings, text_only_override=False))

    async def close(self) -> None:
        """Stops the reads that are under way."""
        for task in list(self._reading.values()):
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def _read(self, agent_id: str, older: AgentSettings | None) -> AgentSettings | None:
        keep, settings = FRESH_SECONDS, older
        try:
            async with asyncio.timeout(READ_SECONDS):
                settings = await self._api.agent(agent_id)
        except (UpstreamError, TimeoutError) as error:
            keep = FAILED_SECONDS
            why = error.message if isinstance(error, UpstreamError) else f"no answer within {READ_SECONDS:g} s"
            warn("agent_settings_unknown", agent=agent_id, why=why)
        while len(self._kept) >= _MAX_AGENTS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[agent_id] = (asyncio.get_running_loop().time() + keep, settings)
        return settings
