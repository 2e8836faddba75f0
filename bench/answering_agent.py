"""An agent that answers at once, as a process: `python -m bench.answering_agent`.

One handler for the relay's `http` transport, its look-ups of calls, and the Node service: both are compared over the
same work.
"""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import web

ANSWER = b'{"response": "Claro, el plan incluye la instalaci\\u00f3n.", "reply": "Claro.", "conversation_id": "conv_1"}'
CONVERSATION = (
    b'{"conversation_id": "conv_1", "agent_id": "agent_4701k8fcsvhaes5s1h6tw894g98s", "status": "done",'
    b' "transcript": [],'
    b' "metadata": {"start_time_unix_secs": 1700000000, "call_duration_secs": 60},'
    b' "analysis": {"transcript_summary": "Asked about the plan."}}'
)


async def _handle(request: web.BaseRequest) -> web.Response:
    await request.read()
    body = ANSWER if request.method == "POST" else CONVERSATION
    return web.Response(body=body, content_type="application/json")


async def _serve() -> None:
    runner = web.ServerRunner(web.Server(_handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
