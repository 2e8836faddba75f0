"""The cost of the two services alone: the requests of one message, made by a bare client.

A separate process: a job comes on standard input, the start of each message goes to standard output, both JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any

import aiohttp
import uvloop
from yarl import URL

from bench.twilio_form import ACCOUNT, BODY, SENDER, TOKEN, phone


async def _answer_by_websocket(http: aiohttp.ClientSession, job: dict[str, Any], closing: asyncio.TaskGroup) -> str:
    """One session as ElevenLabs documents it, as short as it can be."""
    where = f"{job['elevenlabs']}/v1/convai/conversation/get-signed-url"
    async with http.get(where, params={"agent_id": job["agent"]}, headers={"xi-api-key": "sk_standin"}) as answer:
        signed = (await answer.json())["signed_url"]
    socket = await http.ws_connect(URL(signed, encoded=True))
    variables = {"client_name": "Ana García"}
    await socket.send_json({"type": "conversation_initiation_client_data", "dynamic_variables": variables})
    text = ""
    while True:
        message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, f"closed: {message.data} {message.extra}"
        event = json.loads(message.data)
        match event["type"]:
            case "conversation_initiation_metadata":
                await socket.send_json({"type": "user_message", "text": BODY})
            case "agent_response":
                text = event["agent_response_event"]["agent_response"]
            case "agent_response_complete" if text:
                # The customer does not wait for the goodbyes.
                closing.create_task(socket.close())
                return text


async def _answer_by_http(http: aiohttp.ClientSession, job: dict[str, Any], _closing: asyncio.TaskGroup) -> str:
    where = f"{job['elevenlabs']}/v1/convai/conversations/conv_1/message"
    question = {"message": BODY, "mode": "text"}
    async with http.post(where, json=question, headers={"xi-api-key": "sk_standin"}) as answer:
        return str((await answer.json())["response"])


async def _message(http: aiohttp.ClientSession, job: dict[str, Any], customer: int, running: asyncio.TaskGroup) -> None:
    ask = _answer_by_websocket if job["transport"] == "websocket" else _answer_by_http
    form = {"To": f"whatsapp:{phone(customer)}", "From": f"whatsapp:{SENDER}", "Body": await ask(http, job, running)}
    key = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    where = f"{job['twilio']}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    async with http.post(where, data=form, headers={"Authorization": f"Basic {key}"}) as answer:
        assert answer.status == 201, await answer.text()


async def main() -> None:
    job = json.load(sys.stdin)
    sent_at: dict[int, float] = {}
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as running:
        began = time.perf_counter()
        for customer in range(1, job["count"] + 1):
            await asyncio.sleep(max(0.0, began + customer / job["rate"] - time.perf_counter()))
            sent_at[customer] = time.time()
            running.create_task(_message(http, job, customer, running))
    json.dump(sent_at, sys.stdout)


if __name__ == "__main__":
    uvloop.run(main())
