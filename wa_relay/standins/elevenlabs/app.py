"""The ElevenLabs stand-in as a server: starts, stops, goes down and comes back on the same port."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from aiohttp import web

from wa_relay.model import Moment
from wa_relay.standins.elevenlabs.director import Director
from wa_relay.standins.elevenlabs.routes import Service
from wa_relay.standins.elevenlabs.signing import UrlSigner
from wa_relay.standins.port import HOST, Port


class ElevenLabsStandin(Director):
    """ElevenLabs' agents on a local port: REST API, WebSocket sessions, webhooks; faults on demand.

    `api_key` is what clients have to show, `webhook_secret` signs the webhooks. `clock` gives Unix seconds. Everything
    that happens is in `journal`.
    """

    def __init__(
        self,
        api_key: str = "sk_standin",
        webhook_secret: str = "wsec_standin",  # noqa: S107 (not a real secret)
        clock: Callable[[], Moment] = time.time,
    ) -> None:
        super().__init__(api_key, webhook_secret, clock)
        self._service = Service(self._stage, UrlSigner(secrets.token_bytes(16)), self)
        self._runner: web.ServerRunner | None = None
        self._port = Port()

    @property
    def port(self) -> int:
        """The port on which it listens, also while it is down."""
        return self._port.number

    @property
    def url(self) -> str:
        """The base URL, for `elevenlabs.base_url`."""
        return f"http://{HOST}:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listens on that port of 127.0.0.1, on a free one for 0. Raises OSError when it is taken."""
        self._runner = await self._port.listen(self._service.handle, port)

    async def stop(self) -> None:
        """Breaks what is open and stops."""
        await self._quiet()
        await self.down()
        self._port.release()

    async def down(self) -> None:
        """Breaks all connections and refuses new ones, until `up`. Knows afterwards what it knew before."""
        for session in tuple(self._stage.sessions):
            session.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def up(self) -> None:
        """Listens again, on the same port."""
        if self._runner is None:
            await self.start()
