"""Files to download: written to disk by the reader, then sent, so that no length of a list fills the memory."""

from __future__ import annotations

import asyncio
import json
import tempfile
from typing import IO

from aiohttp import web

from wa_relay.console.render import HEADERS
from wa_relay.ledger.engine import Queries
from wa_relay.model import Moment
from wa_relay.reports import call_list, spans
from wa_relay.reports.export import export

CHUNK = 64 * 1024


def write_calls(db: Queries, span: spans.Span) -> IO[bytes]:
    """Writes the calls of a span as CSV into a temporary file, and returns it at its beginning; reads only."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it is sent
    for line in call_list.calls_csv(call_list.list_calls(db, span=span)):
        file.write(line.encode("utf-8", "replace"))
    file.seek(0)
    return file


def write_customer(db: Queries, phone: str, now: Moment) -> bytes | None:
    """Writes what `wa-relay export` prints of a customer; None for an unknown one. Reads only."""
    found = export(db, phone, now)
    if found is None:
        return None
    return json.dumps(found.to_json(), ensure_ascii=False, indent=2).encode("utf-8", "replace")


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
