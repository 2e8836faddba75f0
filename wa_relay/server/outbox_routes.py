"""The routes that decide about the outbox: uncertain sends, pause and resume."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from wa_relay.ledger import operator_decisions
from wa_relay.ledger.audit import Deed, run_audited
from wa_relay.ledger.operator_decisions import Decision
from wa_relay.ledger.restoring import ListIncomplete
from wa_relay.logs import say
from wa_relay.loops.bell import Bell
from wa_relay.loops.send_barrier import until_begun
from wa_relay.model import Moment, PayloadError
from wa_relay.server.access import actor_key
from wa_relay.server.answers import JSON, HttpError, json_answer
from wa_relay.server.body import body_key
from wa_relay.server.listener import RequestLedger, Route
from wa_relay.sources import jsonbody

DECISIONS: dict[str, Decision] = {"sent": "sent", "resend": "resend", "cancel": "cancel"}
HIGHEST_ID = 2**63 - 1


class OutboxRoutes:
    """`POST /api/messages/{id}/resolve`, `/api/pause` and `/api/resume`."""

    def __init__(self, ledger: RequestLedger, clock: Callable[[], Moment], send: Bell) -> None:
        self._ledger = ledger
        self._clock = clock
        self._send = send

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        return (
            Route(
                "POST", "/api/messages/{id:[0-9]{1,19}}/resolve", self.resolve, access="administer", media_types=(JSON,)
            ),
            Route("POST", "/api/pause", self.pause, access="operate"),
            Route("POST", "/api/resume", self.resume, access="administer"),
        )

    async def resolve(self, http: web.Request) -> web.StreamResponse:
        """Applies a decision about an uncertain send."""
        body = jsonbody.parse_object(http[body_key])
        decision, sid = body.get("decision"), body.get("sid")
        if not isinstance(decision, str) or decision not in DECISIONS:
            raise _invalid("decision", "sent, resend or cancel")
        if decision == "sent" and not (isinstance(sid, str) and operator_decisions.is_sid(sid)):
            raise _invalid("sid", "Twilio's SID of the message: SM or MM and 32 hexadecimal digits")
        message_id = min(int(http.match_info["id"]), HIGHEST_ID)
        who, chosen = http[actor_key].name, str(sid) if decision == "sent" else None
        try:
            deed, now = _deed(http, f"resolve-{decision}", message_id), self._clock()
            status = await self._ledger.run(
                run_audited, deed, now, operator_decisions.resolve, message_id, DECISIONS[decision], chosen, who, now
            )
        except operator_decisions.NotUncertain as error:
            code, status_code = ("unknown_message", 404) if error.unknown else ("not_uncertain", 409)
            raise HttpError(status_code, code, error.message) from None
        say("resolved", message=message_id, decision=decision, status=status)
        self._send.ring()
        return json_answer({"success": True, "status": status})

    async def pause(self, http: web.Request) -> web.StreamResponse:
        """Holds openings."""
        now = self._clock()
        await self._ledger.run(
            run_audited, _deed(http, "pause"), now, operator_decisions.pause, http[actor_key].name, now
        )
        await until_begun(self._ledger)
        say("paused", by="operator")
        return json_answer({"success": True})

    async def resume(self, http: web.Request) -> web.StreamResponse:
        """Releases the held openings."""
        now = self._clock()
        try:
            waiting = await self._ledger.run(
                run_audited, _deed(http, "resume"), now, operator_decisions.resume, http[actor_key].name, now
            )
        except ListIncomplete as error:
            raise HttpError(409, "list_incomplete", error.message) from error
        say("resumed", waiting=waiting)
        self._send.ring()
        return json_answer({"success": True, "waiting": waiting})


def _deed(http: web.Request, action: str, message_id: int | None = None) -> Deed | None:
    actor = http[actor_key]
    return Deed(actor.name, action, message_id=message_id) if actor.source == "console" else None


def _invalid(path: str, wanted: str) -> PayloadError:
    return PayloadError("a field is invalid.", code="invalid_payload", fields=[(path, wanted)])
