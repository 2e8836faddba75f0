"""The webhooks of Twilio and ElevenLabs: verified, stored and answered; the work follows later."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from wa_relay.channel import inbound
from wa_relay.config import Config
from wa_relay.ledger import batches, calls, inbox, receipts
from wa_relay.ledger.faults import CallConflict
from wa_relay.logs import say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.loops.health_signs import Signs
from wa_relay.loops.send_barrier import until_begun
from wa_relay.loops.twilio_events import follow_inbound, follow_receipt
from wa_relay.model import BatchHint, Call, Moment
from wa_relay.server.access import Access
from wa_relay.server.answers import JSON, HttpError, empty_twiml, json_answer, no_content
from wa_relay.server.body import FORM, KIB, MIB, arrival, body_key, target, too_slow
from wa_relay.server.listener import RequestLedger, Route
from wa_relay.sources import jsonbody, postcall
from wa_relay.sources.batch_outcomes import Rejection

TWILIO_LIMIT = 64 * KIB
POSTCALL_LIMIT = 16 * MIB
UNTYPED = "application/octet-stream"
"""The type of a body whose headers name none (RFC 9110). The signature is proof enough."""

AUDIO = re.compile(rb'"type"\s*:\s*"post_call_audio"|"full_audio"\s*:')
"""An unescaped match can only be a key of the object itself: inside a text the quotes are escaped."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The proofs that a webhook needs. `public_url` is the address that the two services call."""

    public_url: str
    account_sid: str
    auth_token: str
    verify_signature: bool
    webhook_secret: str

    @classmethod
    def of(cls, config: Config) -> Self:
        """Takes the webhooks' requirements from the settings."""
        return cls(
            config.server.public_url,
            config.twilio.account_sid,
            config.twilio.auth_token.reveal(),
            config.twilio.verify_signature,
            config.elevenlabs.webhook_secret.reveal(),
        )


class WebhookRoutes:
    """`/webhook/twilio/incoming`, `/webhook/twilio/status` and `/webhook/elevenlabs/post-call`."""

    def __init__(
        self,
        ledger: RequestLedger,
        announcements: CallAnnouncements,
        trust: Trust,
        access: Access,
        clock: Callable[[], Moment],
        wakers: Wakers,
        signs: Signs,
    ) -> None:
        self._ledger = ledger
        self._announcements = announcements
        self._trust = trust
        self._access = access
        self._clock = clock
        self._wakers = wakers
        self._signs = signs
        self._post_call_noted = False

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        return (
            Route("POST", "/webhook/twilio/incoming", self.incoming, media_types=(FORM,), limit=TWILIO_LIMIT),
            Route("POST", "/webhook/twilio/status", self.status, media_types=(FORM,), limit=TWILIO_LIMIT),
            Route(
                "POST",
                "/webhook/elevenlabs/post-call",
                self.post_call,
                media_types=(JSON, UNTYPED),
                limit=POSTCALL_LIMIT,
                streams=True,
            ),
        )

    async def incoming(self, http: web.Request) -> web.StreamResponse:
        """Stores a customer's message."""
        message = inbound.parse_inbound(self._verified(http))
        received = await self._ledger.run(inbox.record_inbound, message, self._clock())
        follow_inbound(self._wakers, self._signs, message, received, self._clock())
        if received.effect == "opted_out":
            # No send that was claimed before the opt-out begins after this answer.
            await until_begun(self._ledger, received.conversation_id)
        return empty_twiml(http)

    async def status(self, http: web.Request) -> web.StreamResponse:
        """Moves a message up by its receipt."""
        receipt = inbound.parse_receipt(self._verified(http), http.query_string)
        if receipt is None:
            return no_content()
        noted = await self._ledger.run(receipts.record_receipt, receipt, self._clock())
        follow_receipt(self._wakers, receipt, noted)
        return no_content()

    def _verified(self, http: web.Request) -> inbound.Fields:
        """Returns the form's fields; raises `HttpError` unless Twilio signed them for our account."""
        given = http.headers.getall("X-Twilio-Signature", [])
        if self._trust.verify_signature and len(given) != 1:
            raise self._unsigned(http, "send exactly one header X-Twilio-Signature.")
        try:
            fields = inbound.form(http[body_key])
        except inbound.RepeatedParameter as error:
            # A repeated parameter is signed once and read twice differently: nothing Twilio sends has one.
            raise self._unsigned(http, error.message) from None
        url = inbound.public_url_of(self._trust.public_url, target(http))
        if self._trust.verify_signature and not inbound.signature_ok(self._trust.auth_token, url, fields, given[0]):
            raise self._unsigned(http, "the signature does not match: check the auth token and server.public_url.")
        inbound.require_readable(fields)
        account = inbound.account_of(fields)
        if account is not None and account != self._trust.account_sid:
            # The signature is right: a configuration mixes up two accounts, and it is not an attack.
            warn("wrong_account", account=account)
            raise HttpError(403, "wrong_account", "this relay serves another Twilio account.")
        return fields

    def _unsigned(self, http: web.Request, message: str) -> HttpError:
        # Five in ten minutes degrade /health: usually public_url is not the address that Twilio calls.
        self._signs.refused_signatures.add(self._clock())
        url = inbound.public_url_of(self._trust.public_url, target(http).partition("?")[0])
        warn("signature_refused", url=url, client=self._access.client_address(http))
        return HttpError(403, "bad_signature", message)

    async def post_call(self, http: web.Request) -> web.StreamResponse:
        """Stores what the post-call webhook reports; audio is dropped while it streams."""
        digest = postcall.Signature(_single(http, "ElevenLabs-Signature"), self._trust.webhook_secret)
        body = await self._streamed(http, digest)
        if not digest.ok(self._clock()):
            raise HttpError(
                403, "bad_signature", "the signature does not match: check elevenlabs.webhook_secret and the clock."
            )
        if not self._post_call_noted:
            await self._ledger.run(batches.note_post_call, self._clock())
            self._post_call_noted = True
        if body is not None:
            await self._store_report(postcall.parse(jsonbody.parse_object(body)))
        return json_answer({"success": True})

    async def _streamed(self, http: web.Request, digest: postcall.Signature) -> bytes | None:
        """Returns the body, or None for audio, which is dropped."""
        kept, dropping = bytearray(), False
        try:
            async with arrival(http):
                async for chunk in http.content.iter_any():
                    digest.feed(chunk)
                    if dropping:
                        continue
                    # With the last bytes of the chunk before: the mark may be split across two chunks.
                    # post_call_audio carries megabytes of base64 that nothing here needs, but its signature counts.
                    dropping = AUDIO.search(kept[-64:] + chunk) is not None
                    kept += chunk
                    if dropping:
                        kept.clear()
                    elif len(kept) > POSTCALL_LIMIT:
                        raise HttpError(413, "too_large", "a body here has at most 16 MiB.")
        except TimeoutError:
            raise too_slow(http) from None
        except web.RequestPayloadError:
            raise HttpError(400, "bad_request", "the body does not match its headers.") from None
        return None if dropping else bytes(kept)

    async def _store_report(self, report: Call | BatchHint | Rejection | postcall.Ignored) -> None:
        if isinstance(report, BatchHint):
            await self._ledger.run(batches.record_hint, report, self._clock())
            self._wakers.follow_up.ring()
        elif isinstance(report, Call):
            try:
                state = await self._ledger.run(calls.record_call, report, self._clock())
            except CallConflict as error:
                # Answered with 200: a repetition would conflict again, and ElevenLabs switches failing webhooks off.
                warn("call_conflict", call=report.key, what=error.message)
                return
            self._announcements.announce(report, state, "webhook")
        elif isinstance(report, Rejection):
            self._announcements.reject(report, "webhook")
        else:
            say("webhook_ignored", call=report.key, why=report.reason)


def _single(http: web.BaseRequest, name: str) -> str | None:
    """Returns a header that is given exactly once: of two, it is unknown which one was meant."""
    given = http.headers.getall(name, [])
    return given[0] if len(given) == 1 else None
