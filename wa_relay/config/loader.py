"""The sources together, in their order, read by pydantic into one `Config`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError, create_model
from pydantic_core import ErrorDetails

from wa_relay.config import checks
from wa_relay.config.faults import ConfigError, Fault, WrongValueError, nearest_name
from wa_relay.config.keys import KEYS, TABLES, is_table
from wa_relay.config.schema import Config, Origin, SenderNumber, Table, Tables
from wa_relay.config.sources import DIVISOR_VARIABLE, Layer, from_environment, from_file, from_flags
from wa_relay.config.value_types import shown

SAID = {
    "bool_type": "should be true or false",
    "dict_type": "should be a table (in the environment, a JSON object)",
    "float_type": "should be a number",
    "int_type": "should be a whole number",
    "model_type": "should be a table (in the environment, a JSON object)",
    "string_type": "should be text in quotes",
}
"""pydantic's texts that are about Python rather than about TOML."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as far as it can be read: a value that is wrong is at its default in `config`."""

    config: Config
    faults: tuple[Fault, ...]
    unknown: Mapping[str, Origin]


def load(
    path: Path | None,
    env: Mapping[str, str],
    flags: Mapping[str, str] | None = None,
    *,
    cwd: Path,
    serving: bool = False,
) -> Config:
    """Returns the settings in force: flags over the environment over the file over the defaults.

    `flags` maps dotted keys to their texts. Relative paths in the settings start at the file's folder, without a
    file at `cwd`. `serving` also asks for what `serve` needs. Raises `ConfigError` with all faults.
    """
    loaded = read(path, env, flags, cwd=cwd, serving=serving)
    if loaded.faults:
        raise ConfigError(loaded.faults)
    return loaded.config


def read(
    path: Path | None,
    env: Mapping[str, str],
    flags: Mapping[str, str] | None = None,
    *,
    cwd: Path,
    serving: bool = False,
) -> Loaded:
    """Reads what `load` loads, and returns the faults beside it."""
    file = cwd / path if path else None
    written = from_flags(flags or {}).over(from_environment(env, cwd)).over(from_file(file) if file else Layer())
    tables, wrong = _validated(written)
    divisor, divisor_faults = _time_divisor(env)
    config = Config.model_construct(
        **_with_absolute_paths(tables, file.parent if file else cwd),
        path=file,
        time_divisor=divisor,
        origins={name: given.origin for name, given in written.values.items()},
    )
    faults = written.faults + wrong + divisor_faults
    faults += checks.check(config, frozenset(fault.key for fault in wrong))
    if serving:
        blamed = {fault.key for fault in faults}
        faults += [fault for fault in checks.require_serve(config) if fault.key not in blamed]
    warnings = (*written.warnings, *checks.warnings(config))
    return Loaded(config.model_copy(update={"warnings": warnings}), tuple(faults), written.unknown)


CHECKED = ("general", "server")
"""The tables in which a default is checked too."""


def _validated(written: Layer) -> tuple[Tables, list[Fault]]:
    """Reads all values at once. Wrong ones are left out, so that their defaults are used."""
    values = {name: given.value for name, given in written.values.items()}
    try:
        return _read_tables(values), []
    except ValidationError as error:
        found = error.errors(include_url=False)
    faults = [_fault(each, written) for each in found]
    wrong = {fault.key for fault in faults}
    if not wrong & set(values):  # a default that this machine can't use
        return Tables.model_construct(), faults
    right, _ = _validated(Layer({name: given for name, given in written.values.items() if name not in wrong}))
    return right, faults


def _read_tables(values: Mapping[str, object]) -> Tables:
    """Reads the values by tables; raises pydantic's `ValidationError` with all that is wrong.

    Only the tables that are written are read: every command would wait while pydantic prepares all of them. The
    others have their defaults.
    """
    named = {*CHECKED, *(name.partition(".")[0] for name in values)}
    written = [name for name in Tables.model_fields if name in named]
    fields: dict[str, Any] = {name: (Tables.__annotations__[name], Tables.model_fields[name]) for name in written}
    read = create_model("Written", __base__=Table, **fields).model_validate(_nested(values, written))
    defaults = {name: _default(field.annotation) for name, field in Tables.model_fields.items() if is_table(field)}
    return Tables.model_construct(**defaults | {name: getattr(read, name) for name in written})


def _default(table: Any) -> Table:
    """Makes a table and those in it of their defaults, without having pydantic prepare them."""
    inner = {name: _default(field.annotation) for name, field in table.model_fields.items() if is_table(field)}
    made: Table = table.model_construct(**inner)
    return made


def _nested(values: Mapping[str, object], tables: Collection[str]) -> dict[str, Any]:
    """Returns the values by tables, with all those in `tables`, so that pydantic builds none of them itself."""
    nested: dict[str, Any] = {}
    inside = (name for name in TABLES if name.partition(".")[0] in tables)
    for name in (*inside, *values):
        *parents, leaf = name.split(".")
        table = nested
        for parent in parents:
            table = table[parent]
        table[leaf] = values.get(name, {})
    return nested


def _fault(error: ErrorDetails, written: Layer) -> Fault:
    """Makes a fault of pydantic's error: the key, the place in its value, and what is expected there."""
    place = [str(part) if isinstance(part, str) else part for part in error["loc"]]
    depth = next((n for n in (1, 2, 3) if ".".join(map(str, place[:n])) in KEYS), len(place))
    name = ".".join(map(str, place[:depth]))
    given = written.values.get(name)
    message, nearest = _message(error, name, place[depth:])
    where = "".join(_place(part, name) for part in place[depth:])
    return Fault(str(given.origin) if given else "default", name, where + message, nearest)


def _place(part: str | int, key: str) -> str:
    if isinstance(part, int):
        return f"{'table' if key == 'sender' else 'item'} {part + 1}: "
    return f"{part if part.isprintable() else ascii(part)}: "


def _message(error: ErrorDetails, key: str, rest: Sequence[str | int]) -> tuple[str, str | None]:
    wrong = error.get("ctx", {}).get("error")
    if isinstance(wrong, WrongValueError):
        return wrong.message, wrong.nearest
    if error["type"] == "extra_forbidden":
        return "there is no such key", nearest_name(str(rest[-1]), SenderNumber.model_fields)
    if error["type"] == "missing":
        return "is missing", None
    text = SAID.get(error["type"]) or error["msg"].removeprefix("Input ")
    choices = _choices(key) if error["type"] == "literal_error" else ()
    nearest = nearest_name(str(error["input"]), choices) if choices else None
    return f"{text}, not {shown(error['input'])}", nearest


def _choices(key: str) -> Iterable[str]:
    return tuple(filter(None, get_args(KEYS[key].field.annotation)))


def _with_absolute_paths(tables: Tables, base: Path) -> dict[str, Any]:
    """Returns the tables by name, the paths in them made absolute."""
    found = {name: getattr(tables, name) for name in Tables.model_fields}
    base = base.absolute()
    found["database"] = tables.database.model_copy(update={"path": base / tables.database.path})
    if tables.log.file:
        found["log"] = tables.log.model_copy(update={"file": base / tables.log.file})
    return found


def _time_divisor(env: Mapping[str, str]) -> tuple[float, list[Fault]]:
    text = env.get(DIVISOR_VARIABLE) or "1"
    try:
        divisor = float(text)
    except ValueError:
        divisor = 0.0
    if math.isfinite(divisor) and divisor >= 1:
        return divisor, []
    return 1.0, [Fault(f"environment variable {DIVISOR_VARIABLE}", "", "should be a number from 1")]
