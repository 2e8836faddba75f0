"""Settings: TOML, environment and flags in, one frozen `Config` out, or all faults at once.

`schema` has the tables, `keys` their names, `value_types`, `place_types` and `list_types` the types of their values.
`sources` reads what is written, `loader` puts it together, `checks` looks at several keys together.
"""

from wa_relay.config.checks import require_serve
from wa_relay.config.example import example_text
from wa_relay.config.faults import ConfigError, Fault
from wa_relay.config.keys import KEYS
from wa_relay.config.loader import load
from wa_relay.config.place_types import Network
from wa_relay.config.schema import (
    OUTCOMES,
    Alerts,
    Config,
    Console,
    Database,
    ElevenLabs,
    General,
    Handover,
    Log,
    Media,
    Opening,
    OpeningMessage,
    OptOut,
    Poll,
    QuietHours,
    Reply,
    Retention,
    SenderNumber,
    Server,
    Twilio,
)
from wa_relay.config.secret import Secret
from wa_relay.config.sources import discover

__all__ = [
    "KEYS",
    "OUTCOMES",
    "Alerts",
    "Config",
    "ConfigError",
    "Console",
    "Database",
    "ElevenLabs",
    "Fault",
    "General",
    "Handover",
    "Log",
    "Media",
    "Network",
    "Opening",
    "OpeningMessage",
    "OptOut",
    "Poll",
    "QuietHours",
    "Reply",
    "Retention",
    "Secret",
    "SenderNumber",
    "Server",
    "Twilio",
    "discover",
    "example_text",
    "load",
    "require_serve",
]
