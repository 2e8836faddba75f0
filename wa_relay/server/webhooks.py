"""What Twilio and ElevenLabs post: verified, stored, answered, and worked on after."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from wa_relay.channel import inbound
from wa_relay.ledger import batches, calls, inbox, receipts
from wa_relay.ledger.faults import CallConflict
from wa_relay.logs import say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.loops.events import follow_inbound, follow_receipt
from wa_relay.loops.intake import Intake
from wa_relay.model import BatchHint, Call, Moment
from wa_relay.server.answers import JSON, Refused, nothing, reply, twiml
from wa_relay.server.listener import FORM, KIB, MIB, Listener, Request, Route, arrival, too_slow
from wa_relay.sources import jsonbody, postcall
from wa_relay.sources.survey import Rejection

TWILIO_LIMIT = 64 * KIB
POSTCALL_LIMIT = 16 * MIB
UNSAID = "application/octet-stream"
"""What a body counts as that says nothing of its type (RFC 9110): the signature says enough."""

AUDIO = re.compile(rb'"type"\s*:\s*"post_call_audio"|"full_audio"\s*:')
"""An unescaped match can only be a key of the object itself: inside a text the quotes are escaped."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a webhook must prove. `public_url` is what the two services call."""

    public_url: str
    account_sid: str
    auth_token: str
    verify_signature: bool
    webhook_secret: str


class WebhookRoutes:
    """`/webhook/twilio/incoming`, `/webhook/twilio/status` and `/webhook/elevenlabs/post-call`."""

    def __init__(
        self,
        listener: Listener,
        intake: Intake,
        trust: Trust,
        clock: Callable[[], Moment],
        wakers: Wakers,
    ) -> None:
        self._listener = listener
        self._intake = intake
        self._trust = trust
        self._clock = clock
        self._wakers = wakers
        self.refused_signatures = 0
        listener.add(
            {
                "/webhook/twilio/incoming": Route("POST", self.incoming, media_types=(FORM,), limit=TWILIO_LIMIT),
                "/webhook/twilio/status": Route("POST", self.status, media_types=(FORM,), limit=TWILIO_LIMIT),
                "/webhook/elevenlabs/post-call": Route(
                    "POST", self.post_call, media_types=(JSON, UNSAID), limit=POSTCALL_LIMIT, streams=True
                ),
            }
        )

    async def incoming(self, request: Request) -> web.StreamResponse:
        """Stores a customer's message."""
        message = inbound.parse_inbound(self._verified(request))
        received = await self._listener.store(inbox.record_inbound, message, self._clock())
        follow_inbound(self._wakers, message, received, self._clock())
        return twiml()

    async def status(self, request: Request) -> web.StreamResponse:
        """Moves a message up by its receipt."""
        receipt = inbound.parse_receipt(self._verified(request), request.query)
        if receipt is None:
            return nothing()
        noted = await self._listener.store(receipts.record_receipt, receipt, self._clock())
        follow_receipt(self._wakers, receipt, noted)
        return nothing()

    def _verified(self, request: Request) -> tuple[tuple[str, str], ...]:
        """The form's fields, once the signature says that they are Twilio's and the account is ours."""
        given = request.http.headers.getall("X-Twilio-Signature", [])
        if self._trust.verify_signature and len(given) != 1:
            raise self._unsigned(request, "one header X-Twilio-Signature is wanted.")
        try:
            fields = inbound.form(request.body)
        except inbound.RepeatedParameter as error:
            raise self._unsigned(request, error.message) from None
        url = inbound.public_url_of(self._trust.public_url, request.target)
        if self._trust.verify_signature and not inbound.signature_ok(self._trust.auth_token, url, fields, given[0]):
            raise self._unsigned(request, "the signature does not match: check the auth token and server.public_url.")
        inbound.require_readable(fields)
        account = inbound.account_of(fields)
        if account is not None and account != self._trust.account_sid:
            warn("wrong_account", account=account)
            raise Refused(403, "wrong_account", "this relay serves another Twilio account.")
        return fields

    def _unsigned(self, request: Request, message: str) -> Refused:
        self.refused_signatures += 1
        url = inbound.public_url_of(self._trust.public_url, request.path)
        warn("signature_refused", url=url, refused=self.refused_signatures)
        return Refused(403, "bad_signature", message)

    async def post_call(self, request: Request) -> web.StreamResponse:
        """Stores what the post-call webhook reports; audio is dropped while it streams."""
        digest = postcall.Signature(_single(request.http, "ElevenLabs-Signature"), self._trust.webhook_secret)
        body = await self._streamed(request, digest)
        if not digest.ok(self._clock()):
            raise Refused(
                403, "bad_signature", "the signature does not match: check elevenlabs.webhook_secret and the clock."
            )
        if body is not None:
            await self._store_report(postcall.parse(jsonbody.parse_object(body)))
        return reply({"success": True})

    async def _streamed(self, request: Request, digest: postcall.Signature) -> bytes | None:
        """The body, or None for audio, of which nothing is kept."""
        kept, dropping = bytearray(), False
        try:
            async with arrival(request.http):
                async for chunk in request.http.content.iter_any():
                    digest.feed(chunk)
                    if dropping:
                        continue
                    # The last bytes of what is kept already: the mark may lie across two chunks.
                    dropping = AUDIO.search(kept[-64:] + chunk) is not None
                    kept += chunk
                    if dropping:
                        kept.clear()
                    elif len(kept) > POSTCALL_LIMIT:
                        raise Refused(413, "too_large", "a body here has at most 16 MiB.")
        except TimeoutError:
            raise too_slow(request.http) from None
        except web.RequestPayloadError:
            raise Refused(400, "bad_request", "the body is not what its headers announce.") from None
        return None if dropping else bytes(kept)

    async def _store_report(self, report: Call | BatchHint | Rejection | postcall.Ignored) -> None:
        if isinstance(report, BatchHint):
            await self._listener.store(batches.record_hint, report, self._clock())
            self._wakers.follow_up.ring()
        elif isinstance(report, Call):
            try:
                state = await self._listener.store(calls.record_call, report, self._clock())
            except CallConflict as error:
                warn("call_conflict", call=report.key, what=error.message)
                return
            self._intake.announce_new_call(state, "webhook")
        elif isinstance(report, Rejection):
            self._intake.reject(report, "webhook")
        else:
            say("webhook_ignored", call=report.key, why=report.reason)


def _single(http: web.BaseRequest, name: str) -> str | None:
    """A header that must stand there once: of two, nobody knows which one was meant."""
    given = http.headers.getall(name, [])
    return given[0] if len(given) == 1 else None
