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

from wa_relay.config.addresses import DatabaseUrl, Host, Sender, Url
from wa_relay.config.kinds import (
    Choice,
    Country,
    DayTime,
    FilePath,
    Flag,
    Identifier,
    Integer,
    Kind,
    Language,
    Number,
    OptionalPath,
    SecretText,
    Text,
    TimeZone,
    Variables,
    WebhookSecret,
    Words,
)
from wa_relay.config.lists import Choices, Conditions, Days, Network, Networks, SenderNumber, Senders
from wa_relay.config.secret import Secret
from wa_relay.model import Scalar, Span

T = TypeVar("T")

OUTCOMES = ("completed", "voicemail", "failed", "cancelled")
"""The outcomes that may be followed up: those that are final."""

ALERTS = (
    "handover.wanted",
    "send.uncertain",
    "account.held",
    "burst.held",
    "template.stopped",
    "poller.failing",
    "agent.failing",
    "conversation.muted",
    "handover.unanswered",
    "webhook.failing",
    "sender.limited",
    "disk.low",
)
"""The alerts that there are."""

LOCAL_NETWORKS: tuple[Network, ...] = Networks().read(["127.0.0.0/8", "::1"])

DEFAULT_BODY = "Hola {client_name}, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"


def key(kind: Kind[T], default: T, *, short: str | None = None) -> T:
    """Declares a field that the configuration sets; `short` is its second environment name."""
    return field(default=default, metadata={"kind": kind, "short": short})


def table(kind: Kind[T], default: T) -> T:
    """Declares a field that holds a table. Its default is a dict, which each section gets a copy of."""
    return field(default_factory=lambda: dict(default), metadata={"kind": kind, "short": None})  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True, slots=True)
class General:
    """`timezone` is an IANA name: days and hours are in it. `language` is that of the console and of reports."""

    timezone: str = key(TimeZone(), "America/Bogota")
    language: str = key(Choice(("es", "en")), "es")


@dataclass(frozen=True, slots=True)
class Server:
    """The listener. `public_url` has no slash at its end; `port` 0 is any free one."""

    host: str = key(Host(), "127.0.0.1")
    port: int = key(Integer(0, 65535), 3001)
    public_url: str = key(Url("https://relay.example.com", optional=True), "")
    token: Secret = key(SecretText(), Secret(), short="MICROSERVICE_TOKEN")
    push_token: Secret = key(SecretText(), Secret())
    trusted_proxies: tuple[Network, ...] = key(Networks(), LOCAL_NETWORKS)


@dataclass(frozen=True, slots=True)
class Database:
    """`path` is absolute once it is loaded. It does not count if `url` is there: then PostgreSQL is used."""

    path: Path = key(FilePath(), Path("wa-relay.db"))
    url: Secret = key(DatabaseUrl(), Secret(), short="DATABASE_URL")


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
    content_variables: Mapping[str, str] = table(Variables(), {})
    delay_seconds: float = key(Number(0, 2_592_000), 0.0)
    min_call_seconds: float = key(Number(0, 86_400), 0.0)
    when: Mapping[str, tuple[Scalar, ...]] = table(Conditions(), {})

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
    daily_limit: int = key(Integer(0, 1_000_000_000), 0)
    messages: Mapping[str, OpeningMessage] = field(default_factory=lambda: dict(DEFAULT_MESSAGES))


@dataclass(frozen=True, slots=True)
class Reply:
    """How answers go out and what strangers get: `ignore`, `fallback` or `agent`."""

    debounce_seconds: float = key(Number(0, 15), 2.0)
    max_length: int = key(Integer(20, 1600), 1500)
    fallback: str = key(Text(), "En este momento no podemos responderte. Te escribiremos pronto.")
    unknown_sender: str = key(Choice(("ignore", "fallback", "agent")), "ignore")
    unknown_sender_agent_id: str = key(Identifier("", "the id of an agent"), "")
    typing: bool = key(Flag(), True)
    ask_again: int = key(Integer(0, 10), 2)
    max_turns_per_hour: int = key(Integer(0, 1_000_000), 60)
    text_only: str = key(Text(), "Por ahora solo puedo leer mensajes de texto. ¿Me lo puedes escribir, por favor?")
    reopen_content_sid: str = key(Identifier("HX", "a content SID: HX and its digits"), "")
    reopen_content_variables: Mapping[str, str] = table(Variables(), {"1": "{client_name}"})


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` until `end` no opening goes out; over midnight too. None: no quiet hours.

    `preset` and `days` say instead when openings may go out; `holidays` is a country code.
    """

    start: time | None = key(DayTime(), None)
    end: time | None = key(DayTime(), None)
    preset: str = key(Choice(("", "ley-2300")), "")
    days: Mapping[str, tuple[Span, ...]] = table(Days(), {})
    holidays: str = key(Country(), "")
    zone: str = key(Choice(("general", "number")), "general")


@dataclass(frozen=True, slots=True)
class OptOut:
    """The words that end a conversation and those that take it up again."""

    keywords: tuple[str, ...] = key(
        Words("keywords"), ("BAJA", "DAR DE BAJA", "STOP", "PARAR", "DETENER", "ALTO", "NO MOLESTAR")
    )
    confirmation: str = key(Text(), "Listo, no te escribiremos más. Escribe ALTA si cambias de idea.")
    return_keywords: tuple[str, ...] = key(Words("keywords"), ("ALTA", "START"))
    phrases: bool = key(Flag(), True)


@dataclass(frozen=True, slots=True)
class Media:
    """What becomes of voice notes and files. `language` is empty if the service detects it."""

    voice_notes: str = key(Choice(("transcribe", "notice")), "transcribe")
    files: str = key(Choice(("agent", "notice")), "agent")
    max_bytes: int = key(Integer(1, 100_000_000), 16_000_000)
    language: str = key(Language(), "es")
    keep_days: float = key(Number(0, 36_500), 7.0)


@dataclass(frozen=True, slots=True)
class Handover:
    """How a customer gets to an operator, and for how long."""

    keywords: tuple[str, ...] = key(
        Words("keywords"), ("ASESOR", "HUMANO", "HABLAR CON UN ASESOR", "HABLAR CON UNA PERSONA", "AGENT")
    )
    tool: str = key(Identifier("", "the name of a client tool"), "transfer_to_human")
    on_failure: bool = key(Flag(), False)
    notice: str = key(Text(), "Te va a escribir una persona de nuestro equipo por aquí.")
    return_after_hours: float = key(Number(0, 720, above=True), 12.0)
    wait_minutes: float = key(Number(0, 43_200, above=True), 30.0)
    unanswered_minutes: float = key(Number(0, 43_200, above=True), 15.0)


@dataclass(frozen=True, slots=True)
class Alerts:
    """Where alerts are posted; none are if `url` is empty. `secret` signs them (Standard Webhooks)."""

    url: str = key(Url("https://ops.example.com/alerts", optional=True, query=True), "")
    secret: Secret = key(WebhookSecret(), Secret())
    events: tuple[str, ...] = key(Choices(ALERTS, "alerts"), ALERTS)


@dataclass(frozen=True, slots=True)
class Console:
    """The web page for the team. A session lasts `session_hours` from its login."""

    enabled: bool = key(Flag(), False)
    session_hours: float = key(Number(0, 8760, above=True), 12.0)


@dataclass(frozen=True, slots=True)
class Retention:
    """Threads whose last message is older are erased; 0 keeps them for ever."""

    threads_days: float = key(Number(0, 36_500), 0.0)


@dataclass(frozen=True, slots=True)
class Log:
    """`file` is absolute once it is loaded, None for none."""

    level: str = key(Choice(("debug", "info", "warning", "error", "critical")), "info")
    format: str = key(Choice(("text", "json")), "text")
    file: Path | None = key(OptionalPath(), None)
    personal_data: bool = key(Flag(), False)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings in force. `senders` are the tables [[sender]]. `path` is the file they came from,
    `origins` holds where each key that was set was read; `warnings` are sentences for a person.

    `time_divisor` shortens the waits of reconciliation in tests.
    """

    general: General = General()
    server: Server = Server()
    database: Database = Database()
    twilio: Twilio = Twilio()
    elevenlabs: ElevenLabs = ElevenLabs()
    poll: Poll = Poll()
    opening: Opening = field(default_factory=Opening)
    reply: Reply = field(default_factory=Reply)
    quiet_hours: QuietHours = field(default_factory=QuietHours)
    opt_out: OptOut = OptOut()
    media: Media = Media()
    handover: Handover = Handover()
    alerts: Alerts = Alerts()
    console: Console = Console()
    retention: Retention = Retention()
    log: Log = Log()
    senders: tuple[SenderNumber, ...] = ()
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
    "media": Media,
    "handover": Handover,
    "alerts": Alerts,
    "console": Console,
    "retention": Retention,
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
        return self.short is not None or self.secret

    @property
    def secret(self) -> bool:
        """Says if the value is never shown."""
        return isinstance(self.kind, SecretText)


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
    yield Key("sender", Senders(), None)


KEYS: Mapping[str, Key] = {each.name: each for each in _all_keys()}
TABLES: tuple[str, ...] = (*SECTIONS, *(f"opening.{outcome}" for outcome in OUTCOMES))
