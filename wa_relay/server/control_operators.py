"""The operators' commands on the control socket: takeover, release and say."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from wa_relay import phone
from wa_relay.ledger.human_messages import Stored
from wa_relay.model import PayloadError
from wa_relay.policy import Operator
from wa_relay.server.answers import JSON, json_answer
from wa_relay.server.body import body_key
from wa_relay.server.conversation_routes import hours_of, message_of, refusal
from wa_relay.server.listener import Route
from wa_relay.server.operator_actions import OperatorActions
from wa_relay.server.parameters import unknown_customer
from wa_relay.sources import jsonbody
from wa_relay.sources.jsonbody import Json

COMMAND_LINE = Operator("cli", "cli")


class OperatorControl:
    """`POST /takeover`, `/release` and `/say`, for the commands of the same names."""

    def __init__(self, actions: OperatorActions) -> None:
        self._actions = actions

    def routes(self) -> tuple[Route, ...]:
        """The routes for the control socket."""
        return (
            Route("POST", "/takeover", self.take_over, media_types=(JSON,)),
            Route("POST", "/release", self.release, media_types=(JSON,)),
            Route("POST", "/say", self.write, media_types=(JSON,)),
        )

    async def take_over(self, http: web.Request) -> web.StreamResponse:
        """Takes a conversation over."""
        body = jsonbody.parse_object(http[body_key])
        if await self._actions.take_over(_address(body), COMMAND_LINE, hours_of(body)) is None:
            raise unknown_customer()
        return json_answer({"success": True})

    async def release(self, http: web.Request) -> web.StreamResponse:
        """Gives a conversation back to the agent."""
        if await self._actions.release(_address(jsonbody.parse_object(http[body_key])), COMMAND_LINE) is None:
            raise unknown_customer()
        return json_answer({"success": True})

    async def write(self, http: web.Request) -> web.StreamResponse:
        """Stores a message of the command line's user."""
        body = jsonbody.parse_object(http[body_key])
        stored = await self._actions.write(_address(body), message_of(body), COMMAND_LINE, None)
        if not isinstance(stored, Stored):
            raise refusal(stored)
        return json_answer({"success": True, "id": stored.message_id})


def _address(body: Mapping[str, Json]) -> str:
    given = body.get("phone")
    try:
        return phone.parse(given if isinstance(given, str) else "")
    except ValueError as error:
        raise PayloadError(str(error), code="invalid_payload", fields=[("phone", str(error))]) from None
