"""The sources together, in their order, read by their kinds, into one `Config`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from wa_relay.config import checks
from wa_relay.config.faults import ConfigError, Fault, WrongValueError
from wa_relay.config.kinds import DECIMAL
from wa_relay.config.schema import (
    DEFAULT_MESSAGES,
    KEYS,
    OUTCOMES,
    SECTIONS,
    Config,
    OpeningMessage,
)
from wa_relay.config.sources import DIVISOR_VARIABLE, Layer, from_environment, from_file, from_flags


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
    file = cwd / path if path else None
    written = from_flags(flags or {}).over(from_environment(env, cwd)).over(from_file(file) if file else Layer())
    values, wrong = _read(written)
    divisor, divisor_faults = _time_divisor(env)
    config = Config(
        **_sections(values, file.parent if file else cwd),
        path=file,
        time_divisor=divisor,
        origins={name: given.source for name, given in written.values.items()},
    )
    faults = written.faults + wrong + divisor_faults + checks.check(config, frozenset(fault.key for fault in wrong))
    if serving:
        blamed = {fault.key for fault in faults}
        faults += [fault for fault in checks.require_serve(config) if fault.key not in blamed]
    if faults:
        raise ConfigError(faults)
    return replace(config, warnings=(*written.warnings, *checks.warnings(config)))


def _read(written: Layer) -> tuple[dict[str, object], list[Fault]]:
    """Reads each value by its kind. A wrong one is left out, so that its default stands in."""
    values: dict[str, object] = {}
    faults: list[Fault] = []
    for name, given in written.values.items():
        try:
            values[name] = KEYS[name].kind.read(given.value)
        except WrongValueError as wrong:
            faults.append(Fault(given.source, name, wrong.message, wrong.nearest))
    faults += _unusable_defaults(values, {fault.key for fault in faults})
    return values, faults


def _unusable_defaults(values: Mapping[str, object], faulty: set[str]) -> list[Fault]:
    """A default depends on the machine in one case: the time zone data may not be there."""
    name = "general.timezone"
    if name in values or name in faulty:
        return []
    try:
        KEYS[name].kind.read(SECTIONS["general"]().timezone)
    except WrongValueError as wrong:
        return [Fault("default", name, wrong.message)]
    return []


def _sections(values: Mapping[str, object], base: Path) -> dict[str, Any]:
    sections = {name: section(**_table(values, name, section)) for name, section in SECTIONS.items()}
    sections["senders"] = values.get("sender", ())
    sections["opening"] = replace(sections["opening"], messages=_messages(values))
    sections["database"] = replace(sections["database"], path=_absolute(base, sections["database"].path))
    if sections["log"].file:
        sections["log"] = replace(sections["log"], file=_absolute(base, sections["log"].file))
    return sections


def _table(values: Mapping[str, object], table: str, section: Any) -> dict[str, Any]:
    names = (each.name for each in fields(section))
    return {name: values[f"{table}.{name}"] for name in names if f"{table}.{name}" in values}


def _messages(values: Mapping[str, object]) -> dict[str, OpeningMessage]:
    messages = {
        outcome: replace(
            DEFAULT_MESSAGES.get(outcome, OpeningMessage()), **_table(values, f"opening.{outcome}", OpeningMessage)
        )
        for outcome in OUTCOMES
    }
    return {outcome: message for outcome, message in messages.items() if message}


def _absolute(base: Path, path: Path) -> Path:
    return base.absolute() / path


def _time_divisor(env: Mapping[str, str]) -> tuple[float, list[Fault]]:
    text = env.get(DIVISOR_VARIABLE) or "1"
    divisor = float(text) if re.fullmatch(DECIMAL, text) else 0.0
    if math.isfinite(divisor) and divisor >= 1:
        return divisor, []
    return 1.0, [Fault(f"environment variable {DIVISOR_VARIABLE}", "", "expected a number from 1")]
