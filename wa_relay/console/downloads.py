"""Files to download: written to disk by the reader, then sent, so that no length of a list fills the memory."""

from __future__ import annotations

import asyncio
import tempfile
from typing import IO

from aiohttp import web

from wa_relay import reports
from wa_relay.console.render import HEADERS
from wa_relay.ledger.engine import Queries

CHUNK = 64 * 1024


def write_calls(db: Queries, span: reports.Span) -> IO[bytes]:
    """Writes the calls of a span as CSV into a temporary file, and returns it at its beginning; reads only."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it is sent
    for line in reports.calls_csv(reports.list_calls(db, span=span)):
        file.write(line.encode("utf-8", "replace"))
    file.seek(0)
    return file


async def send_file(http: web.Request, file: IO[bytes], name: str, content_type: str) -> web.StreamResponse:
    """Sends a file as a download, and closes it."""
    headers = {
        **HEADERS,
        "Cache-Control": "no-store",
        "Content-Type": f"{content_type}; charset=utf-8",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    with file:
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(http)
        if http.method != "HEAD":
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                await answer.write(chunk)
        await answer.write_eof()
        return answer
