"""Serves the files of messages: a redirect at Twilio's own address, the bytes at another host."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from aiohttp import web

from wa_relay.standins.twilio.attachments import PLAIN, Serving
from wa_relay.standins.twilio.playing import broken, refusal
from wa_relay.standins.twilio.settings import Stage
from wa_relay.standins.twilio.state import Medium, Message

_BLOCK = bytes(64 * 1024)


class Media:
    """The two hosts of one stand-in's files."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._asked: Counter[str] = Counter()
        self._served: Counter[str] = Counter()

    def redirect(self, message: Message, file: Medium) -> web.Response | None:
        """The answer at Twilio's own address; None for 404."""
        stage, serving = self._stage, _serving(file)
        self._asked[file.sid] += 1
        number = self._asked[file.sid]
        if number <= serving.missing or stage.clock() - message.created_at < stage.settings.media_lag:
            return None
        if serving.status and number <= serving.missing + serving.times:
            return refusal(serving.status, 20500, "The file can't be served")
        place = serving.redirect_to or f"{stage.elsewhere_url}/{message.sid}/{file.sid}"
        return web.Response(status=307, headers={"Location": place})

    async def elsewhere(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer of the other host, which must not see credentials."""
        stage = self._stage
        leaked = request.headers.get("Authorization") is not None
        stage.journal.note("elsewhere", method=request.method, path=request.raw_path, authorization=leaked)
        if leaked:
            stage.journal.note("violation", what="credentials sent to another host", path=request.raw_path)
        path, _, hop = request.raw_path.strip("/").partition("?hop=")
        sid, _, number = path.partition("/")
        message = stage.world.messages.get(sid)
        file = next((one for one in message.media if one.sid == number), None) if message else None
        if file is None:
            return web.Response(status=404)
        serving, hops = _serving(file), int(hop or "1")
        if serving.loop or hops < serving.hops:
            return web.Response(status=302, headers={"Location": f"{stage.elsewhere_url}/{path}?hop={hops + 1}"})
        self._served[file.sid] += 1
        if serving.broken_times is not None and self._served[file.sid] > serving.broken_times:
            serving = replace(serving, broken=False)
        await asyncio.sleep(serving.slow)
        return await _serve(request, file, serving)


def _serving(file: Medium) -> Serving:
    return file.serving or PLAIN


async def _serve(request: web.BaseRequest, file: Medium, serving: Serving) -> web.StreamResponse:
    headers = {"Content-Type": serving.content_type or file.content_type}
    if not (serving.endless or serving.drip or serving.broken or serving.size is not None):
        return web.Response(body=file.data, headers=headers)
    data = file.data if serving.size is None else bytes(serving.size)
    length = {} if serving.endless else {"Content-Length": str(len(data))}
    stream = web.StreamResponse(headers=headers | length)
    await stream.prepare(request)
    step, end = (1 if serving.drip else len(_BLOCK)), (len(data) // 2 if serving.broken else len(data))
    try:
        while serving.endless:
            await stream.write(_BLOCK)
            await asyncio.sleep(serving.drip)
        for place in range(0, end, step):
            await stream.write(data[place : min(end, place + step)])
            await asyncio.sleep(serving.drip)
    except ConnectionError:
        return stream
    if serving.broken:
        return broken(request)
    await stream.write_eof()
    return stream
