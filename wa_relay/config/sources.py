"""Where settings are written: the file, the environment and flags, each into a `Layer`.

Nothing is checked here but names; values stay as they were written until their kind reads them.
"""

from __future__ import annotations

import os.path
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wa_relay.config.faults import Fault, WrongValueError, nearest_name
from wa_relay.config.kinds import json_of
from wa_relay.config.schema import KEYS, TABLES, Key, variable_of

SYSTEM_FILE = Path("/etc/wa-relay/config.toml")
PREFIX = "WA_RELAY_"
CONFIG_VARIABLE = "WA_RELAY_CONFIG"
DIVISOR_VARIABLE = "WA_RELAY_TIME_DIVISOR"
SIZE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written, and where."""

    value: object = field(repr=False)
    source: str


@dataclass(slots=True)
class Layer:
    """What one source says: values by dotted key, and what is wrong with it."""

    values: dict[str, Given] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def over(self, lower: Layer) -> Layer:
        """Returns both as one, where this layer's values win."""
        return Layer(lower.values | self.values, lower.faults + self.faults, lower.warnings + self.warnings)

    def add_table(self, table: str, content: Mapping[str, object], source: str) -> None:
        """Takes a table and those in it. `table` is its dotted name, empty for the whole file."""
        for name, value in content.items():
            dotted = f"{table}.{name}" if table else name
            if dotted in KEYS:
                self.values[dotted] = Given(value, source)
            elif dotted not in TABLES:
                self.faults.append(_unknown(dotted, value, source))
            elif isinstance(value, dict):
                self.add_table(dotted, value, source)
            else:
                self.faults.append(Fault(source, dotted, f"is a table: write [{dotted}] and its keys below it"))


def _unknown(dotted: str, value: object, source: str) -> Fault:
    shown = dotted if dotted.isprintable() else ascii(dotted)
    if isinstance(value, dict):
        return Fault(source, shown, "there is no such table", nearest_name(dotted, TABLES))
    return Fault(source, shown, "there is no such key", nearest_name(dotted, KEYS))


def discover(
    explicit: Path | None, env: Mapping[str, str], cwd: Path, *, system_file: Path = SYSTEM_FILE
) -> Path | None:
    """Returns the configuration file to read, None when there is none.

    Looked for in this order: the one named, `$WA_RELAY_CONFIG`, `./config.toml`, the user's, the
    system's. The first two are returned even if they don't exist, for `load` to complain.
    """
    named = explicit or (Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else None)
    if named:
        return cwd / named
    # Unlike Path.is_file this is quiet about folders that may not be looked into, such as the one sudo was called from.
    return next((path for path in _usual_files(env, cwd, system_file) if os.path.isfile(path)), None)


def _usual_files(env: Mapping[str, str], cwd: Path, system_file: Path) -> Iterator[Path]:
    yield cwd / "config.toml"
    if env.get("XDG_CONFIG_HOME"):
        yield cwd / env["XDG_CONFIG_HOME"] / "wa-relay" / "config.toml"
    elif env.get("HOME"):
        yield cwd / env["HOME"] / ".config" / "wa-relay" / "config.toml"
    yield system_file


def from_file(path: Path) -> Layer:
    """Returns what the file says; a file that can't be read or is no TOML is a fault."""
    layer = Layer()
    try:
        layer.add_table("", tomllib.loads(_text_of(path)), str(path))
        _warn_if_open(layer, path)
    except OSError as error:
        layer.faults.append(Fault(str(path), "", _why_unreadable(error)))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        layer.faults.append(Fault(str(path), "", f"is not UTF-8 (at line {line}): save it as UTF-8"))
    except (ValueError, RecursionError) as error:
        layer.faults.append(Fault(str(path), "", f"is not valid TOML: {_toml_error(error)}"))
    return layer


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise OSError(f"is over {SIZE_LIMIT} bytes: this is no configuration file")
    return content.decode("utf-8-sig")


def _warn_if_open(layer: Layer, path: Path) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        layer.warnings.append(f"{path}: others can read or change it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")


def _why_unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file: `wa-relay init` writes one"
    if error.strerror:
        return f"can't be read: {error.strerror}"
    return str(error)


def _toml_error(error: Exception) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    return "a number is too long" if isinstance(error, ValueError) else "it is nested too deeply"


def from_environment(env: Mapping[str, str], cwd: Path) -> Layer:
    """Returns what the environment says: `WA_RELAY_` names, the short names, secret files."""
    layer = Layer()
    for table in TABLES:
        if (text := env.get(variable_of(table))) is not None:
            _add_json_table(layer, table, text)
    for key in KEYS.values():
        _add_variable(layer, key, env, cwd)
    known = set(_known_variables())
    for name in sorted(env):
        if name.startswith(PREFIX) and name not in known:
            nearest = nearest_name(name.removeprefix(PREFIX), KEYS)
            right = variable_of(nearest) if nearest else None
            layer.faults.append(Fault(f"environment variable {ascii(name)[1:-1]}", "", "there is no such key", right))
    return layer


def _known_variables() -> Iterator[str]:
    yield from (CONFIG_VARIABLE, DIVISOR_VARIABLE)
    yield from map(variable_of, TABLES)
    for key in KEYS.values():
        yield variable_of(key.name)
        if key.may_be_in_file:
            yield variable_of(key.name) + "_FILE"


def _add_json_table(layer: Layer, table: str, text: str) -> None:
    source = f"environment variable {variable_of(table)}"
    try:
        content = json_of(text)
    except WrongValueError:
        content = None
    if isinstance(content, dict):
        layer.add_table(table, content, source)
    else:
        layer.faults.append(Fault(source, table, "expected a table, written as a JSON object"))


def _add_variable(layer: Layer, key: Key, env: Mapping[str, str], cwd: Path) -> None:
    """Takes the strongest name that holds something; an empty one counts if there is no other."""
    empty: Given | None = None
    for name in key.variables:
        source = f"environment variable {name}"
        if env.get(name):
            layer.values[key.name] = _given(key, env[name], source)
            return
        if name in env:
            empty = empty or _given(key, "", source)
        if key.may_be_in_file and env.get(f"{name}_FILE"):
            _add_secret_file(layer, key, f"{source}_FILE", env[f"{name}_FILE"], cwd)
            return
    if empty:
        layer.values[key.name] = empty


def _given(key: Key, text: str, source: str) -> Given:
    # Text that is no JSON stays text, and the kind says what it expected instead.
    try:
        return Given(key.kind.from_text(text), source)
    except WrongValueError:
        return Given(text, source)


def _add_secret_file(layer: Layer, key: Key, source: str, written: str, cwd: Path) -> None:
    # Somebody may have written the secret itself where its file belongs: that is no absolute path.
    where = f"{source} ({written})" if written.startswith("/") else source
    try:
        secret = _text_of(cwd / written).rstrip("\r\n")
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else _why_unreadable(error)
        layer.faults.append(Fault(where, key.name, reason))
    except UnicodeDecodeError:
        layer.faults.append(Fault(where, key.name, "the file is not text"))
    else:
        if secret:
            layer.values[key.name] = Given(secret, where)
        else:
            layer.faults.append(Fault(where, key.name, "the file is empty"))


def from_flags(flags: Mapping[str, str]) -> Layer:
    """Returns what the command line says: dotted keys and their texts."""
    layer = Layer()
    for name, text in flags.items():
        if key := KEYS.get(name):
            layer.values[name] = _given(key, text, "command line")
        else:
            layer.faults.append(_unknown(name, text, "command line"))
    return layer
