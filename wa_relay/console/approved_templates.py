"""The account's approved templates, kept for a few minutes: no page waits for Twilio each time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from wa_relay.channel.content import Approved, Templates
from wa_relay.logs import warn
from wa_relay.model import UpstreamError

KEPT, PATIENCE = 300.0, 3.0
"""Seconds for which a list is used, and for which a page waits for a new one."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The approved templates; `fault` explains why the list is missing, if Twilio did not send it."""

    templates: tuple[Approved, ...]
    fault: str = ""


class ApprovedTemplates:
    """Lists the templates from which an operator may choose when the window is closed."""

    def __init__(self, source: Templates) -> None:
        self._source = source
        self._found: Offered | None = None
        self._until = 0.0
        self._asking: asyncio.Task[Offered] | None = None

    async def get(self) -> Offered:
        """Returns the list; an older one if Twilio takes too long."""
        if self._found is not None and time.monotonic() < self._until:
            return self._found
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            return self._found or Offered((), "timeout")

    async def _ask(self) -> Offered:
        try:
            offered = Offered(await self._source.approved())
        except UpstreamError as error:
            warn("templates_not_listed", what=error.message)
            return self._found or Offered((), error.message)
        self._found, self._until = offered, time.monotonic() + KEPT
        return offered
