"""The route of customers' files."""

from __future__ import annotations

from aiohttp import web

from wa_relay.loops.file_reader import FileReader
from wa_relay.server.answers import HttpError, file_headers
from wa_relay.server.listener import Route


class MediaRoutes:
    """Hands out stored files."""

    def __init__(self, files: FileReader) -> None:
        self._files = files

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        return (Route("GET", "/api/media/{media_id:[^/]+}", self.file, access="view"),)

    async def file(self, http: web.Request) -> web.StreamResponse:
        """One file, with its own type."""
        found = await self._files.find(http.match_info["media_id"])
        if found is None:
            raise HttpError(404, "not_found", "there is no such file, or it is not kept any longer (media.keep_days).")
        answer = web.StreamResponse(headers=file_headers(found.content_type, found.size))
        await answer.prepare(http)
        async for part in self._files.read(found.id):
            await answer.write(part)
        await answer.write_eof()
        return answer
