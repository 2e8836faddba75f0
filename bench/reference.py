"""References for the figures, each a separate process: `python -m bench.reference {handler,one_commit}`.

`handler` parses a form and checks its signature, and stores nothing. `one_commit` is the product with
one commit for every operation.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import sqlite3
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl

from bench.twilio_form import TOKEN


def commits_per_second(folder: Path, seconds: float = 1.0) -> float:
    """SQLite on this machine: transactions of one small row each, WAL, synchronous = full."""
    path = folder / "commits.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("create table if not exists rows (id integer primary key, content text)")
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        db.execute("begin immediate")
        db.execute("insert into rows (content) values (?)", ("x" * 200,))
        db.execute("commit")
        count += 1
    rate = count / (time.perf_counter() - began)
    db.close()
    path.unlink()
    return rate


async def _handler(public_url: str) -> None:
    from aiohttp import web

    key, twiml = TOKEN.encode(), b'<?xml version="1.0" encoding="UTF-8"?><Response/>'

    async def handle(request: web.BaseRequest) -> web.Response:
        fields = parse_qsl((await request.read()).decode(), keep_blank_values=True)
        signed = public_url + request.raw_path + "".join(name + value for name, value in sorted(fields))
        digest = base64.b64encode(hmac.digest(key, signed.encode(), "sha1"))
        if not hmac.compare_digest(digest, request.headers.get("X-Twilio-Signature", "").encode()):
            return web.Response(status=403)
        return web.Response(body=twiml, content_type="text/xml")

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def _one_commit() -> None:
    from wa_relay.cli import main
    from wa_relay.ledger import writer_thread

    writer_thread.GROUP = 1
    sys.argv = ["wa-relay", *sys.argv[2:]]
    main()


def main() -> None:
    match sys.argv[1]:
        case "handler":
            import uvloop

            uvloop.run(_handler(sys.argv[2]))
        case "one_commit":
            _one_commit()


if __name__ == "__main__":
    main()
