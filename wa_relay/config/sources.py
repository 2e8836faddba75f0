"""Reads settings from the file, the environment and flags, each into a `Layer`.

Only names are checked here; values stay as they were written. pydantic-settings reads the same places, but it doesn't
say where it read a value, ignores unknown names of the environment and stops at the first value that is not JSON.
"""

from __future__ import annotations

import json
import os.path
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wa_relay.config.faults import Fault, nearest_name
from wa_relay.config.keys import KEYS, TABLES, Key, variable_of
from wa_relay.config.schema import Origin

SYSTEM_FILE = Path("/etc/wa-relay/config.toml")
PREFIX = "WA_RELAY_"
CONFIG_VARIABLE = "WA_RELAY_CONFIG"
DIVISOR_VARIABLE = "WA_RELAY_TIME_DIVISOR"
SIZE_LIMIT = 1 << 20
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Given:
    """A value as written, with its source."""

    value: object = field(repr=False)
    origin: Origin


@dataclass(slots=True)
class Layer:
    """The content of one source: values by dotted key, its faults, and its unknown keys."""

    values: dict[str, Given] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    unknown: dict[str, Origin] = field(default_factory=dict)

    def over(self, lower: Layer) -> Layer:
        """Returns both as one, where this layer's values win."""
        return Layer(
            lower.values | self.values,
            lower.faults + self.faults,
            lower.warnings + self.warnings,
            lower.unknown | self.unknown,
        )

    def add_table(self, table: str, content: Mapping[str, object], origin: Origin) -> None:
        """Takes a table and those in it. `table` is its dotted name, empty for the whole file."""
        for name, value in content.items():
            dotted = f"{table}.{name}" if table else name
            if dotted in KEYS:
                self.values[dotted] = Given(value, origin)
            elif dotted not in TABLES:
                self.add_unknown(dotted, value, origin)
            elif isinstance(value, dict):
                self.add_table(dotted, value, origin)
            else:
                self.faults.append(Fault(str(origin), dotted, f"is a table: write [{dotted}] and its keys below it"))

    def add_unknown(self, dotted: str, value: object, origin: Origin) -> None:
        """Notes a key or a table that does not exist."""
        shown = dotted if dotted.isprintable() else ascii(dotted)
        what, names = ("table", TABLES) if isinstance(value, dict) else ("key", tuple(KEYS))
        self.unknown[shown] = origin
        self.faults.append(Fault(str(origin), shown, f"there is no such {what}", nearest_name(dotted, names)))


def discover(
    explicit: Path | None, env: Mapping[str, str], cwd: Path, *, system_file: Path = SYSTEM_FILE
) -> Path | None:
    """Returns the configuration file to read, None without one.

    The order is: the one named, `$WA_RELAY_CONFIG`, `./config.toml`, the user's, the system's.
    The first two are returned even if they don't exist, so that `load` reports it.
    """
    named = explicit or (Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else None)
    if named:
        return cwd / named
    # Unlike Path.is_file this ignores folders without permission, such as the one that sudo was called from.
    return next((path for path in _usual_files(env, cwd, system_file) if os.path.isfile(path)), None)


def _usual_files(env: Mapping[str, str], cwd: Path, system_file: Path) -> Iterator[Path]:
    yield cwd / "config.toml"
    if env.get("XDG_CONFIG_HOME"):
        yield cwd / env["XDG_CONFIG_HOME"] / "wa-relay" / "config.toml"
    elif env.get("HOME"):
        yield cwd / env["HOME"] / ".config" / "wa-relay" / "config.toml"
    yield system_file


def from_file(path: Path) -> Layer:
    """Returns what the file says. A file that can't be read or is not TOML is a fault."""
    layer = Layer()
    try:
        layer.add_table("", tomllib.loads(_text_of(path)), Origin("file", str(path)))
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
        raise OSError(f"is over {SIZE_LIMIT} bytes: too large for a configuration file")
    return content.decode("utf-8-sig")


def _warn_if_open(layer: Layer, path: Path) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        message = f"others can read or change it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
        layer.warnings.append(Fault(str(path), "", message))


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
            origin = Origin("env", ascii(name)[1:-1])
            layer.unknown[origin.where] = origin
            right = variable_of(nearest) if nearest else None
            layer.faults.append(Fault(str(origin), "", "there is no such key", right))
    return layer


def _known_variables() -> Iterator[str]:
    yield from (CONFIG_VARIABLE, DIVISOR_VARIABLE)
    yield from map(variable_of, TABLES)
    for key in KEYS.values():
        yield variable_of(key.name)
        if key.may_be_in_file:
            yield variable_of(key.name) + "_FILE"


def _add_json_table(layer: Layer, table: str, text: str) -> None:
    origin = Origin("env", variable_of(table))
    content = _json_of(text)
    if isinstance(content, dict):
        layer.add_table(table, content, origin)
    else:
        layer.faults.append(Fault(str(origin), table, "should be a table, written as a JSON object"))


def _add_variable(layer: Layer, key: Key, env: Mapping[str, str], cwd: Path) -> None:
    """Takes the strongest name that holds something. An empty one counts if there is no other."""
    for name in key.variables:
        if env.get(name):
            layer.values[key.name] = Given(_value_of(key, env[name]), Origin("env", name))
            return
        if name in env:
            layer.values.setdefault(key.name, Given(_value_of(key, ""), Origin("env", name)))
        if key.may_be_in_file and env.get(f"{name}_FILE"):
            layer.values.pop(key.name, None)
            _add_secret_file(layer, key, f"{name}_FILE", env[f"{name}_FILE"], cwd)
            return


def _value_of(key: Key, text: str) -> object:
    """Reads a text as a value of TOML. Returns the text itself if it is not one: pydantic then refuses it."""
    if key.type is bool:
        return BOOLEANS.get(text.strip().lower(), text)
    if key.type in (int, float):
        return _number_of(text, key.type)
    if key.type is tuple and not text.lstrip().startswith(("[", "{")):
        return [word for item in text.split(",") if (word := item.strip())]
    if key.type in (tuple, dict, Mapping):
        return _json_of(text) if text.strip() else {}
    return text


def _number_of(text: str, kind: type[int] | type[float]) -> object:
    # Python also reads 1_000 and the digits of other scripts.
    try:
        return kind(text) if text.isascii() and "_" not in text else text
    except ValueError:
        return text


def _json_of(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _add_secret_file(layer: Layer, key: Key, name: str, written: str, cwd: Path) -> None:
    # A user may have written the secret itself instead of its file: that is not an absolute path.
    where = f"environment variable {name} ({written})" if written.startswith("/") else f"environment variable {name}"
    try:
        secret = _text_of(cwd / written).rstrip("\r\n")
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else _why_unreadable(error)
        layer.faults.append(Fault(where, key.name, reason))
    except UnicodeDecodeError:
        layer.faults.append(Fault(where, key.name, "the file is not text"))
    else:
        if secret:
            layer.values[key.name] = Given(secret, Origin("secret_file", str(cwd / written)))
        else:
            layer.faults.append(Fault(where, key.name, "the file is empty"))


def from_flags(flags: Mapping[str, str]) -> Layer:
    """Returns what the command line says: dotted keys and their texts."""
    layer, origin = Layer(), Origin("flag", "command line")
    for name, text in flags.items():
        if key := KEYS.get(name):
            layer.values[name] = Given(_value_of(key, text), origin)
        else:
            layer.add_unknown(name, text, origin)
    return layer
