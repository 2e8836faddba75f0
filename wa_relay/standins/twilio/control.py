"""The controls over HTTP, for other processes: `/_standin/…` on the stand-in's own port, JSON in and out.

`POST`: `customer` (a message, `Writes`), `redeliver`, `contact` (fields of `Contact`), `settings` (of `Settings`),
`fault` (`Planned`), `fate` (of the next messages), `template`, `trouble` (a code of a sender, a template or the
account), `register` (account, senders and messaging services for `doctor`), `progress` (a status by hand) and `down`.
`GET`: `journal?after=N&kind=…` and `accepted?to=…`.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, get_type_hints
from urllib.parse import parse_qs

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from wa_relay.standins.twilio import shapes
from wa_relay.standins.twilio.attachments import PLAIN, Attachment, Serving
from wa_relay.standins.twilio.director import Director
from wa_relay.standins.twilio.faults import Fault
from wa_relay.standins.twilio.forms import Written
from wa_relay.standins.twilio.registry import Account, MessagingService, Sender
from wa_relay.standins.twilio.settings import Settings
from wa_relay.standins.twilio.state import Contact, Fate, Template

PREFIX = "/_standin/"
Answer = dict[str, object]
_OBJECT = TypeAdapter(dict[str, object])


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MediaFile(_Body):
    """A file that a customer sends; `base64` are its bytes."""

    content_type: str = "image/jpeg"
    base64: str | None = None
    name: str = ""
    serving: Serving = PLAIN

    def attachment(self) -> Attachment:
        """The same as a value."""
        file = Attachment(self.content_type, name=self.name, serving=self.serving)
        return file if self.base64 is None else replace(file, data=b64decode(self.base64, validate=True))


class Writes(BaseModel):
    """A customer's message. The other names are those of `Written`; `media` is a file or only its content type.

    `wait=False` does not wait for the webhook's answer.
    """

    model_config = ConfigDict(extra="allow")

    phone: str
    media: str | MediaFile | None = None
    deliver: bool = True
    wait: bool = True
    to: str = ""


class Planned(_Body):
    """A fault for the next requests of an operation; with `rate`, `kinds` by chance; with neither, none."""

    operation: str = ""
    fault: Fault | None = None
    times: int = 1
    rate: float | None = None
    kinds: list[str | Fault] = Field(default_factory=list)
    seed: int = 1
    operations: list[str] = Field(default_factory=lambda: ["create", "list", "fetch", "callback"])


class PlannedFate(_Body):
    """The fate of the next messages to a customer, to all of them without a phone."""

    fate: Fate
    phone: str = ""
    times: int = 1


class Progress(_Body):
    """A status that a message is to have."""

    sid: str
    status: Literal["sent", "delivered", "read", "undelivered", "failed"]
    code: int | str | None = None


class Troubled(_Body):
    """An error code for a sender, a template or ("") the account; `code: null` takes it away."""

    subject: str
    code: int | str | None
    how: Literal["receipt", "response"] = "receipt"
    status: int = 400


class Registered(_Body):
    """The account's resources; see `registry.py`."""

    account: Account | None = None
    senders: list[Sender] = Field(default_factory=list)
    services: list[MessagingService] = Field(default_factory=list)


class Outage(_Body):
    """Seconds for which connections are refused."""

    seconds: float = 1.0


class Redelivery(_Body):
    """An inbound message to post once more."""

    sid: str


class Control:
    """Answers `/_standin/…`. `outage` refuses connections for a number of seconds."""

    def __init__(self, director: Director, outage: Callable[[float], None]) -> None:
        self._director, self._outage = director, outage
        self._posts: dict[str, Callable[[bytes], Awaitable[Answer]]] = {
            "customer": self._customer,
            "redeliver": self._redeliver,
            "contact": self._contact,
            "settings": self._settings,
            "fault": self._fault,
            "fate": self._fate,
            "template": self._template,
            "progress": self._progress,
            "trouble": self._trouble,
            "register": self._register,
            "down": self._down,
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answers one request; 400 says what is wrong with a body."""
        path, _, query = request.raw_path.partition("?")
        name = path.removeprefix(PREFIX)
        try:
            if request.method == "GET":
                return _answer(*self._read(name, query))
            post = self._posts.get(name)
            if request.method != "POST" or post is None:
                return _answer({"error": f"no control {name!r}: there are {', '.join(self._posts)}"}, 404)
            return _answer(await post(await request.read()))
        except (ValidationError, ValueError, KeyError) as error:
            return _answer({"error": str(error)}, 400)

    def _read(self, name: str, query: str) -> tuple[Answer, int]:
        wanted = {key: values[-1] for key, values in parse_qs(query).items()}
        journal = self._director.journal
        if name == "journal":
            entries = journal.after(int(wanted.get("after", "0")))
            return {"entries": [asdict(one) for one in entries if wanted.get("kind", one.kind) == one.kind]}, 200
        if name == "accepted":
            return {"accepted": [asdict(one) for one in self._director.accepted(wanted.get("to"))]}, 200
        return {"error": f"nothing to read at {name!r}: there are journal, accepted"}, 404

    async def _customer(self, body: bytes) -> Answer:
        wanted = Writes.model_validate_json(body)
        media = wanted.media.attachment() if isinstance(wanted.media, MediaFile) else wanted.media
        message = {"body": ""} | _fields(Written, wanted.model_extra or {})
        writing = self._director.customer_writes(
            wanted.phone, **message, media=media, deliver=wanted.deliver, to=wanted.to
        )
        if not wanted.wait:
            self._director.beside(writing)
            return {}
        return asdict(await writing)

    async def _redeliver(self, body: bytes) -> Answer:
        return asdict(await self._director.redeliver(Redelivery.model_validate_json(body).sid))

    async def _contact(self, body: bytes) -> Answer:
        given = _fields(Contact, _OBJECT.validate_json(body))
        if "phone" not in given:
            raise ValueError("phone is missing")
        return asdict(self._director.contact(**given))

    async def _settings(self, body: bytes) -> Answer:
        self._director.configure(**_fields(Settings, _OBJECT.validate_json(body)))
        return asdict(self._director.settings)

    async def _fault(self, body: bytes) -> Answer:
        wanted = Planned.model_validate_json(body)
        if wanted.fault is not None:
            self._director.faults.next(wanted.operation, wanted.fault, wanted.times)
        elif wanted.rate is not None:
            self._director.faults.randomly(wanted.rate, wanted.kinds, wanted.seed, wanted.operations)
        else:
            self._director.faults.clear()
        return {}

    async def _fate(self, body: bytes) -> Answer:
        wanted = PlannedFate.model_validate_json(body)
        self._director.next_message(wanted.fate, wanted.phone, wanted.times)
        return {}

    async def _template(self, body: bytes) -> Answer:
        self._director.template(TypeAdapter(Template).validate_json(body))
        return {}

    async def _progress(self, body: bytes) -> Answer:
        wanted = Progress.model_validate_json(body)
        return {"moved": await self._director.progress(wanted.sid, wanted.status, wanted.code)}

    async def _trouble(self, body: bytes) -> Answer:
        wanted = Troubled.model_validate_json(body)
        self._director.trouble(wanted.subject, wanted.code, wanted.how, wanted.status)
        return {}

    async def _register(self, body: bytes) -> Answer:
        wanted = Registered.model_validate_json(body)
        account = [wanted.account] if wanted.account else []
        self._director.register(*account, *wanted.senders, *wanted.services)
        return {}

    async def _down(self, body: bytes) -> Answer:
        self._outage(Outage.model_validate_json(body or b"{}").seconds)
        return {}


def _fields(kind: type, given: Mapping[str, object]) -> dict[str, Any]:
    """Reads some fields of a dataclass by their types; those that are not named stay. Raises `ValueError`."""
    types = get_type_hints(kind)
    if unknown := sorted(given.keys() - types.keys()):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    return {name: TypeAdapter(types[name]).validate_python(value) for name, value in given.items()}


def _answer(body: Answer, status: int = 200) -> web.Response:
    return web.Response(status=status, body=shapes.encoded(body), headers={"Content-Type": "application/json"})
