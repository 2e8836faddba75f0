"""The routes with which operators work: the list of conversations, and what is done with one of them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping

from aiohttp import web

from wa_relay.ledger import consent, customers
from wa_relay.ledger.audit import deed_of, run_audited
from wa_relay.ledger.human_messages import Failure, HumanMessage, Stored, why_refused
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.store import Ledger
from wa_relay.loops.send_barrier import until_begun
from wa_relay.model import Moment, PayloadError
from wa_relay.policy import LONGEST_HOURS, LONGEST_HUMAN_MESSAGE, Operator
from wa_relay.reports import conversation_list
from wa_relay.reports.conversation import message as read_message
from wa_relay.server.access import actor_key
from wa_relay.server.answers import JSON, HttpError, json_answer
from wa_relay.server.body import FORM, body_key, form_fields, require_media_type
from wa_relay.server.listener import RequestLedger, Route
from wa_relay.server.operator_actions import OperatorActions
from wa_relay.server.parameters import customer, faulty, parameters, unknown_customer, whole
from wa_relay.sources import jsonbody
from wa_relay.sources.jsonbody import Json
from wa_relay.text.cleaning import visible

MOST, USUAL = 500, 100
KEY = re.compile(r"[\x21-\x7e]{1,255}")
CONTENT_SID = re.compile(r"HX[0-9A-Za-z_-]{1,64}")
ONE_CONVERSATION = "/api/conversations/{phone:[^/]+}"
REFUSED_STATUS = {"window_closed": 409, "quiet_hours": 409, "opted_out": 422, "idempotency_mismatch": 422}


class ConversationRoutes:
    """The list, and for one conversation: messages, takeover, release, read, opt-out."""

    def __init__(
        self, actions: OperatorActions, ledger: RequestLedger, reader: Reader, clock: Callable[[], Moment]
    ) -> None:
        self._actions = actions
        self._ledger = ledger
        self._reader = reader
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        one = ONE_CONVERSATION
        return (
            Route("GET", "/api/conversations", self.list, access="view"),
            Route("POST", f"{one}/messages", self.write, access="operate", media_types=(JSON,)),
            Route("POST", f"{one}/takeover", self.take_over, access="operate"),
            Route("POST", f"{one}/release", self.release, access="operate"),
            Route("POST", f"{one}/read", self.read, access="operate"),
            Route("POST", f"{one}/opt-out", self.opt_out, access="operate"),
        )

    async def list(self, http: web.Request) -> web.StreamResponse:
        """The conversations, latest activity first."""
        asked = parameters(http)
        state = next((state for state in conversation_list.STATES if state == asked.get("state")), None)
        if state is None and asked.get("state"):
            raise faulty("state", f"one of {', '.join(conversation_list.STATES)}")
        limit = whole(asked.get("limit"), "limit", USUAL, 1, MOST)
        query = functools.partial(
            conversation_list.page,
            state=state,
            limit=limit,
            before=asked.get("before") or None,
            text=asked.get("q") or None,
        )
        try:
            found = await self._reader.read(query)
        except conversation_list.WrongPlace:
            raise faulty("before", "the `next` of another page") from None
        return json_answer(found.to_json(self._clock()))

    async def write(self, http: web.Request) -> web.StreamResponse:
        """Stores an operator's message, which takes the conversation over."""
        address, message = customer(http), message_of(jsonbody.parse_object(http[body_key]))
        stored = await self._actions.write(address, message, _operator(http), _key(http))
        if not isinstance(stored, Stored):
            raise refusal(stored)
        shown = await self._reader.read(read_message, stored.message_id)
        assert shown is not None
        return json_answer({"success": True, "message": shown.to_json()})

    async def take_over(self, http: web.Request) -> web.StreamResponse:
        """Takes a conversation over."""
        hours = hours_of(_body(http))
        return await self._shown(await self._actions.take_over(customer(http), _operator(http), hours))

    async def release(self, http: web.Request) -> web.StreamResponse:
        """Gives a conversation back to the agent."""
        _body(http)
        return await self._shown(await self._actions.release(customer(http), _operator(http)))

    async def read(self, http: web.Request) -> web.StreamResponse:
        """Records that an operator has looked."""
        _body(http)
        return await self._shown(await self._actions.note_read(customer(http)))

    async def opt_out(self, http: web.Request) -> web.StreamResponse:
        """Opts a customer out."""
        _body(http)
        operator, address, now = _operator(http), customer(http), self._clock()
        deed = deed_of(operator, "opt-out", address)
        opted_out = await self._ledger.run(run_audited, deed, now, _opt_out, address, operator, now)
        if opted_out is not None:
            await until_begun(self._ledger, opted_out)
        return await self._shown(opted_out)

    async def _shown(self, conversation_id: int | None) -> web.StreamResponse:
        if conversation_id is None:
            raise unknown_customer()
        found = await self._reader.read(conversation_list.one, conversation_id)
        return json_answer(found.to_json(self._clock()))


def message_of(body: Mapping[str, Json]) -> HumanMessage:
    """Reads an operator's message: a text, or a template with its variables. Raises `PayloadError`."""
    text, sid = body.get("text"), body.get("content_sid")
    anyway = body.get("anyway", False)
    if not isinstance(anyway, bool):
        raise _invalid("anyway", "true or false")
    if (text is None) == (sid is None):
        raise _invalid("text", "either text or content_sid")
    if sid is not None:
        if not isinstance(sid, str) or not CONTENT_SID.fullmatch(sid):
            raise _invalid("content_sid", "a content SID: HX and its digits")
        return HumanMessage(None, sid, _variables(body.get("content_variables")), anyway)
    if "content_variables" in body:
        raise _invalid("content_variables", "nothing, beside a text")
    if not isinstance(text, str) or not visible(text):
        raise _invalid("text", "a text with something visible in it")
    if len(text) > LONGEST_HUMAN_MESSAGE:
        raise _invalid("text", f"at most {LONGEST_HUMAN_MESSAGE} characters; this text has {len(text)}")
    return HumanMessage(text)


def hours_of(body: Mapping[str, Json]) -> float | None:
    """Reads how long a takeover lasts; None for the usual time. Raises `PayloadError`."""
    hours = body.get("hours")
    if hours is None:
        return None
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= LONGEST_HOURS:
        raise _invalid("hours", f"a number over 0 and at most {LONGEST_HOURS:g}")
    return float(hours) if math.isfinite(hours) else None


def refusal(reason: Failure) -> HttpError:
    """The error for an operator's message that was not stored."""
    if reason == "unknown_conversation":
        return unknown_customer()
    return HttpError(REFUSED_STATUS[reason], reason, why_refused(reason))


def _variables(given: Json) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _invalid("content_variables", "an object of texts")
    for name, value in given.items():
        if not isinstance(value, str) or not visible(value):
            raise _invalid(f"content_variables.{name}", "a text with something visible in it")
    return {name: str(value) for name, value in given.items()}


def _opt_out(ledger: Ledger, address: str, operator: Operator, now: Moment) -> int | None:
    conversation_id = customers.find_conversation(ledger.db, address)
    if conversation_id is not None:
        consent.opt_out(ledger, address, operator.channel, now, actor=operator.name)
    return conversation_id


def _operator(http: web.Request) -> Operator:
    actor = http[actor_key]
    return Operator(actor.name, actor.source)


def _body(http: web.Request) -> Mapping[str, Json]:
    """Reads a body that may be missing. A page's form with nothing but its token counts as missing."""
    body = http[body_key]
    if not body.strip() or (http.content_type == FORM and form_fields(body).keys() == {"csrf_token"}):
        return {}
    require_media_type(http, (JSON,))
    return jsonbody.parse_object(body)


def _key(http: web.Request) -> str | None:
    given = http.headers.getall("Idempotency-Key", [])
    if not given:
        return None
    if len(given) > 1 or not KEY.fullmatch(given[0]):
        raise _invalid("Idempotency-Key", "1 to 255 visible ASCII characters")
    return given[0]


def _invalid(path: str, wanted: str) -> PayloadError:
    return PayloadError("a field is invalid.", code="invalid_payload", fields=[(path, wanted)])
