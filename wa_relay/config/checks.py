"""Checks over several keys, and what `serve` needs beyond a valid configuration. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from wa_relay.config.faults import Fault
from wa_relay.config.keys import KEYS
from wa_relay.config.place_types import is_loopback
from wa_relay.config.schema import Config, SenderNumber
from wa_relay.config.secret import Secret
from wa_relay.text.keywords import request_form

SHORT_TOKEN = 16
PLACEHOLDERS = frozenset({"changeme", "change-me", "change_me"})

Rule = Callable[[Config], Iterator[str]]


def quiet_hours(config: Config) -> Iterator[str]:
    """Quiet hours have both ends, and they differ."""
    start, end = config.quiet_hours.start, config.quiet_hours.end
    if (start is None) != (end is None):
        yield "quiet_hours.start and quiet_hours.end go together: set both or none"
    elif start is not None and start == end:
        yield "quiet_hours.start and quiet_hours.end are the same time: leave both empty for none"


def signature(config: Config) -> Iterator[str]:
    """Unsigned webhooks are taken from this machine only."""
    if not config.twilio.verify_signature and not is_loopback(config.server.host):
        yield (
            "false is refused unless server.host is this machine (127.0.0.1), as anyone could then write in "
            "a customer's name: set it to true"
        )


def stranger_agent(config: Config) -> Iterator[str]:
    """An agent for strangers is named."""
    if config.reply.unknown_sender == "agent" and not config.reply.unknown_sender_agent_id:
        yield 'unknown_sender = "agent" needs the id of the agent that answers'


def keywords(config: Config) -> Iterator[str]:
    """A word either ends a conversation or opens it again."""
    yield from _shared(config.opt_out.return_keywords, config.opt_out.keywords, "opt_out.keywords")


def handover_keywords(config: Config) -> Iterator[str]:
    """A word that asks for an operator asks for nothing else."""
    yield from _shared(config.handover.keywords, config.opt_out.keywords, "opt_out.keywords")
    yield from _shared(config.handover.keywords, config.opt_out.return_keywords, "opt_out.return_keywords")


def _shared(keywords: Sequence[str], others: Sequence[str], name: str) -> Iterator[str]:
    taken = set(map(request_form, others)) - {""}
    both = [keyword for keyword in keywords if request_form(keyword) in taken]
    if both:
        yield f"{', '.join(both)}: also in {name}; a keyword can't mean both"


def database(config: Config) -> Iterator[str]:
    """The database is a file or a server; a default path does not count."""
    if config.database.url and "database.path" in config.origins:
        path, url = config.origin("database.path"), config.origin("database.url")
        yield f"database.path ({path}) and database.url ({url}) are both set: leave one of them out"


def alerts(config: Config) -> Iterator[str]:
    """Alerts are signed."""
    if config.alerts.url and not config.alerts.secret:
        yield "alerts.url needs it: whsec_ and base64 of 24 to 64 bytes (echo whsec_$(openssl rand -base64 32))"


def push_token(config: Config) -> Iterator[str]:
    """The push token allows less than the token, so it is another one."""
    if config.server.push_token and config.server.push_token == config.server.token:
        yield "is the same as server.token, which allows everything: generate another one (openssl rand -hex 32)"


def senders(config: Config) -> Iterator[str]:
    """A further number is not the default one."""
    if config.twilio.sender in {sender.number for sender in config.senders}:
        yield f"{config.twilio.sender} is twilio.sender already: list only further numbers"


RULES: tuple[tuple[str, tuple[str, ...], Rule], ...] = (
    ("quiet_hours", ("quiet_hours.start", "quiet_hours.end"), quiet_hours),
    ("twilio.verify_signature", ("server.host",), signature),
    ("reply.unknown_sender_agent_id", ("reply.unknown_sender",), stranger_agent),
    ("opt_out.return_keywords", ("opt_out.keywords",), keywords),
    ("handover.keywords", ("opt_out.keywords", "opt_out.return_keywords"), handover_keywords),
    ("database.url", ("database.path",), database),
    ("alerts.secret", ("alerts.url",), alerts),
    ("server.push_token", ("server.token",), push_token),
    ("sender", ("twilio.sender",), senders),
)
"""For each rule the key that it blames, and the others that it looks at."""


def check(config: Config, faulty: frozenset[str]) -> list[Fault]:
    """Returns what the rules find; a rule that looks at a key already `faulty` is left out."""
    found = []
    for blamed, others, rule in RULES:
        if faulty.isdisjoint((blamed, *others)):
            source = config.origin(blamed if blamed in config.origins or blamed in KEYS else others[0])
            found += [Fault(source, blamed, message) for message in rule(config)]
    return found


def require_serve(config: Config) -> list[Fault]:
    """Returns what `serve` lacks, each with the ways to set it; empty when it can start."""
    lacks = [
        _missing(config, name, what)
        for name, what, value in (
            ("server.token", "the secret that your backend sends as X-Service-Token", config.server.token),
            ("server.public_url", "the https URL under which Twilio reaches this relay", config.server.public_url),
            ("twilio.account_sid", "the SID of your Twilio account", config.twilio.account_sid),
            ("twilio.auth_token", "the auth token of your Twilio account", config.twilio.auth_token),
            ("elevenlabs.api_key", "the API key of your ElevenLabs workspace", config.elevenlabs.api_key),
            (
                "twilio.sender",
                'the WhatsApp number that writes ("whatsapp:+…"), or twilio.messaging_service_sid',
                config.twilio.sender or config.twilio.messaging_service_sid,
            ),
        )
        if not value
    ]
    if config.server.token.reveal().lower() in PLACEHOLDERS:
        message = "is a placeholder that anyone can guess: set a long random one (openssl rand -hex 32)"
        lacks.append(Fault(config.origin("server.token"), "server.token", message))
    return lacks


def _missing(config: Config, name: str, what: str) -> Fault:
    variables = " or ".join(KEYS[name].variables)
    return Fault(config.origin(name), name, f"is missing: set it to {what}, here or as {variables}")


SAMPLES = re.compile(r"^your[-_ ]|<[^<>]*>|x{4}|change[-_]?me|(?<![a-z0-9-])example\.com(?![a-z0-9.-])", re.IGNORECASE)
"""Placeholders of the documentation, to be replaced by real values."""
FOR_CUSTOMERS = ("body", "fallback", "confirmation", "text_only", "notice", "default_name")
"""The last parts of keys that hold texts for customers, in which anything may stand."""


def sample_values(config: Config) -> Iterator[Fault]:
    """Finds values that were copied from a document and never replaced. Shows none: one may be part of a secret."""
    for name, origin in config.origins.items():
        if name.rpartition(".")[2] in FOR_CUSTOMERS:
            continue
        value: object = config
        for part in name.split("."):
            value = getattr(value, part)
        if any(map(SAMPLES.search, _texts(value))):
            yield Fault(str(origin), name, "is a sample value: replace it with your own")


def _texts(value: object) -> Iterator[str]:
    """Yields the texts in a value, also those of a list and of its tables."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, SenderNumber):
        yield from _texts((value.number, value.agent_ids))


def unattended_handovers(config: Config) -> Iterator[Fault]:
    """Yields a warning if a customer can ask for an operator and no operator would know."""
    can_arise = config.handover.keywords or config.handover.tool or config.handover.on_failure
    if can_arise and not config.console.enabled and not config.alerts.url:
        message = (
            "a customer can ask for an operator, and no operator would know: set console.enabled or alerts.url, "
            "or empty handover.keywords and handover.tool"
        )
        yield Fault(config.origin("handover.keywords"), "handover", message)


def warnings(config: Config) -> Iterator[Fault]:
    """Yields what works but should be changed."""
    if 0 < len(config.server.token) < SHORT_TOKEN:
        message = (
            f"is short ({len(config.server.token)} characters): a random one of 32 can't be guessed "
            "(openssl rand -hex 32)"
        )
        yield Fault(config.origin("server.token"), "server.token", message)
    if config.quiet_hours.preset and not config.opening.min_gap_hours:
        message = (
            "covers the hours of Ley 2300, not its rules on channels and frequency: set opening.min_gap_hours, "
            "and check them yourself"
        )
        yield Fault(config.origin("quiet_hours.preset"), "quiet_hours.preset", message)
    yield from unattended_handovers(config)
