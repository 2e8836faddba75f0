"""The control socket's routes for what is kept about customers: forget, retention, opt-outs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from wa_relay import phone
from wa_relay.ledger import opt_outs
from wa_relay.ledger.erasing import MessageInFlight
from wa_relay.ledger.opt_outs import OptedOut
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import say
from wa_relay.loops.forgetting import CopyRemains, Forgetter, UnknownCustomer
from wa_relay.loops.send_barrier import until_begun
from wa_relay.model import Moment, PayloadError
from wa_relay.server.answers import JSON, error_answer, json_answer
from wa_relay.server.body import body_key
from wa_relay.server.listener import Route
from wa_relay.sources import jsonbody
from wa_relay.sources.jsonbody import Json

LARGEST_IMPORT = 16 * 1024 * 1024
SOURCE = "cli"


class PrivacyControl:
    """`POST /forget`, `/retention` and `/opt-out`, for the commands of the same names."""

    def __init__(self, ledger: LedgerThread, forgetter: Forgetter, clock: Callable[[], Moment]) -> None:
        self._ledger = ledger
        self._forgetter = forgetter
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """The routes for the control socket."""
        return (
            Route("POST", "/forget", self.forget, media_types=(JSON,)),
            Route("POST", "/retention", self.retention, media_types=(JSON,)),
            Route("POST", "/opt-out", self.opt_out, media_types=(JSON,), limit=LARGEST_IMPORT),
        )

    async def forget(self, http: web.Request) -> web.StreamResponse:
        """Erases a customer."""
        body = jsonbody.parse_object(http[body_key])
        try:
            await self._forgetter.forget(_address(body), _by(body), upstream=body.get("upstream") is True)
        except UnknownCustomer as error:
            return error_answer(404, "unknown_conversation", error.message)
        except MessageInFlight as error:
            return error_answer(409, "in_flight", error.message)
        except CopyRemains as error:
            return error_answer(502, "copy_remains", error.message)
        return json_answer({"success": True})

    async def retention(self, http: web.Request) -> web.StreamResponse:
        """Erases the threads that are older than a number of days."""
        body = jsonbody.parse_object(http[body_key])
        days = body.get("days")
        if not isinstance(days, int | float) or isinstance(days, bool) or days <= 0:
            raise PayloadError("send the number of days.", code="invalid_payload")
        return json_answer({"success": True, "threads": await self._forgetter.forget_old(days, _by(body))})

    async def opt_out(self, http: web.Request) -> web.StreamResponse:
        """Adds to the list of opt-outs (`add`, a list), or takes one from it (`remove`)."""
        body = jsonbody.parse_object(http[body_key])
        now = self._clock()
        if "remove" in body:
            changed = int(await self._ledger.run(opt_outs.remove, _address(body, "remove"), SOURCE, now))
        else:
            changed = await self._ledger.run(opt_outs.import_all, opted_out_rows(body.get("add"), now), now)
            await until_begun(self._ledger)
        say("opt_outs_changed", changed=changed, removed="remove" in body)
        return json_answer({"success": True, "changed": changed})


def opted_out_rows(rows: Json, now: Moment) -> list[OptedOut]:
    """Reads the rows of an import: an address, a time (or null for now) and a source each."""
    if not isinstance(rows, list):
        raise PayloadError("send a list.", code="invalid_payload")
    return [_opted_out(row, now) for row in rows]


def _opted_out(row: Json, now: Moment) -> OptedOut:
    match row:
        case [str(address), int() | float() | None as at, str(source)]:
            return OptedOut(_parsed(address), now if at is None else float(at), source[:40])
    raise PayloadError("each row is an address, a time and a source.", code="invalid_payload")


def _by(body: Mapping[str, Json]) -> str:
    by = body.get("by")
    return by[:100] if isinstance(by, str) and by else SOURCE


def _address(body: Mapping[str, Json], name: str = "phone") -> str:
    given = body.get(name)
    return _parsed(given if isinstance(given, str) else "")


def _parsed(text: str) -> str:
    try:
        return phone.parse(text)
    except ValueError as error:
        raise PayloadError(str(error), code="invalid_payload", fields=[("phone", str(error))]) from None
