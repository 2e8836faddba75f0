"""Tools that the tests of the Twilio stand-in share: the official client, a listener, the official description."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import jsonschema  # type: ignore[import-untyped, unused-ignore]
from aiohttp import web
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from wa_relay.standins.twilio import SANDBOX, Delays, TwilioStandin

ANA, LUIS = "+573001112233", "+573004445566"
FAST = Delays(0.01, 0.01, 0.01)
SPEC = Path(__file__).parent.parent / "data" / "twilio_messages_strict.json"
T = TypeVar("T")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Plays a scenario, for at most 60 seconds."""
    asyncio.run(asyncio.wait_for(scenario, 60))


@asynccontextmanager
async def playing(**options: Any) -> AsyncIterator[TwilioStandin]:
    """A running stand-in; fast, and without a window by default."""
    standin = TwilioStandin(**{"delays": FAST, "enforce_window": False, **options})
    await standin.start()
    try:
        yield standin
    finally:
        await standin.stop()


def password(account_sid: str, token: str) -> str:
    """The value of `Authorization`."""
    return "Basic " + base64.b64encode(f"{account_sid}:{token}".encode()).decode()


class Sdk:
    """The official client, in a thread of its own for each request."""

    def __init__(self, standin: TwilioStandin, *, token: str | None = None, timeout: float = 5.0) -> None:
        self.http = TwilioHttpClient(timeout=timeout)
        self.client = Client(standin.account_sid, token or standin.settings.auth_token, http_client=self.http)
        self.client.api.base_url = self.client.content.base_url = standin.url

    async def __call__(self, ask: Callable[[Any], T]) -> T:
        return await asyncio.to_thread(ask, self.client)

    async def send(self, body: str = "Hola", to: str = ANA, **fields: Any) -> Any:
        """Creates a message; `from_` is the sandbox by default."""
        options = {"to": f"whatsapp:{to}", "from_": SANDBOX, "body": body, **fields}
        return await self(
            lambda client: client.messages.create(**{key: options[key] for key in options if options[key]})
        )

    def close(self) -> None:
        """Ends its connections."""
        if self.http.session is not None:
            self.http.session.close()


@asynccontextmanager
async def official(standin: TwilioStandin, **options: Any) -> AsyncIterator[Sdk]:
    """The official client, closed at the end."""
    sdk = Sdk(standin, **options)
    try:
        yield sdk
    finally:
        sdk.close()


@dataclass(frozen=True)
class Heard:
    """A request that the listener got."""

    url: str
    form: dict[str, str]
    headers: dict[str, str]

    def signed_by(self, token: str) -> bool:
        """The messages of the official validator."""
        return bool(RequestValidator(token).validate(self.url, self.form, self.headers["X-Twilio-Signature"]))


@dataclass
class Listener:
    """A webhook that keeps its requests and answers as planned: statuses in turn, then 204."""

    heard: list[Heard] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    body: str = ""
    content_type: str = "text/xml"
    slow: float = 0.0
    url: str = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answers one request."""
        form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        url = self.url.removesuffix("/") + request.raw_path
        self.heard.append(Heard(url, form, dict(request.headers)))
        await asyncio.sleep(self.slow)
        status = self.statuses.pop(0) if self.statuses else 200 if self.body else 204
        return web.Response(status=status, text=self.body, content_type=self.content_type)

    @property
    def statuses_reported(self) -> list[str]:
        """The statuses of the receipts, in their order."""
        return [one.form["MessageStatus"] for one in self.heard]


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Listener]:
    """A running listener."""
    listener = Listener(**options)
    runner = web.ServerRunner(web.Server(listener.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield listener
    finally:
        await runner.cleanup()


def follows_description(answer: object, path: str, method: str, status: int) -> None:
    """Raises if an answer does not match the official OpenAPI description, or has fields that it does not name."""
    whole = _plain(json.loads(SPEC.read_text()))
    content = whole["paths"][path][method]["responses"][str(status)]["content"]
    schema = next(iter(content.values()))["schema"]
    jsonschema.Draft202012Validator({**schema, "components": whole["components"]}).validate(answer)


def _plain(schema: Any) -> Any:
    """OpenAPI's `nullable` as JSON Schema says it; objects closed."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    options = {key: _plain(value) for key, value in schema.items() if key not in ("example", "examples")}
    if options.get("nullable") is True and isinstance(options.get("type"), str):
        options["type"] = [options["type"], "null"]
    if isinstance(options.get("properties"), dict) and options.get("type") in ("object", ["object", "null"]):
        options.setdefault("additionalProperties", False)
        options["required"] = sorted(options["properties"])
    return options
