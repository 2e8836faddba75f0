"""The names of all keys and tables: in the file and in the environment. They follow from the fields of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from wa_relay.config.schema import Table, Tables
from wa_relay.config.secret import Secret

SHORT_NAMES = {
    "server.token": "MICROSERVICE_TOKEN",
    "database.url": "DATABASE_URL",
    "twilio.account_sid": "TWILIO_ACCOUNT_SID",
    "twilio.auth_token": "TWILIO_AUTH_TOKEN",
    "elevenlabs.api_key": "ELEVENLABS_API_KEY",
}
"""Keys that have a second name in the environment."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its dotted name, what it accepts and its names in the environment."""

    name: str
    field: FieldInfo

    @property
    def short(self) -> str | None:
        """The second name in the environment."""
        return SHORT_NAMES.get(self.name)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment names, the strongest first."""
        return (variable_of(self.name), self.short) if self.short else (variable_of(self.name),)

    @property
    def secret(self) -> bool:
        """True if the value is never shown."""
        return self.field.annotation is Secret

    @property
    def may_be_in_file(self) -> bool:
        """True if `NAME_FILE` may hold it: a secret, or what comes with one."""
        return self.short is not None or self.secret

    @property
    def type(self) -> Any:
        """The plain type: `bool`, `int`, `float`, `tuple` for a list, `Mapping` for a table; anything else is text."""
        return get_origin(self.field.annotation) or self.field.annotation


def variable_of(name: str) -> str:
    """Returns the environment name of a dotted key or table."""
    return "WA_RELAY_" + name.upper().replace(".", "_")


def _fields(table: type[Table], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields all tables and keys with their dotted names, each table before its keys."""
    for name, field in table.model_fields.items():
        yield prefix + name, field
        if is_table(field):
            yield from _fields(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]


def is_table(field: FieldInfo) -> bool:
    """True for a table, false for a key."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, Table)


KEYS: Mapping[str, Key] = {name: Key(name, field) for name, field in _fields(Tables) if not is_table(field)}
TABLES: tuple[str, ...] = tuple(name for name, field in _fields(Tables) if is_table(field))
