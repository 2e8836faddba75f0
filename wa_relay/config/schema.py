"""Every key of the configuration: its name, what it takes and its default.

The sections are frozen; each field carries its kind, and the names for the file and the
environment follow from the fields, so that a key is written in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from wa_relay.config.addresses import Host, Sender, Url
from wa_relay.config.kinds import (
    Choice,
    DayTime,
    FilePath,
    Flag,
    Identifier,
    Integer,
    Kind,
    Number,
    OptionalPath,
    SecretText,
    Text,
    TimeZone,
    Variables,
    Words,
)
from wa_relay.config.secret import Secret

T = TypeVar("T")

OUTCOMES = ("completed", "voicemail", "failed", "cancelled")
"""The outcomes that may be followed up: those that are final."""

DEFAULT_BODY = "Hola {client_name}, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"


def key(kind: Kind[T], default: T, *, short: str | None = None) -> T:
    """Declares a field that the configuration sets; `short` is its second environment name."""
    return field(default=default, metadata={"kind": kind, "short": short})


@dataclass(frozen=True, slots=True)
class General:
    """`timezone` is an IANA name; days and hours are told in it."""

    timezone: str = key(TimeZone(), "America/Bogota")


@dataclass(frozen=True, slots=True)
class Server:
    """The listener. `public_url` has no slash at its end; `port` 0 is any free one."""

    host: str = key(Host(), "127.0.0.1")
    port: int = key(Integer(0, 65535), 3001)
    public_url: str = key(Url("https://relay.example.com", optional=True), "")
    token: Secret = key(SecretText(), Secret(), short="MICROSERVICE_TOKEN")


@dataclass(frozen=True, slots=True)
class Database:
    """`path` is absolute once it is loaded."""

    path: Path = key(FilePath(), Path("wa-relay.db"))


@dataclass(frozen=True, slots=True)
class Twilio:
    """The account and who writes: `sender` is `whatsapp:+…`, or empty with a messaging service."""

    account_sid: str = key(Identifier("AC", "an account SID: AC and its digits"), "", short="TWILIO_ACCOUNT_SID")
    auth_token: Secret = key(SecretText(), Secret(), short="TWILIO_AUTH_TOKEN")
    sender: str = key(Sender(), "")
    messaging_service_sid: str = key(Identifier("MG", "a messaging service SID: MG and its digits"), "")
    base_url: str = key(Url("https://api.twilio.com"), "https://api.twilio.com")
    verify_signature: bool = key(Flag(), True)
    messages_per_second: float = key(Number(0, 10_000, above=True), 80.0)


@dataclass(frozen=True, slots=True)
class ElevenLabs:
    """The agent service. Times are seconds."""

    api_key: Secret = key(SecretText(), Secret(), short="ELEVENLABS_API_KEY")
    base_url: str = key(Url("https://api.elevenlabs.io"), "https://api.elevenlabs.io")
    webhook_secret: Secret = key(SecretText(), Secret())
    transport: str = key(Choice(("websocket", "http")), "websocket")
    turn_timeout_seconds: float = key(Number(1, 90), 45.0)
    settle_seconds: float = key(Number(0, 30), 2.0)


@dataclass(frozen=True, slots=True)
class Poll:
    """The poller. No `agent_ids` means every agent."""

    enabled: bool = key(Flag(), True)
    interval_seconds: float = key(Number(1, 3600), 15.0)
    agent_ids: tuple[str, ...] = key(Words("agent ids"), ())
    max_call_age_hours: float = key(Number(0, 8760, above=True), 24.0)
    push_grace_seconds: float = key(Number(0, 600), 20.0)


@dataclass(frozen=True, slots=True)
class OpeningMessage:
    """What is written after one outcome: `body` inside the window, the template outside it."""

    body: str = key(Text(), "")
    content_sid: str = key(Identifier("HX", "a content SID: HX and its digits"), "")
    content_variables: Mapping[str, str] = field(default_factory=dict, metadata={"kind": Variables(), "short": None})

    def __bool__(self) -> bool:
        return bool(self.body or self.content_sid)


DEFAULT_MESSAGES: Mapping[str, OpeningMessage] = {
    "completed": OpeningMessage(DEFAULT_BODY, "", {"1": "{client_name}"}),
}


@dataclass(frozen=True, slots=True)
class Opening:
    """`messages` holds the outcomes that are followed up, and no other."""

    default_name: str = key(Text(), "")
    min_gap_hours: float = key(Number(0, 87600), 0.0)
    burst_limit: int = key(Integer(0, 1_000_000_000), 200)
    messages: Mapping[str, OpeningMessage] = field(default_factory=lambda: dict(DEFAULT_MESSAGES))


@dataclass(frozen=True, slots=True)
class Reply:
    """How answers go out and what strangers get: `ignore`, `fallback` or `agent`."""

    debounce_seconds: float = key(Number(0, 15), 2.0)
    max_length: int = key(Integer(20, 1600), 1500)
    fallback: str = key(Text(), "En este momento no podemos responderte. Te escribiremos pronto.")
    unknown_sender: str = key(Choice(("ignore", "fallback", "agent")), "ignore")
    unknown_sender_agent_id: str = key(Identifier("", "the id of an agent"), "")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` until `end` no opening goes out; over midnight too. None: no quiet hours."""

    start: time | None = key(DayTime(), None)
    end: time | None = key(DayTime(), None)


@dataclass(frozen=True, slots=True)
class OptOut:
    """The words that end a conversation and those that take it up again."""

    keywords: tuple[str, ...] = key(
        Words("keywords"), ("BAJA", "DAR DE BAJA", "STOP", "PARAR", "DETENER", "ALTO", "NO MOLESTAR")
    )
    confirmation: str = key(Text(), "Listo, no te escribiremos más. Escribe ALTA si cambias de idea.")
    return_keywords: tuple[str, ...] = key(Words("keywords"), ("ALTA", "START"))


@dataclass(frozen=True, slots=True)
class Log:
    """`file` is absolute once it is loaded, None for none."""

    level: str = key(Choice(("debug", "info", "warning", "error", "critical")), "info")
    format: str = key(Choice(("text", "json")), "text")
    file: Path | None = key(OptionalPath(), None)
    personal_data: bool = key(Flag(), False)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings in force. `path` is the file they came from, `origins` tells for each key
    that was written where; `warnings` are sentences for a person.

    `time_divisor` shortens the waits of reconciliation in tests.
    """

    general: General = General()
    server: Server = Server()
    database: Database = Database()
    twilio: Twilio = Twilio()
    elevenlabs: ElevenLabs = ElevenLabs()
    poll: Poll = Poll()
    opening: Opening = field(default_factory=Opening)
    reply: Reply = Reply()
    quiet_hours: QuietHours = QuietHours()
    opt_out: OptOut = OptOut()
    log: Log = Log()
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    time_divisor: float = 1.0
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def timezone(self) -> ZoneInfo:
        """The time zone of `general.timezone`."""
        return ZoneInfo(self.general.timezone)

    def origin(self, key: str) -> str:
        """Says where a dotted key was read; for one that was not, where it would be."""
        return self.origins.get(key) or (str(self.path) if self.path else "configuration")


SECTIONS: Mapping[str, Any] = {
    "general": General,
    "server": Server,
    "database": Database,
    "twilio": Twilio,
    "elevenlabs": ElevenLabs,
    "poll": Poll,
    "opening": Opening,
    "reply": Reply,
    "quiet_hours": QuietHours,
    "opt_out": OptOut,
    "log": Log,
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its dotted name, its kind and its names in the environment."""

    name: str
    kind: Kind[object]
    short: str | None

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment names, the strongest first."""
        return (variable_of(self.name), self.short) if self.short else (variable_of(self.name),)

    @property
    def may_be_in_file(self) -> bool:
        """Says if `NAME_FILE` may hold it: a secret, or what travels beside one."""
        return self.short is not None or isinstance(self.kind, SecretText)


def variable_of(name: str) -> str:
    """Returns the environment name of a dotted key or table."""
    return "WA_RELAY_" + name.upper().replace(".", "_")


def _keys_of(table: str, section: Any) -> Iterator[Key]:
    for each in fields(section):
        if "kind" in each.metadata:
            yield Key(f"{table}.{each.name}", each.metadata["kind"], each.metadata["short"])


def _all_keys() -> Iterator[Key]:
    for table, section in SECTIONS.items():
        yield from _keys_of(table, section)
    for outcome in OUTCOMES:
        yield from _keys_of(f"opening.{outcome}", OpeningMessage)


KEYS: Mapping[str, Key] = {each.name: each for each in _all_keys()}
TABLES: tuple[str, ...] = (*SECTIONS, *(f"opening.{outcome}" for outcome in OUTCOMES))
