"""Gives a turn's files to its live session. A file belongs to one session, so each try uploads it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from wa_relay.elevenlabs.uploads import FilePart
from wa_relay.logs import say, warn
from wa_relay.model import AgentFile, UpstreamError
from wa_relay.policy import retry_delay

if TYPE_CHECKING:
    from wa_relay.elevenlabs.client import ElevenLabs

TRIES = 3
RETRY_BASE, RETRY_CAP = 1.0, 4.0


class Uploader:
    """Uploads files to sessions. `read_file` gives the bytes of a file in parts."""

    def __init__(self, api: ElevenLabs, read_file: Callable[[AgentFile], AsyncIterator[bytes]]) -> None:
        self._api = api
        self._read_file = read_file

    async def upload(self, session_id: str, files: Sequence[AgentFile]) -> list[str | None]:
        """Uploads files one after the other. Returns their ids in that order, None for one that is refused."""
        return [await self._upload(session_id, file) for file in files]

    async def _upload(self, session_id: str, file: AgentFile) -> str | None:
        for number in range(TRIES):
            part = FilePart(file.content_type, file.size, self._read_file(file))
            try:
                file_id = await self._api.upload(session_id, part)
            except UpstreamError as error:
                if (error.permanent and error.status != 404) or number == TRIES - 1:
                    warn("agent_file_refused", session=session_id, media=file.media, why=error.message)
                    return None
                await asyncio.sleep(retry_delay(number, error.retry_after, base=RETRY_BASE, cap=RETRY_CAP))
            except Exception as error:
                # The file may have been deleted meanwhile: the question goes out without it.
                warn("agent_file_unreadable", session=session_id, media=file.media, error=error)
                return None
            else:
                say("agent_file_given", session=session_id, media=file.media, size=file.size)
                return file_id
        return None
