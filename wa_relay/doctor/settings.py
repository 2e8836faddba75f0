"""Checks the configuration: its faults, what `serve` lacks, and what works but should be changed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wa_relay.config import Config, Fault
from wa_relay.config.checks import sample_values
from wa_relay.doctor.check import Check

NAME = "configuration"
SANDBOX = "whatsapp:+14155238886"
NOT_NEEDED = ("elevenlabs.webhook_secret", "server.push_token", "alerts.", "log.", "media.", "console.")
"""Keys without which messages still go out and come in."""

HARMLESS = {
    "server": ("token", "push_token", "trusted_proxies"),
    "twilio": ("sender", "messaging_service_sid", "messages_per_second"),
    "elevenlabs": ("webhook_secret", "transport", "turn_timeout_seconds", "settle_seconds"),
    "database": (),
}
"""The keys of a table on which none of the table's other checks depends."""


def examine(config: Config, faults: Sequence[Fault]) -> list[Check]:
    """One finding for each fault, or one that all is well; then the warnings."""
    blamed = {fault.key for fault in faults}
    samples = [fault for fault in sample_values(config) if fault.key not in blamed]
    checks = [_faulty(fault) for fault in faults]
    checks += [_faulty(fault, needed=not fault.key.startswith(NOT_NEEDED)) for fault in samples]
    if not checks:
        checks.append(Check(NAME, "ok", _source(config)))
    checks += [_faulty(warning, needed=False) for warning in config.warnings]
    return [*checks, *_check_openings(config)]


def blocked(config: Config, faults: Sequence[Fault]) -> dict[str, str]:
    """Returns the tables of which nothing can be used, each with the reason: a faulty value may be any of them."""
    reasons: dict[str, str] = {}
    for fault in (*faults, *sample_values(config)):
        if not fault.key:
            return dict.fromkeys(HARMLESS, "the configuration can't be used")
        table, _, key = fault.key.partition(".")
        if table in HARMLESS and key not in HARMLESS[table]:
            reasons.setdefault(table, f"{fault.key} has to be corrected first")
    return reasons


def _source(config: Config) -> str:
    if config.path is None:
        return "there is no file; the environment has everything that `serve` needs"
    return f"{config.path} has everything that `serve` needs"


def _faulty(fault: Fault, *, needed: bool = True) -> Check:
    name = f"{NAME}: {fault.key}" if fault.key else NAME
    if not needed and not fault.key:
        name = f"{NAME} file"
    what, _, then = fault.message.partition(": ")
    fix = then or (f"did you mean {fault.nearest}?" if fault.nearest else f"correct it in {fault.source}")
    # Without a file, a missing key has no better place.
    where = f" ({fault.source})" if fault.source != NAME else ""
    return Check(name, "fail" if needed else "warn", f"{what}{where}", fix)


def _check_openings(config: Config) -> Iterator[Check]:
    messages = config.opening.messages
    if not messages:
        fix = "set opening.completed.body or opening.completed.content_sid, unless this is intended"
        yield Check("opening", "warn", "no outcome is followed up: no message is sent after a call", fix)
    for outcome, opening in messages.items():
        if opening.content_sid:
            continue
        if config.twilio.sender == SANDBOX and not config.twilio.messaging_service_sid:
            message = "no template: the sandbox takes free text to customers who wrote to it in the last 24 hours"
            yield Check(f"opening.{outcome}", "ok", message)
            continue
        yield Check(
            f"opening.{outcome}",
            "warn",
            "no template: a call opens no 24-hour window, and WhatsApp refuses free text outside it (63016)",
            f"set opening.{outcome}.content_sid to an approved template",
        )
