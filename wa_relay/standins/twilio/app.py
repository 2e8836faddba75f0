"""The Twilio stand-in as a server: starts, stops, goes down and comes back on the same port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from wa_relay.model import Moment
from wa_relay.standins.port import GRACE, HOST, Port
from wa_relay.standins.twilio.control import PREFIX, Control
from wa_relay.standins.twilio.director import Director
from wa_relay.standins.twilio.routes import Service
from wa_relay.standins.twilio.settings import Delays, Settings, Stage
from wa_relay.standins.twilio.state import SANDBOX, SANDBOX_TEMPLATE, Template, World

_DELAYS = Delays()


class TwilioStandin(Director):
    """Twilio's WhatsApp on a local port: REST API, signed webhooks and receipts, faults on demand.

    `auth_token` authorises clients and signs, `delays` None delivers nothing automatically, `strict` refuses
    parameters that Twilio does not know, `clock` gives Unix seconds. Everything that happens is in `journal`.
    """

    def __init__(
        self,
        account_sid: str = "AC" + "0" * 31 + "1",
        auth_token: str = "0123456789abcdef0123456789abcdef",  # noqa: S107 (not a real secret)
        senders: tuple[str, ...] = (SANDBOX,),
        *,
        templates: tuple[Template, ...] = (),
        delays: Delays | None = _DELAYS,
        webhook_url: str = "",
        fallback_url: str = "",
        enforce_window: bool = True,
        strict: bool = True,
        messages_per_second: float | None = None,
        clock: Callable[[], Moment] = time.time,
    ) -> None:
        settings = Settings(auth_token, webhook_url, fallback_url, delays, enforce_window, strict, messages_per_second)
        super().__init__(
            Stage(account_sid, senders, World((SANDBOX_TEMPLATE, *templates), senders[0]), settings, clock)
        )
        self._service = Service(self._stage)
        self._control = Control(self, self._outage)
        self._runners: list[web.ServerRunner] = []
        self._port, self._elsewhere_port = Port(), Port()

    @property
    def port(self) -> int:
        """The port on which it listens, also while it is down."""
        return self._port.number

    @property
    def url(self) -> str:
        """The base URL, for `twilio.base_url`."""
        return f"http://{HOST}:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listens on that port of 127.0.0.1, on a free one for 0. Raises OSError when it is taken."""
        self._runners.append(await self._port.listen(self._handle, port))
        self._runners.append(await self._elsewhere_port.listen(self._service.media.elsewhere))
        self._stage.url = self.url
        self._stage.elsewhere_url = f"http://{HOST}:{self._elsewhere_port.number}"

    async def stop(self) -> None:
        """Ends all tasks and stops listening."""
        await self._stage.quiet()
        await self.down()
        self._port.release()
        self._elsewhere_port.release()

    async def down(self) -> None:
        """Breaks all connections and refuses new ones, until `up`. Timers continue."""
        runners, self._runners = self._runners, []
        for runner in runners:
            await runner.cleanup()

    async def up(self) -> None:
        """Listens again, on the same port."""
        if not self._runners:
            await self.start()

    def _outage(self, seconds: float) -> None:
        async def pause() -> None:
            await asyncio.sleep(GRACE)  # the response to the request for it gets out
            await self.down()
            await asyncio.sleep(seconds)
            await self.up()

        self._stage.go(pause())

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.startswith(PREFIX):
            return await self._control.handle(request)
        return await self._service.handle(request)
