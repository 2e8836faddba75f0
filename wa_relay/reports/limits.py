"""Limits for a report, as `stats --fail-on` takes them: `failed>5%,uncertain>0,replied<10%`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wa_relay.reports.figures import Figures

NAMES = ("queued", "sent", "delivered", "read", "failed", "uncertain", "replied", "opted_out", "turns_failed")
WANTED = f"limits such as failed>5%,replied<10% with {', '.join(NAMES)}"
_LIMIT = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(%?)\s*")


class LimitError(ValueError):
    """An expression that is not a list of limits."""

    def __init__(self, part: str) -> None:
        self.message = f"{part.strip()[:40]!r} is not a limit. Use {WANTED}"
        super().__init__(self.message)


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure may not be beyond `value`; with `percent`, its share of the openings (of those sent, for `replied`)."""

    name: str
    sign: str
    value: float
    percent: bool

    def broken_by(self, figures: Figures) -> str | None:
        """Returns how the figures break this limit; None if they don't. A figure that is null breaks none."""
        found = _share(self.name, figures) if self.percent else float(_count(self.name, figures))
        if found is None:
            return None
        beyond = {
            "<": found < self.value,
            ">": found > self.value,
            "<=": found <= self.value,
            ">=": found >= self.value,
        }
        if not beyond[self.sign]:
            return None
        unit = "%" if self.percent else ""
        return f"{self.name} is {found:.10g}{unit} ({self.name}{self.sign}{self.value:.10g}{unit})"


def limits_of(text: str) -> tuple[Limit, ...]:
    """Reads the expression; raises `LimitError`."""
    limits = []
    for part in text.split(","):
        found = _LIMIT.fullmatch(part)
        if found is None or found[1] not in NAMES:
            raise LimitError(part)
        limits.append(Limit(found[1], found[2], float(found[3]), percent=bool(found[4])))
    return tuple(limits)


def _count(name: str, figures: Figures) -> int:
    others = {"replied": figures.replied, "opted_out": figures.opted_out, "turns_failed": figures.failed_turns}
    return others[name] if name in others else int(getattr(figures.openings, name))


def _share(name: str, figures: Figures) -> float | None:
    openings = figures.openings
    every = openings.queued + openings.sent + openings.failed + openings.uncertain + openings.cancelled
    whole = openings.sent if name == "replied" else every
    return round(100.0 * _count(name, figures) / whole, 4) if whole else None
