"""The receiver as a server. Each request is recorded, also one that fails on demand.

Controls over HTTP, for other processes: `GET /_standin/alerts`, `GET /_standin/journal?after=N`, and
`POST /_standin/fail` with the fields of `Failure` and `times`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wa_relay.model import Moment
from wa_relay.standins.journal import Entry, Journal
from wa_relay.standins.port import HOST, Port
from wa_relay.standins.receiver.signing import fault_of, key_of

PREFIX = "/_standin/"
_LONGEST_HANG = 120.0


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a request: an HTTP `status`, a closed connection, or no answer (`hang`).

    `seconds` pass before it. A `status` in the 200s makes a request slow only. `location` goes with a redirect.
    """

    kind: Literal["status", "close", "hang"] = "status"
    status: int = 500
    seconds: float = 0.0
    location: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedAlert:
    """One request. `attempt` counts those with the same id from 1; `wrong` says what is wrong with it ("": nothing).

    `answer` is the status that it got, None for none.
    """

    id: str
    type: str
    timestamp: str
    data: dict[str, object]
    attempt: int
    wrong: str
    answer: int | None
    at: Moment


class _Planned(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["status", "close", "hang"] = "status"
    status: int = 500
    seconds: float = 0.0
    location: str = ""
    times: int = Field(1, ge=1)


class ReceiverStandin:
    """Receives alerts on a local port. What is right gets 204, what is wrongly signed 401.

    `secret` is `whsec_…`; `clock` gives Unix seconds. Everything that happens is in `journal`; a `violation` is a wrong
    signature, a body that is not an alert, or one with another type or data than an earlier one of the same id.
    """

    def __init__(self, secret: str, clock: Callable[[], Moment] = time.time) -> None:
        key_of(secret)
        self._secret, self._clock = secret, clock
        self.journal = Journal(clock)
        self._failures: deque[Failure] = deque()
        self._attempts: Counter[str] = Counter()
        self._contents: dict[str, tuple[object, object]] = {}
        self._runner: web.ServerRunner | None = None
        self._port = Port()

    @property
    def port(self) -> int:
        """The port on which it listens, also while it is down."""
        return self._port.number

    @property
    def url(self) -> str:
        """The address for `alerts.url`."""
        return f"http://{HOST}:{self.port}/alerts"

    @property
    def alerts(self) -> list[ReceivedAlert]:
        """The requests, oldest first."""
        return [_alert_of(entry) for entry in self.journal.entries("alert")]

    @property
    def accepted(self) -> list[ReceivedAlert]:
        """The requests that were acknowledged."""
        return [one for one in self.alerts if one.answer is not None and 200 <= one.answer < 300]

    def fail(self, failure: Failure | None = None, times: int = 1) -> None:
        """Lets the next requests fail; a 500 by default."""
        self._failures.extend([failure or Failure()] * times)

    async def wait_for(self, count: int, within: float = 5.0) -> list[ReceivedAlert]:
        """The alerts that were acknowledged, once there are that many. Raises TimeoutError."""
        await self.journal.wait_for(lambda _: len(self.accepted) >= count, within)
        return self.accepted

    async def start(self, port: int = 0) -> None:
        """Listens on that port of 127.0.0.1, on a free one for 0. Raises OSError when it is taken."""
        self._runner = await self._port.listen(self._handle, port)

    async def stop(self) -> None:
        """Breaks what is open and stops."""
        await self.down()
        self._port.release()

    async def down(self) -> None:
        """Breaks all connections and refuses new ones, until `up`. What was recorded stays."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def up(self) -> None:
        """Listens again, on the same port."""
        if self._runner is None:
            await self.start()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path.startswith(PREFIX):
            return self._control(request, body)
        if request.method != "POST" or request.path != "/alerts":
            return web.Response(status=404)
        wrong, alert = self._wrong(request, body), _read(body) or {}
        number = request.headers.get("webhook-id", "")
        self._attempts[number] += 1
        failure = self._failures.popleft() if self._failures else None
        answer = failure.status if failure else 401 if wrong else 204
        shown = answer if failure is None or failure.kind == "status" else None
        data = alert.get("data")
        self.journal.note(
            "alert",
            id=number,
            type=str(alert.get("type", "")),
            timestamp=str(alert.get("timestamp", "")),
            data=data if isinstance(data, dict) else {},
            attempt=self._attempts[number],
            wrong=wrong,
            answer=shown,
        )
        if wrong:
            self.journal.note("violation", what=wrong, id=number)
        if failure is not None:
            await asyncio.sleep(_LONGEST_HANG if failure.kind == "hang" else failure.seconds)
            if failure.kind != "status" and request.transport is not None:
                request.transport.close()
        headers = {"Location": failure.location} if failure and failure.location else {}
        return web.Response(status=answer, headers=headers)

    def _wrong(self, request: web.BaseRequest, body: bytes) -> str:
        wrong = fault_of(self._secret, request.headers, body, self._clock())
        if wrong:
            return wrong
        alert = _read(body)
        if alert is None or not {"type", "timestamp", "data"} <= alert.keys():
            return "the body is not an alert: type, timestamp and data are wanted"
        content = (alert["type"], alert["data"])
        first = self._contents.setdefault(request.headers["webhook-id"], content)
        return "" if first == content else "type or data differ from those of an earlier attempt"

    def _control(self, request: web.BaseRequest, body: bytes) -> web.Response:
        name = request.path.removeprefix(PREFIX)
        try:
            if (request.method, name) == ("GET", "alerts"):
                return _json({"alerts": [asdict(one) for one in self.alerts]})
            if (request.method, name) == ("GET", "journal"):
                after = int(request.query.get("after", "0"))
                return _json({"entries": [asdict(one) for one in self.journal.after(after)]})
            if (request.method, name) == ("POST", "fail"):
                wanted = _Planned.model_validate_json(body or b"{}")
                self.fail(Failure(wanted.kind, wanted.status, wanted.seconds, wanted.location), wanted.times)
                return _json({})
        except (ValidationError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"error": f"no control {request.method} {name}: there are alerts, journal, fail"}, 404)


def _read(body: bytes) -> dict[str, object] | None:
    try:
        read = json.loads(body)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _alert_of(entry: Entry) -> ReceivedAlert:
    data = entry.data["data"]
    answer, attempt = entry.data["answer"], entry.data["attempt"]
    return ReceivedAlert(
        id=str(entry.data["id"]),
        type=str(entry.data["type"]),
        timestamp=str(entry.data["timestamp"]),
        data=data if isinstance(data, dict) else {},
        attempt=attempt if isinstance(attempt, int) else 0,
        wrong=str(entry.data["wrong"]),
        answer=answer if isinstance(answer, int) else None,
        at=entry.at,
    )


def _json(content: dict[str, object], status: int = 200) -> web.Response:
    return web.json_response(content, status=status)
