"""The list of `wa-relay config show`: every key with its value and its source. Secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path

from wa_relay.config.keys import KEYS
from wa_relay.config.list_types import hours_text
from wa_relay.config.loader import Loaded
from wa_relay.config.schema import Config, Origin
from wa_relay.config.secret import Secret

MASK = "***"
DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Setting:
    """A key, its value as JSON has it, and where it was read: `source` is the kind of the place, `where` its name.

    `value` is None for a key that does not exist, and for a value that its key does not accept.
    """

    key: str
    value: object
    source: str
    where: str | None


def settings_of(loaded: Loaded) -> list[Setting]:
    """Returns all keys in the order of the documents, then those that don't exist."""
    wrong = {fault.key for fault in loaded.faults}
    known = [_setting(loaded.config, name, hidden=name in wrong) for name in KEYS]
    return known + [Setting(name, None, origin.kind, origin.where) for name, origin in loaded.unknown.items()]


def _setting(config: Config, name: str, *, hidden: bool) -> Setting:
    origin = config.origins.get(name, DEFAULT)
    value = None if hidden and origin is not DEFAULT else _plain(name, _value_of(config, name))
    return Setting(name, value, origin.kind, origin.where or None)


def _value_of(config: Config, name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _plain(name: str, value: object) -> object:
    """Returns the value as it would be written in the configuration."""
    if isinstance(value, Secret):
        return MASK if value else ""
    if value is None:
        return ""
    if isinstance(value, time):
        return f"{value:%H:%M}"
    if isinstance(value, Mapping):
        if name == "quiet_hours.days":
            return {day: hours_text(spans) for day, spans in value.items()}
        return {key: _plain(name, each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [each.model_dump() if name == "sender" else _plain(name, each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float) else _text_of(value)


def _text_of(value: object) -> str:
    """Returns the text of a path or of a network; a network of one address is written as that address."""
    return str(value) if isinstance(value, Path) else str(value).removesuffix("/32").removesuffix("/128")
