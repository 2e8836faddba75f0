"""The stand-in's routes, request by request. Lean on purpose: benchmarks send through it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from urllib.parse import parse_qsl
from uuid import uuid4

from aiohttp import web

from wa_relay.standins.twilio import listing, shapes
from wa_relay.standins.twilio.checks import Rate, Refusal, fields_of, order_of
from wa_relay.standins.twilio.customers import note_accepted
from wa_relay.standins.twilio.delivery import deliver, deliver_early, steps_of
from wa_relay.standins.twilio.faults import PLAYABLE, Fault
from wa_relay.standins.twilio.media import Media
from wa_relay.standins.twilio.playing import JSON, play, refusal
from wa_relay.standins.twilio.settings import Stage
from wa_relay.standins.twilio.setup import Setup
from wa_relay.standins.twilio.state import CANCELABLE, SANDBOX, Medium, Message

_SID = r"(?:SM|MM)[0-9a-fA-F]{32}"
_ACCOUNT = r"/2010-04-01/Accounts/(?P<account>[^/]+)"
_PATHS = {
    "messages": re.compile(_ACCOUNT + r"/Messages\.json"),
    "message": re.compile(_ACCOUNT + rf"/Messages/(?P<sid>{_SID})\.json"),
    "media_list": re.compile(_ACCOUNT + rf"/Messages/(?P<sid>{_SID})/Media\.json"),
    "media": re.compile(_ACCOUNT + rf"/Messages/(?P<sid>{_SID})/Media/(?P<medium>ME[0-9a-fA-F]{{32}})\.json"),
    "file": re.compile(_ACCOUNT + rf"/Messages/(?P<sid>{_SID})/Media/(?P<medium>ME[0-9a-fA-F]{{32}})"),
    "account": re.compile(_ACCOUNT + r"\.json"),
    "contents": re.compile(r"/v1/(?P<which>Content|ContentAndApprovals)"),
    "content": re.compile(r"/v1/Content/(?P<sid>HX[0-9a-fA-F]{32})"),
    "approval": re.compile(r"/v1/Content/(?P<sid>HX[0-9a-fA-F]{32})/ApprovalRequests"),
    "senders": re.compile(r"/v2/Channels/Senders"),
    "sender": re.compile(r"/v2/Channels/Senders/(?P<sid>XE[0-9a-fA-F]{32})"),
    "service": re.compile(r"/v1/Services/(?P<sid>MG[0-9a-fA-F]{32})"),
    "service_senders": re.compile(r"/v1/Services/(?P<sid>MG[0-9a-fA-F]{32})/ChannelSenders"),
    "typing": re.compile(r"/v[23]/Indicators/Typing(?:\.json)?"),
}
_OPERATIONS = {
    ("messages", "POST"): "create",
    ("messages", "GET"): "list",
    ("message", "GET"): "fetch",
    ("message", "POST"): "update",
    ("message", "DELETE"): "delete",
    ("media_list", "GET"): "media_list",
    ("media", "GET"): "media",
    ("media", "DELETE"): "media_delete",
    ("file", "GET"): "file",
    ("account", "GET"): "account",
    ("contents", "GET"): "contents",
    ("content", "GET"): "content",
    ("approval", "GET"): "approval",
    ("senders", "GET"): "senders",
    ("sender", "GET"): "sender",
    ("service", "GET"): "service",
    ("service_senders", "GET"): "service_senders",
    ("typing", "POST"): "typing",
}
_SETUP = (
    *("account", "senders", "sender", "service", "service_senders"),
    *("contents", "content", "approval"),
)
_FORM = "application/x-www-form-urlencoded"
_UPDATES = frozenset({"Body", "Status"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has found its operation; `parts` are what its path names, `fault` what spoils it.

    `noted` is True once it stands in the journal.
    """

    operation: str
    parts: dict[str, str]
    query: str
    request: web.BaseRequest
    fault: Fault | None = None
    noted: bool = False


class Service:
    """Answers as api.twilio.com, content.twilio.com and messaging.twilio.com do."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rate = Rate()
        self._handlers: dict[str, Callable[[Asked], Awaitable[web.Response]]] = {
            "create": self._create,
            "list": self._list,
            "fetch": self._fetch,
            "update": self._update,
            "delete": self._delete,
            "media_list": self._media_list,
            "media": self._media,
            "media_delete": self._media_delete,
            "file": self._file,
            "typing": self._typing,
            **dict.fromkeys(_SETUP, self._setup),
        }
        self._registry = Setup(stage)
        self.media = Media(stage)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request, or plays the fault that is due."""
        path, _, query = request.raw_path.partition("?")
        asked = _asked(request, path, query)
        if isinstance(asked, web.Response):
            nowhere = Asked("", {}, query, request)
            self._note(nowhere, await request.read(), asked.status, authorized=False)
            return asked
        fault = self._stage.faults.take(asked.operation) if asked.operation in PLAYABLE else None
        if fault is None:
            return await self._answer(asked)
        self._stage.journal.note(
            "fault", operation=asked.operation, fault=fault.kind, how=fault.way, made=fault.makes, query=query
        )
        if fault.kind in ("F22", "F24"):
            return await self._answer(replace(asked, fault=fault))
        return await self._spoil(asked, fault)

    async def _spoil(self, asked: Asked, fault: Fault) -> web.StreamResponse:
        """Notes the request before the fault is played, so that every send is seen, whatever its result."""
        body = b"" if fault.kind == "F4" else await asked.request.read()
        if asked.operation == "create" and body:
            self._remember(fields_of(body, strict=False))
        self._note(asked, body, None, authorized=self._authorized(asked.request.headers.get("Authorization", "")))
        noted = replace(asked, noted=True)
        return await play(self._stage, fault, asked.request, lambda: self._answer(noted))

    async def _answer(self, asked: Asked) -> web.Response:
        """Checks the credentials and does what is asked; keeps both in the journal."""
        request, stage = asked.request, self._stage
        body = await request.read()
        authorized = self._authorized(request.headers.get("Authorization", ""))
        if not authorized and not self._by_key(asked):
            answer = refusal(401, 20003, "Authenticate")
        elif asked.operation in stage.settings.forbidden:
            answer = refusal(403, 20403, "Forbidden")
        elif asked.parts.get("account", stage.account_sid) != stage.account_sid:
            answer = _missing(asked)
        else:
            try:
                answer = await self._handlers[asked.operation](asked)
            except Refusal as refused:
                answer = refusal(refused.status, refused.code, refused.text)
        if not asked.noted:
            self._note(asked, body, answer.status, authorized=authorized)
        answer.headers["Twilio-Request-Id"] = "RQ" + uuid4().hex
        answer.headers["Twilio-Concurrent-Requests"] = "1"
        if stage.settings.clock_skew:
            answer.headers["Date"] = formatdate(stage.clock() + stage.settings.clock_skew, usegmt=True)
        return answer

    def _by_key(self, asked: Asked) -> bool:
        """True for an API key, which may do everything but read the account."""
        keys = self._stage.settings.api_keys
        if not keys or asked.operation == "account":
            return False
        kind, _, packed = asked.request.headers.get("Authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(packed, validate=True).decode().partition(":")
        except ValueError:
            return False
        return kind.lower() == "basic" and bool(secret) and keys.get(name) == secret

    def _note(self, asked: Asked, body: bytes, answer: int | None, *, authorized: bool) -> None:
        """`answer` None: a fault's, which stands beside."""
        self._stage.journal.note(
            "request",
            operation=asked.operation,
            method=asked.request.method,
            path=asked.request.raw_path.partition("?")[0],
            query=asked.query,
            form=body.decode("utf-8", "replace"),
            authorized=authorized,
            answer=answer,
        )

    def _authorized(self, header: str) -> bool:
        kind, _, packed = header.partition(" ")
        try:
            given = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError):
            return False
        wanted = f"{self._stage.account_sid}:{self._stage.settings.auth_token}".encode()
        return kind.lower() == "basic" and hmac.compare_digest(given, wanted)

    async def _create(self, asked: Asked) -> web.Response:
        stage, body = self._stage, await asked.request.read()
        if asked.request.content_type != _FORM:
            return refusal(415, 20415, f"Unsupported media type: {_FORM} is wanted")
        fields = fields_of(body, strict=stage.settings.strict)
        self._remember(fields)
        settings = stage.settings
        order = order_of(
            fields, stage.world, stage.senders, trial=settings.trial, late_opt_out=settings.advanced_opt_out
        )
        now = stage.clock()
        if settings.sender_rates or settings.messages_per_second is not None:
            sender = order.sender or stage.world.service_sender(order.to)
            limit = settings.sender_rates.get(sender, settings.messages_per_second)
            self._rate.check(sender, limit, now, sandbox=sender == SANDBOX)
        template = stage.world.templates.get(order.content_sid)
        made = stage.world.add(
            "outbound-api",
            order.to,
            order.sender,
            order.body,
            "scheduled" if order.scheduled else "accepted" if order.service else "queued",
            now,
            media=_files(order.media_urls),
            callback=order.callback,
            service=order.service,
            template=(order.content_sid, order.variables, template.shown(order.variables) if template else ""),
            validity=order.validity,
        )
        note_accepted(stage, made)
        answer = _json(shapes.message(stage.account_sid, made), 201)
        await self._send(made)
        return answer

    async def _send(self, made: Message) -> None:
        stage = self._stage
        steps = steps_of(stage, made)
        fault = stage.faults.take("callback") if made.callback and steps else None
        way = fault.way if fault else ""
        if fault:
            stage.journal.note("fault", operation="callback", fault=fault.kind, how=way, sid=made.sid)
        if way == "early":
            # A task of its own for all steps: whatever ends this request, the message goes the rest of its way.
            reported = asyncio.Event()
            stage.go(deliver_early(stage, made, steps, reported))
            await reported.wait()
        elif steps:
            stage.go(deliver(stage, made, steps, way))

    async def _list(self, asked: Asked) -> web.Response:
        stage = self._stage
        query = dict(parse_qsl(asked.query, keep_blank_values=True))
        if stage.settings.strict and (unknown := set(query) - listing.KNOWN):
            raise Refusal(400, 20001, f"strict stand-in: the list has no parameter {', '.join(sorted(unknown))}")
        text = stage.last_tried(query.get("To", ""))
        wrong = _distortion(asked.fault, stage.settings.list_lag, text)
        return _json(listing.page(stage.account_sid, stage.world, query, wrong, stage.clock()))

    async def _fetch(self, asked: Asked) -> web.Response:
        return _json(shapes.message(self._stage.account_sid, self._message(asked)))

    async def _update(self, asked: Asked) -> web.Response:
        message = self._message(asked)
        fields = fields_of(await asked.request.read(), strict=self._stage.settings.strict, known=_UPDATES)
        if "Status" in fields:
            if fields["Status"] != ["canceled"] or message.status not in CANCELABLE:
                raise Refusal(400, 30409, "The message can't be canceled any more")
            message = replace(message, status="canceled", updated_at=self._stage.clock())
        if "Body" in fields:
            if fields["Body"] != [""]:
                raise Refusal(400, 20001, "Body can only be redacted, by an empty one")
            message = replace(message, body="", updated_at=self._stage.clock())
        self._stage.world.change(message)
        return _json(shapes.message(self._stage.account_sid, message))

    async def _delete(self, asked: Asked) -> web.Response:
        self._stage.world.delete(self._message(asked).sid)
        self._stage.journal.note("deleted", sid=asked.parts["sid"], medium=None)
        return web.Response(status=204)

    async def _media_list(self, asked: Asked) -> web.Response:
        return _json(shapes.media_page(self._stage.account_sid, self._message(asked)))

    async def _media(self, asked: Asked) -> web.Response:
        message = self._message(asked)
        for file in message.media:
            if file.sid == asked.parts["medium"]:
                return _json(shapes.medium(self._stage.account_sid, message, file))
        return _missing(asked)

    async def _media_delete(self, asked: Asked) -> web.Response:
        message = self._message(asked)
        left = tuple(file for file in message.media if file.sid != asked.parts["medium"])
        if len(left) == len(message.media):
            return _missing(asked)
        self._stage.world.change(replace(message, media=left))
        self._stage.journal.note("deleted", sid=message.sid, medium=asked.parts["medium"])
        return web.Response(status=204)

    async def _file(self, asked: Asked) -> web.Response:
        message = self._message(asked)
        file = next((one for one in message.media if one.sid == asked.parts["medium"]), None)
        answer = self.media.redirect(message, file) if file else None
        return answer or _missing(asked)

    async def _setup(self, asked: Asked) -> web.Response:
        """Answers the questions of `doctor`."""
        ask, sid = self._registry, asked.parts.get("sid", "")
        path, query = asked.request.raw_path.partition("?")[0], dict(parse_qsl(asked.query))
        match asked.operation:
            case "account":
                found = ask.account()
            case "senders":
                if query.get("Channel") != "whatsapp":
                    raise Refusal(400, 20001, "Channel is required: whatsapp")
                found = ask.senders(path, query)
            case "sender":
                found = ask.sender(sid)
            case "service":
                found = ask.service(sid)
            case "service_senders":
                found = ask.service_senders(sid, path, query)
            case "contents":
                found = ask.contents(approvals=asked.parts["which"] == "ContentAndApprovals")
            case "content":
                found = ask.content(sid)
            case _:
                found = ask.approval(sid)
        return _missing(asked) if found is None else _json(found)

    async def _typing(self, asked: Asked) -> web.Response:
        body = (await asked.request.read()).decode("utf-8", "replace")
        try:
            given = json.loads(body) if asked.request.content_type == "application/json" else dict(parse_qsl(body))
        except ValueError:
            given = {}
        channel = "WHATSAPP" if asked.request.raw_path.startswith("/v3") else "whatsapp"
        message = self._stage.world.messages.get(str(given.get("messageId"))) if isinstance(given, dict) else None
        if message is None or message.direction != "inbound" or given.get("channel") != channel:
            raise Refusal(400, 20001, "messageId of an inbound message and the channel are wanted")
        self._stage.journal.note("typing", sid=message.sid)
        if self._stage.settings.typing_status != 200:
            raise Refusal(self._stage.settings.typing_status, 20500, "The typing indicator failed")
        return _json({"success": True})

    def _remember(self, fields: dict[str, list[str]]) -> None:
        self._stage.remember_send(fields.get("To", [""])[-1], fields.get("Body", [""])[-1])

    def _message(self, asked: Asked) -> Message:
        message = self._stage.world.messages.get(asked.parts["sid"])
        if message is None:
            raise Refusal(404, 20404, _not_found(asked))
        return message


def _asked(request: web.BaseRequest, path: str, query: str) -> Asked | web.Response:
    for name, pattern in _PATHS.items():
        match = pattern.fullmatch(path)
        if match:
            operation = _OPERATIONS.get((name, request.method))
            if operation is None:
                return refusal(405, 20004, "Method not allowed")
            return Asked(operation, match.groupdict(), query, request)
    return refusal(404, 20404, f"The requested resource {path} was not found")


def _files(urls: tuple[str, ...]) -> tuple[Medium, ...]:
    return tuple(Medium("ME" + uuid4().hex, "image/jpeg") for _ in urls)


def _distortion(fault: Fault | None, lag: float, text: str) -> listing.Distortion:
    if fault is None:
        return listing.Distortion(lag=lag)
    if fault.kind == "F24":
        return listing.Distortion(lag=lag, stranger=True, text=text)
    way = fault.way
    return listing.Distortion(
        lag=fault.seconds if way == "lag" else lag,
        misses_queued=way == "misses_queued",
        repeats=way == "repeat",
        loops=way == "loop",
    )


def _not_found(asked: Asked) -> str:
    return f"The requested resource {asked.request.raw_path.partition('?')[0]} was not found"


def _missing(asked: Asked) -> web.Response:
    return refusal(404, 20404, _not_found(asked))


def _json(body: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=shapes.encoded(body), headers=JSON)
