"""The configuration: what is wrong in it, what `serve` lacks, what works but should not stay so. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wa_relay.config import Config, Fault
from wa_relay.doctor.check import Check

NAME = "configuration"


def examine(config: Config | None, faults: Sequence[Fault]) -> list[Check]:
    """One finding a fault, else one that all is well; then the warnings. `config` is None if it can't be used."""
    checks = [_faulty(fault) for fault in faults] or [Check(NAME, "ok", _source(config))]
    if config is not None:
        checks += map(_warned, config.warnings)
        checks += _openings(config)
    return checks


def _source(config: Config | None) -> str:
    if config is None or config.path is None:
        return "there is no file; the environment has everything that `serve` needs"
    return f"{config.path} has everything that `serve` needs"


def _faulty(fault: Fault) -> Check:
    name = f"{NAME}: {fault.key}" if fault.key else NAME
    what, _, then = fault.message.partition(": ")
    fix = then or (f"did you mean {fault.nearest}?" if fault.nearest else f"correct it in {fault.source}")
    # A key that is missing where there is no file has no other place.
    where = f" ({fault.source})" if fault.source != NAME else ""
    return Check(name, "fail", f"{what}{where}", fix)


def _warned(warning: str) -> Check:
    what, _, then = warning.rpartition(": ")
    return Check(NAME, "warn", what, then) if what else Check(NAME, "warn", warning)


def _openings(config: Config) -> Iterator[Check]:
    messages = config.opening.messages
    if not messages:
        fix = "set opening.completed.body or opening.completed.content_sid, unless this is intended"
        yield Check("opening", "warn", "no outcome is followed up: no message is sent after a call", fix)
    for outcome, opening in messages.items():
        if not opening.content_sid:
            yield Check(
                f"opening.{outcome}",
                "warn",
                "no template: a call opens no 24-hour window, and WhatsApp refuses free text outside it (63016)",
                f"set opening.{outcome}.content_sid to an approved template",
            )
