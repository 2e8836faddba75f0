"""The backend's routes: a finished call, and a test message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from wa_relay import phone
from wa_relay.ledger import calls
from wa_relay.ledger.calls import CallState
from wa_relay.ledger.consent import is_opted_out
from wa_relay.loops.bell import Board
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.loops.sending import Channel
from wa_relay.model import Accepted, Moment, NotSent, Outgoing, PayloadError, SendRefused, SendResult
from wa_relay.server.answers import JSON, error_answer, json_answer
from wa_relay.server.body import body_key
from wa_relay.server.listener import RequestLedger, Route
from wa_relay.sources import jsonbody, push
from wa_relay.text.cleaning import clean, visible

SENT_WITHIN = 5.0
"""Seconds for which the backend's request waits for Twilio's acceptance of the opening."""

LOOK_AGAIN = 0.5
TEST_WITHIN = 10.0
LONGEST_TEST = 1600
"""Characters of a test message: Twilio's limit (error 21617)."""


class CallRoutes:
    """`POST /api/call-completed` and `POST /api/test-whatsapp`."""

    def __init__(
        self,
        ledger: RequestLedger,
        announcements: CallAnnouncements,
        board: Board,
        channel: Channel,
        clock: Callable[[], Moment],
    ) -> None:
        self._ledger = ledger
        self._announcements = announcements
        self._board = board
        self._channel = channel
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        return (
            Route("POST", "/api/call-completed", self.call_completed, access="push", media_types=(JSON,)),
            Route("POST", "/api/test-whatsapp", self.test_whatsapp, access="token", media_types=(JSON,)),
        )

    async def call_completed(self, http: web.Request) -> web.StreamResponse:
        """Stores a call, and answers with what became of its opening if that is known within 5 s."""
        body = http[body_key]
        report = push.parse(jsonbody.parse_object(body), self._clock(), body.decode("utf-8-sig"))
        if isinstance(report, push.NotFinished):
            return json_answer(_shape("skipped", None, None, report.key) | {"reason": "not_finished"})
        state = await self._ledger.run(calls.record_call, report, self._clock())
        due = state.message_id is not None and (state.due_at or 0.0) <= self._clock()
        waits = state.created and due and not state.held
        self._announcements.announce(report, state, "push")
        if waits:
            state = await self._settled(state)
        elif not state.created:
            self._announcements.announce_repeated(state)
        return _call_answer(state)

    async def _settled(self, state: CallState) -> CallState:
        """Waits until the opening is accepted, refused or uncertain, for 5 s at most."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SENT_WITHIN
        while state.message_status in ("queued", "sending") and state.message_id is not None and not state.held:
            if (rest := end - loop.time()) <= 0.0:
                break
            # The board keeps no rings: a message that moved between two looks is found by looking without a ring.
            move = await self._board.wait(state.message_id, min(LOOK_AGAIN, rest))
            if move is not None and move.sid is not None:
                # Nothing of it is read again: that was a third of a call's operations on the ledger.
                return calls.as_accepted(state, move.sid)
            state = calls.as_created(await self._ledger.run(calls.call_state, state.key))
        return state

    async def test_whatsapp(self, http: web.Request) -> web.StreamResponse:
        """Sends one message that is part of no conversation."""
        to, message = _test_of(jsonbody.parse_object(http[body_key]))
        if await self._ledger.run(is_opted_out, to):
            raise PayloadError(
                "this customer has opted out: nothing is sent to them.",
                code="invalid_payload",
                fields=[("to", "a customer who has not opted out")],
            )
        try:
            async with asyncio.timeout(TEST_WITHIN):
                result = await self._channel.send(Outgoing(None, to, body=message))
        except TimeoutError:
            # The request may be at Twilio already: after a plain "not sent" the caller would send a second one.
            message = "Twilio has not accepted it within 10 s, and may still do so: check its log before you try again."
            return error_answer(502, "send_failed", message, error_code=None)
        return _test_answer(result)


def _test_of(body: Any) -> tuple[str, str]:
    faults, to, message = [], "", body.get("message")
    try:
        given = body.get("to")
        to = phone.e164(given) or phone.parse(given) if isinstance(given, str) else ""
    except ValueError:
        to = ""
    if not to:
        faults.append(("to", "a phone with its country code, as +573138539155"))
    if not isinstance(message, str) or not visible(message) or len(message) > LONGEST_TEST:
        faults.append(("message", f"a text of 1 to {LONGEST_TEST} characters"))
    if faults:
        raise PayloadError("the payload is not complete.", code="invalid_payload", fields=faults)
    return to, clean(str(message))


def _test_answer(result: SendResult) -> web.Response:
    if isinstance(result, Accepted):
        return json_answer({"success": True, "whatsapp_message_id": result.sid, "status": result.status})
    if isinstance(result, SendRefused):
        return error_answer(502, "send_failed", f"Twilio refused: {result.meaning}", error_code=result.code)
    if isinstance(result, NotSent):
        return error_answer(502, "send_failed", f"not sent: {result.evidence}. Try again.", error_code=None)
    return json_answer({"success": True, "whatsapp_message_id": None, "status": "uncertain"})


def _call_answer(state: CallState) -> web.Response:
    duplicate = not state.created
    sid, status = state.sid, state.message_status
    if state.skipped is not None:
        body = _shape("skipped", state.conversation_id, None, state.key) | {"reason": state.skipped}
        return json_answer(body | {"duplicate": duplicate})
    if status in ("sent", "delivered", "read"):
        body, code = _shape("message_sent", state.conversation_id, sid, state.key), 200
    elif status == "failed":
        body, code = _shape("message_failed", state.conversation_id, sid, state.key), 200
        body["error_code"] = state.error_code or state.reason
        body["error_message"] = state.error_message or _REASONS.get(state.reason or "", "the opening failed.")
    else:
        body, code = _shape("message_queued", state.conversation_id, sid, state.key), 202
    return json_answer(body | {"duplicate": duplicate}, 200 if duplicate else code)


_REASONS = {
    "undelivered": "Twilio accepted the opening and could not deliver it.",
    "conversation_started": "the customer wrote before the opening was due.",
    "expired": "the opening waited for too long.",
    "cancelled": "the opening was cancelled before it was sent.",
    "empty_variable": "a variable of the template is empty.",
}


def _shape(status: str, conversation: int | None, sid: str | None, key: str) -> dict[str, Any]:
    return {
        "success": True,
        "status": status,
        "conversation_id": None if conversation is None else f"conv_local_{conversation}",
        "whatsapp_message_id": sid,
        "elevenlabs_conversation_id": key,
        "duplicate": False,
    }
