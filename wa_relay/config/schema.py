"""Every key of the configuration: its name, what it accepts and its default.

pydantic reads the values; `keys` has the names that follow from the fields. Annotations are evaluated here and now:
pydantic takes longer over those that are text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from wa_relay.config.faults import Fault, WrongValueError
from wa_relay.config.list_types import ALERTS, AlertNames, Conditions, Days
from wa_relay.config.place_types import (
    AlertUrl,
    ElevenLabsUrl,
    Host,
    Networks,
    OptionalNumber,
    PublicUrl,
    TwilioUrl,
    WhatsAppNumber,
)
from wa_relay.config.secret import Secret
from wa_relay.config.value_types import (
    AccountSid,
    AgentId,
    AgentIds,
    AnyCase,
    ContentSid,
    Country,
    DatabaseUrl,
    DayTime,
    FilePath,
    Keywords,
    Language,
    OptionalPath,
    SecretText,
    ServiceSid,
    Text,
    TimeZone,
    ToolName,
    Variables,
    WebhookSecret,
    above,
    between,
    list_of,
)
from wa_relay.text.default_texts import DEFAULT_TEXTS

OUTCOMES = ("completed", "voicemail", "failed", "cancelled")
"""The outcomes that may be followed up: those that are final."""

NO_SECRET: Secret = Secret()
Rate = Annotated[float, above(0, 10_000)]
Limit = Annotated[int, between(0, 1_000_000_000)]
Amount = Annotated[float, between(0, 36_500)]


class Table(BaseModel):
    """A table of the configuration: its fields are the keys. Frozen; nothing is converted silently."""

    # Each table is built once, as part of `Tables`, and not separately too: 3 ms of every command.
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


class General(Table):
    """`timezone` is an IANA name: days and hours are in it. `language` is that of the console and of reports."""

    # Checked even at its default: the time zone data may be missing on a machine.
    timezone: Annotated[TimeZone, Field(validate_default=True)] = "America/Bogota"
    language: Annotated[Literal["es", "en"], AnyCase] = "es"


class Server(Table):
    """The listener. `public_url` has no slash at its end; `port` 0 is any free one."""

    host: Host = "127.0.0.1"
    port: Annotated[int, between(0, 65535)] = 3001
    public_url: PublicUrl = ""
    token: SecretText = NO_SECRET
    push_token: SecretText = NO_SECRET
    trusted_proxies: Annotated[Networks, Field(validate_default=True)] = ("127.0.0.0/8", "::1")  # type: ignore[assignment]


class Database(Table):
    """`path` is absolute once it is loaded. It does not count if `url` is set: then PostgreSQL is used."""

    path: FilePath = Path("wa-relay.db")
    url: DatabaseUrl = NO_SECRET


class Twilio(Table):
    """The account and its default sender: `whatsapp:+…`, or empty with a messaging service."""

    account_sid: AccountSid = ""
    auth_token: SecretText = NO_SECRET
    sender: OptionalNumber = ""
    messaging_service_sid: ServiceSid = ""
    base_url: TwilioUrl = "https://api.twilio.com"
    verify_signature: bool = True
    messages_per_second: Rate = 80.0


class SenderNumber(Table):
    """A further WhatsApp number: `whatsapp:+…`, the agents whose calls begin there, its rate at Twilio."""

    number: WhatsAppNumber
    agent_ids: AgentIds = ()
    messages_per_second: Rate = 80.0


class ElevenLabs(Table):
    """The agent service. Times are seconds."""

    api_key: SecretText = NO_SECRET
    base_url: ElevenLabsUrl = "https://api.elevenlabs.io"
    webhook_secret: SecretText = NO_SECRET
    transport: Annotated[Literal["websocket", "http"], AnyCase] = "websocket"
    turn_timeout_seconds: Annotated[float, between(1, 90)] = 45.0
    settle_seconds: Annotated[float, between(0, 30)] = 2.0


class Poll(Table):
    """The poller. No `agent_ids` means every agent."""

    enabled: bool = True
    interval_seconds: Annotated[float, between(1, 3600)] = 15.0
    agent_ids: AgentIds = ()
    max_call_age_hours: Annotated[float, above(0, 8760)] = 24.0
    push_grace_seconds: Annotated[float, between(0, 600)] = 20.0


class OpeningMessage(Table):
    """The opening after one outcome: `body` inside the window, the template outside it."""

    body: Text = ""
    content_sid: ContentSid = ""
    content_variables: Variables = {}
    delay_seconds: Annotated[float, between(0, 2_592_000)] = 0.0
    min_call_seconds: Annotated[float, between(0, 86_400)] = 0.0
    when: Conditions = {}

    def __bool__(self) -> bool:
        return bool(self.body or self.content_sid)


class CompletedMessage(OpeningMessage):
    """The one outcome that is followed up without being configured."""

    body: Text = DEFAULT_TEXTS.opening
    content_variables: Variables = {"1": "{client_name}"}


class Opening(Table):
    """The first message after a call."""

    default_name: Text = ""
    min_gap_hours: Annotated[float, between(0, 87_600)] = 0.0
    burst_limit: Limit = 200
    daily_limit: Limit = 0
    completed: CompletedMessage = Field(default_factory=CompletedMessage)
    voicemail: OpeningMessage = Field(default_factory=OpeningMessage)
    failed: OpeningMessage = Field(default_factory=OpeningMessage)
    cancelled: OpeningMessage = Field(default_factory=OpeningMessage)

    @property
    def messages(self) -> Mapping[str, OpeningMessage]:
        """The outcomes that are followed up, and no other."""
        return {outcome: message for outcome in OUTCOMES if (message := getattr(self, outcome))}


class Reply(Table):
    """Replies to customers and to strangers."""

    debounce_seconds: Annotated[float, between(0, 15)] = 2.0
    max_length: Annotated[int, between(20, 1600)] = 1500
    fallback: Text = DEFAULT_TEXTS.fallback
    unknown_sender: Annotated[Literal["ignore", "fallback", "agent"], AnyCase] = "ignore"
    unknown_sender_agent_id: AgentId = ""
    typing: bool = True
    ask_again: Annotated[int, between(0, 10)] = 2
    max_turns_per_hour: Limit = 60
    text_only: Text = DEFAULT_TEXTS.text_only
    reopen_content_sid: ContentSid = ""
    reopen_content_variables: Variables = {"1": "{client_name}"}


class QuietHours(Table):
    """From `start` until `end` no opening goes out; over midnight too. None: no quiet hours.

    `preset` and `days` say instead when openings may go out; `holidays` is a country code.
    """

    start: DayTime = None
    end: DayTime = None
    preset: Annotated[Literal["", "ley-2300"], AnyCase] = ""
    days: Days = {}
    holidays: Country = ""
    zone: Annotated[Literal["general", "number"], AnyCase] = "general"


class OptOut(Table):
    """The keywords that opt a customer out, and in again."""

    keywords: Keywords = ("BAJA", "DAR DE BAJA", "STOP", "PARAR", "DETENER", "ALTO", "NO MOLESTAR")
    confirmation: Text = DEFAULT_TEXTS.opt_out_confirmation
    return_keywords: Keywords = ("ALTA", "START")
    phrases: bool = True


class Media(Table):
    """Voice notes and files. `language` is empty if the service detects it."""

    voice_notes: Annotated[Literal["transcribe", "notice"], AnyCase] = "transcribe"
    files: Annotated[Literal["agent", "notice"], AnyCase] = "agent"
    max_bytes: Annotated[int, between(1, 100_000_000)] = 16_000_000
    language: Language = "es"
    keep_days: Amount = 7.0


class Handover(Table):
    """Handovers: the ways to an operator, and their times."""

    keywords: Keywords = ("ASESOR", "HUMANO", "HABLAR CON UN ASESOR", "HABLAR CON UNA PERSONA", "AGENT")
    tool: ToolName = "transfer_to_human"
    on_failure: bool = False
    notice: Text = DEFAULT_TEXTS.handover_notice
    return_after_hours: Annotated[float, above(0, 720)] = 12.0
    wait_minutes: Annotated[float, above(0, 43_200)] = 30.0
    unanswered_minutes: Annotated[float, above(0, 43_200)] = 15.0


class Alerts(Table):
    """The receiver of alerts; none are sent if `url` is empty. `secret` signs them (Standard Webhooks)."""

    url: AlertUrl = ""
    secret: WebhookSecret = NO_SECRET
    events: AlertNames = ALERTS


class Console(Table):
    """The web page for the team. A session lasts `session_hours` from its login."""

    enabled: bool = False
    session_hours: Annotated[float, above(0, 8760)] = 12.0


class Retention(Table):
    """Threads whose last message is older are erased; 0 keeps them forever."""

    threads_days: Amount = 0.0


class Log(Table):
    """`file` is absolute once it is loaded, None for none."""

    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], AnyCase] = "info"
    format: Annotated[Literal["text", "json"], AnyCase] = "text"
    file: OptionalPath = None
    personal_data: bool = False


def _once(senders: tuple[SenderNumber, ...]) -> tuple[SenderNumber, ...]:
    numbers = [sender.number for sender in senders]
    agents = [agent for sender in senders for agent in sender.agent_ids]
    for what, names in (("number", numbers), ("agent", agents)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise WrongValueError(f"{what} {', '.join(twice)} is listed twice: keep one of them")
    return senders


class Tables(Table):
    """All tables of the configuration."""

    general: General = Field(default_factory=General)
    server: Server = Field(default_factory=Server)
    database: Database = Field(default_factory=Database)
    twilio: Twilio = Field(default_factory=Twilio)
    sender: Annotated[
        tuple[SenderNumber, ...],
        list_of("tables ([[sender]], in the environment a JSON list of objects)"),
        AfterValidator(_once),
    ] = ()
    elevenlabs: ElevenLabs = Field(default_factory=ElevenLabs)
    poll: Poll = Field(default_factory=Poll)
    opening: Opening = Field(default_factory=Opening)
    reply: Reply = Field(default_factory=Reply)
    quiet_hours: QuietHours = Field(default_factory=QuietHours)
    opt_out: OptOut = Field(default_factory=OptOut)
    media: Media = Field(default_factory=Media)
    handover: Handover = Field(default_factory=Handover)
    alerts: Alerts = Field(default_factory=Alerts)
    console: Console = Field(default_factory=Console)
    retention: Retention = Field(default_factory=Retention)
    log: Log = Field(default_factory=Log)


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a value: the file, the environment variable, the file of a secret, or the command line."""

    kind: Literal["default", "file", "env", "secret_file", "flag"]
    where: str = ""

    def __str__(self) -> str:
        return f"environment variable {self.where}" if self.kind == "env" else self.where


class Config(Tables):
    """All settings in force.

    `path` is the file they came from. `origins` holds where each key that was set was read. `warnings` say what
    works and should be changed. `time_divisor` shortens the waits of reconciliation in tests.
    """

    path: Path | None = None
    warnings: tuple[Fault, ...] = ()
    time_divisor: float = 1.0
    origins: Annotated[Mapping[str, Origin], Field(repr=False)] = {}

    @property
    def timezone(self) -> ZoneInfo:
        """The time zone of `general.timezone`."""
        return ZoneInfo(self.general.timezone)

    @property
    def forgotten(self) -> Path:
        """The file with the key of forgotten customers: beside the database file, or beside the configuration."""
        beside = self.database.path
        if self.database.url.reveal():
            beside = self.path or Path("config.toml")
        return beside.with_name(beside.name + ".forgotten")

    @property
    def senders(self) -> tuple[SenderNumber, ...]:
        """The tables `[[sender]]`."""
        return self.sender

    def origin(self, key: str) -> str:
        """Returns where a dotted key was read; for one that was not set, where it would be."""
        return str(self.origins.get(key) or self.path or "configuration")
