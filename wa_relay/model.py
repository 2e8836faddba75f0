"""The values that the rooms of wa-relay exchange: frozen and typed.

Nothing here reads a clock, a file or a socket. The names of `basics` can be imported from here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from wa_relay.basics import WEEKDAYS as WEEKDAYS
from wa_relay.basics import Moment as Moment
from wa_relay.basics import RelayError as RelayError
from wa_relay.basics import Scalar as Scalar
from wa_relay.basics import Span as Span

Source = Literal["push", "poll", "webhook"]
Outcome = str  # the recipient's status, as ElevenLabs writes it

FINAL_OUTCOMES = frozenset({"completed", "voicemail", "failed", "cancelled"})
"""A call with any other outcome is not over."""

NAME_VARIABLES = ("client_name", "customer_name", "name", "nombre")
"""Dynamic variables that may hold the customer's name, in the order they are asked."""


class UpstreamError(RelayError):
    """ElevenLabs or Twilio refused, was unavailable, or sent an invalid response.

    `status` is the HTTP status, None without a response; `code` is the service's own
    code (`invalid_api_key`, `20003`), None without one.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, permanent=permanent, retry_after=retry_after)
        self.status = status
        self.code = code


class AgentError(RelayError):
    """A turn without an answer, after every try that the rules allow."""


class NoCapacityError(RelayError):
    """ElevenLabs had no room for a session. Does not count as a try: the turn waits."""


class PayloadError(RelayError):
    """A request whose content its route does not accept.

    `code` is the contract's error code (`invalid_json`, `invalid_payload`, ...) and `fields`
    pairs the path of each fault with what is expected there.
    """

    def __init__(self, message: str, *, code: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message, permanent=True)
        self.code = code
        self.fields = tuple(fields)


@dataclass(frozen=True, slots=True)
class Call:
    """One outbound phone call whose outcome is known, as one source reports it.

    `key` is the agent service's conversation id, or `<batch id>/<recipient id>` for an attempt
    that failed without a conversation. `ended_at` is None where the end can't be known.
    `summary` is the analysis' summary; `transcript` the spoken lines, one a line. `seconds` is the
    length of the call and `collected` the values of its data collection; None while not known.
    """

    key: str
    phone: str
    agent_id: str
    outcome: Outcome
    source: Source
    ended_at: Moment | None
    agent_name: str | None = None
    batch_id: str | None = None
    batch_name: str | None = None
    recipient_id: str | None = None
    client_name: str | None = None
    client_id: str | None = None
    group_id: str | None = None
    group_name: str | None = None
    variables: Mapping[str, Scalar] = field(default_factory=dict)
    summary: str | None = None
    transcript: str | None = None
    seconds: float | None = None
    collected: Mapping[str, Scalar] | None = None
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class CallDetails:
    """Details of a call from ElevenLabs' conversation; the fields are those of `Call`.

    `final` is true when no more details will follow.
    """

    summary: str | None
    transcript: str | None
    variables: Mapping[str, Scalar]
    seconds: float | None
    collected: Mapping[str, Scalar] | None
    final: bool


@dataclass(frozen=True, slots=True)
class BatchHint:
    """A call that the post-call webhook reported at `reported_at`, and whose outcome its batch has yet to report."""

    call: Call
    batch_id: str
    recipient_id: str | None
    reported_at: Moment = field(default=0.0, compare=False)


OptOutType = Literal["STOP", "START", "HELP"]


AttachmentType = Literal["audio", "image", "video", "document", "sticker", "contact", "location", "reaction", "other"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """The parts of a message beside its text.

    `content_type` is what Twilio announces, and `url` where it has the file; both None without a file. `name` is a
    document's. `latitude` and `longitude` are degrees, `label` and `address` the place's name and street.
    """

    type: AttachmentType
    content_type: str | None = None
    url: str | None = None
    name: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    label: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Referral:
    """The advertisement through which a message came. Empty texts are not known."""

    headline: str = ""
    body: str = ""
    source_url: str = ""
    source_type: str = ""
    source_id: str = ""


class Inbound(NamedTuple):
    """A customer's message, from the webhook or from a listing.

    `phone` is `+57…`, or the user id (`CO.1A2b…`) of a customer who hides the number. `text` is what the customer
    wrote: body, caption, button. `attachment` is None for plain text. `sid` is None for a form without one.
    `written_at` is Twilio's own time when a listing gave it, None from a webhook. `wa_id` is the number that WhatsApp
    has for the customer (`+57…`), None if it is hidden. `to` is our number, None if it was not given. `replied_to` is
    the SID of the message that this one answers. `tapped` is true for a button or an entry of a list.
    """

    sid: str | None
    phone: str
    text: str
    attachment: Attachment | None = None
    profile_name: str | None = None
    user_id: str | None = None
    opt_out: OptOutType | None = None
    written_at: Moment | None = None
    wa_id: str | None = None
    to: str | None = None
    replied_to: str | None = None
    tapped: bool = False
    referral: Referral | None = None


ReceiptStatus = Literal["queued", "sent", "delivered", "read", "failed", "undelivered"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A delivery status. `message_id` is our own id from the callback's query, None without.

    `database` is the mark of the database that sent it: ids begin again in every file. `sender` is our number that the
    message went out from, None if it was not given.
    """

    sid: str
    status: str
    message_id: int | None = None
    error_code: str | None = None
    user_id: str | None = None
    database: str | None = None
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message as it goes to the channel: a body, or a template with its variables.

    `to` is `+57…` or a user id; the channel adds its prefix. `validity_seconds` is how long Twilio may keep it waiting.
    `sender` is our number (`+57…`) that it is sent from, None for the default one.
    """

    message_id: int | None
    to: str
    body: str | None = None
    content_sid: str | None = None
    content_variables: Mapping[str, str] | None = None
    validity_seconds: int = 1800
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The channel took the message."""

    sid: str
    status: str = "queued"


@dataclass(frozen=True, slots=True)
class NotSent:
    """Provably not sent: no connection was made, or Twilio had no capacity. May be tried again.

    `answered` is true where Twilio responded; `code` is its code then, otherwise the name of the connection's error.
    `busy` is true where it takes nothing at all just now, whatever the message. `evidence` is for people.
    """

    evidence: str
    retry_after: float | None = None
    answered: bool = True
    code: str | None = None
    busy: bool = False


Scope = Literal["message", "customer", "template", "sender", "account"]
"""The scope of a refusal: nothing else is sent there before the fault is mended."""


@dataclass(frozen=True, slots=True)
class SendRefused:
    """A permanent refusal; the message was not sent. `scope` says what the refusal is about."""

    code: str
    meaning: str
    scope: Scope
    message: str = ""


@dataclass(frozen=True, slots=True)
class Unclear:
    """It may or may not have been sent, so it is never sent again automatically.

    `code` is Twilio's code or the name of the connection's error, None without one.
    """

    evidence: str
    code: str | None = None


SendResult = Accepted | NotSent | SendRefused | Unclear


@dataclass(frozen=True, slots=True)
class Listed:
    """A message as the channel's own list shows it. `created_at` is whole seconds."""

    sid: str
    direction: str
    to: str
    sender: str
    body: str
    status: str
    created_at: Moment | None
    error_code: str | None = None
    num_media: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, newest first. `next` continues it; None at the end."""

    messages: tuple[Listed, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a thread, as context for the agent. `role` is its author."""

    role: Literal["customer", "agent", "operator"]
    text: str


@dataclass(frozen=True, slots=True)
class AgentFile:
    """A customer's file for the agent. `media` is our id of it, `size` is in bytes, `type` that of the attachment."""

    media: int
    type: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Question:
    """One turn put to the agent.

    `call_key` is the phone call's conversation id, None for a stranger. `text` is all that the
    customer wrote since the last answer. `thread` is what was written in WhatsApp before it,
    oldest first. `files` go with the text. `has_words` is false if the text holds only notes.
    `nobody_free` is true after a request for a person that no person answered.
    `not_arrived` are the latest answers that WhatsApp did not deliver because the window was closed, oldest first.
    """

    agent_id: str
    text: str
    call_key: str | None = None
    variables: Mapping[str, Scalar] = field(default_factory=dict)
    summary: str | None = None
    transcript: str | None = None
    thread: tuple[Line, ...] = ()
    nobody_free: bool = False
    files: tuple[AgentFile, ...] = ()
    has_words: bool = True
    not_arrived: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent's answer, unconverted. `session_id` is the text session's conversation."""

    text: str
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """The agent chose not to answer: nothing is sent, and the question is not asked again."""

    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The agent was asked nothing: none of the files could be given to it, and nothing else can be read."""

    session_id: str | None = None


class NoteTry(Protocol):
    """Records that a session for a turn failed. The sessions that end a turn are recorded with its end."""

    async def __call__(self, why: str, /) -> None:
        """Returns when the record is durable. `why` is a sentence without a customer's text."""


class NoteTools(Protocol):
    """Records that a turn must not be asked again: its agent called, or may have called, a tool."""

    async def __call__(self, *, handover: bool = False) -> None:
        """Returns when the record is durable. With `handover`, the tool is the one that asks for a person."""
