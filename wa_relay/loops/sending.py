"""The sender: claims due messages, makes one request for each, and stores the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from wa_relay import metrics
from wa_relay.http import begin_by, boot_time, may_begin
from wa_relay.ledger import claims, send_results
from wa_relay.ledger.claims import Claimed, SendJob
from wa_relay.ledger.faults import LeaseLost
from wa_relay.ledger.send_results import Finished
from wa_relay.ledger.unfinished_sends import BEGIN_WITHIN
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Move, Wakers
from wa_relay.loops.rates import Rates
from wa_relay.loops.worker import IDLE, Worker, rest_until
from wa_relay.model import Accepted, Moment, NotSent, Outgoing, SendRefused, SendResult, Unclear
from wa_relay.policy import Circuit

SEND_SLOTS = 256
SEND_DEADLINE = 40.0
"""Seconds for one request, above the channel's own limits."""

_RESULTS = {Accepted: "accepted", SendRefused: "refused", NotSent: "failed", Unclear: "uncertain"}
"""The metric's names."""


class Channel(Protocol):
    """The service that carries messages. Its failures are results, never exceptions."""

    async def send(self, message: Outgoing) -> SendResult:
        """Makes one request, once."""
        ...


class SendWorker(Worker):
    """Sends what the outbox holds, at the rate of each sender."""

    def __init__(
        self,
        ledger: LedgerThread,
        channel: Channel,
        wakers: Wakers,
        clock: Callable[[], Moment],
        *,
        rates: Rates,
    ) -> None:
        super().__init__(ledger, clock, wakers.send, SEND_SLOTS)
        self._channel = channel
        self._wakers = wakers
        self._rates = rates
        self.circuit = Circuit()
        # In a row. They open no circuit: each message waits for as long as Twilio asks.
        self.refusals = 0

    async def _look(self) -> tuple[bool, float]:
        now = self._clock()
        room = self.room
        if room < 1 or not self.circuit.allows(now):
            return False, IDLE
        # One message finds out whether Twilio is back; a full claim would become uncertain together.
        if self.circuit.half_open:
            room = 1
        busy, pause, held_back = False, IDLE, False
        for sender in self._rates.senders:
            allowed = min(room, self._rates.allowed(sender, now))
            if allowed < 1:
                pause = min(pause, self._rates.rest(sender))
                continue
            claimed = await self._claim(sender, allowed, now)
            room -= len(claimed.jobs)
            busy |= bool(claimed.ended) or len(claimed.jobs) == allowed
            pause = min(pause, rest_until(claimed.next_due, now))
            held_back |= claimed.next_due is not None and claimed.next_due <= now
        self._held_back = held_back
        return busy, pause

    async def _claim(self, sender: str | None, allowed: int, now: Moment) -> Claimed:
        """Claims what one sender may send (None: any), and starts the requests."""
        limit = boot_time() + BEGIN_WITHIN
        claimed = await self._ledger.run(claims.claim_messages, allowed, now, sender)
        if claimed.burst:
            warn(
                "burst_held",
                openings=claimed.burst,
                what="more openings are due than opening.burst_limit: "
                "check why, then let them go out with `wa-relay resume`",
            )
        for message_id, reason in claimed.ended:
            say("message_ended", message=message_id, reason=reason)
            self._wakers.board.announce(message_id)
        # Counted by claims, not by answers: Twilio's limit is on requests.
        self._rates.spend(sender, len(claimed.jobs))
        for job in claimed.jobs:
            self.circuit.tried(now)
            self._start(self._send(job, limit))
        return claimed

    async def _send(self, job: SendJob, limit: float) -> None:
        """Makes the request, unless it is later than `limit`: an opt-out or a takeover may have come meanwhile."""
        began = time.perf_counter()
        begin_by.set(limit)
        result: SendResult
        if not self._ledger.lease_holds():
            # Sent now, it might be sent by a daemon that others believe to be dead. The result is refused if they do;
            # otherwise the message must not stay `sending` in a run that lives on.
            result = NotSent("the lease was not certain any more")
        elif may_begin():
            result = await self._request(job.outgoing)
        else:
            result = NotSent("its claim came back so late that every rule is asked again")
        metrics.count_send(job.kind, _RESULTS[type(result)], time.perf_counter() - began)
        message_id = job.outgoing.message_id
        assert message_id is not None
        try:
            finished = await self._persist(send_results.finish_send, message_id, result, self._clock())
        except LeaseLost:
            return
        except Exception as error:
            # Left as `sending`, it would silently hold its conversation forever.
            fail("result_fault", error, message=message_id)
            result = Unclear(f"its result could not be stored: {type(error).__name__}")
            finished = await self._persist(send_results.finish_send, message_id, result, self._clock())
        self._note(result)
        self._log(job, result, finished)
        sid = None
        if isinstance(result, Accepted) and finished.status == "sent" and finished.alarm is None:
            sid = result.sid
        self._wakers.board.announce(message_id, Move(sid))
        # The end of this send may free the next message of its conversation, or this one is due again.
        if self._held_back or finished.due_at is not None:
            self.bell.ring()
        # Twilio lists a message within seconds; the sooner it is found, the sooner the conversation continues.
        if finished.status == "uncertain":
            self._wakers.lookup.ring()

    async def _request(self, outgoing: Outgoing) -> SendResult:
        try:
            async with asyncio.timeout(SEND_DEADLINE):
                return await self._channel.send(outgoing)
        except TimeoutError:
            return Unclear(f"no answer within {SEND_DEADLINE:.0f} s")
        except Exception as error:
            # Whatever this is, it may have happened after the first byte.
            fail("send_fault", error, message=outgoing.message_id)
            return Unclear(f"the request failed: {type(error).__name__}")

    def _note(self, result: SendResult) -> None:
        # A 429 shows that Twilio is there: it is no reason to open the circuit.
        if isinstance(result, NotSent) and result.busy:
            self.refusals += 1
        elif isinstance(result, Accepted | SendRefused):
            self.refusals = 0
        if isinstance(result, Unclear) or (isinstance(result, NotSent) and not result.answered):
            self.circuit.failed(self._clock())
        elif not isinstance(result, NotSent):
            self.circuit.succeeded()

    def _log(self, job: SendJob, result: SendResult, finished: Finished) -> None:
        ids: dict[str, Any] = {
            "message": finished.message_id,
            "conversation": job.conversation_id,
            "call": job.call_key,
        }
        ids["phone"], ids["text"] = job.outgoing.to, job.outgoing.body
        if finished.alarm:
            warn("alarm", **ids, what=finished.alarm)
        kind = {"reply": "answer"}.get(job.kind, job.kind)
        if isinstance(result, Accepted):
            say(f"{kind}_sent", **ids, sid=result.sid)
        elif isinstance(result, NotSent):
            say(f"{kind}_put_off", **ids, why=result.evidence)
        elif isinstance(result, Unclear):
            warn(f"{kind}_uncertain", **ids, why=result.evidence)
        else:
            warn(f"{kind}_refused", **ids, code=result.code, meaning=result.meaning)
