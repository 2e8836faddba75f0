"""Chooses the next fault: planned ones first, then by seeded chance. Pure; `playing.py` does it to a request.

The names are those of the project's list of faults (`FAULTS`).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

FAULTS: dict[str, str] = {
    "F4": "connection reset before the request is read",
    "F5": "request read, nothing made, connection closed",
    "F6": "message made, connection closed before the answer",
    "F7": "message made, no answer, connection closed after `hold` seconds",
    "F8": "no answer, connection closed after `hold` seconds; the message is made after `seconds`, client or not",
    "F9": "500, nothing made",
    "F10": "500, message made",
    "F11": "HTML page of a proxy with `status`",
    "F12": "429 with `retry_after`",
    "F13": "201 cut at byte `at`",
    "F14": "201 with HTML",
    "F15": "201 without a SID, or with wrong types",
    "F16": "answer that drips, a byte each `seconds`",
    "F17": "answer of `size` bytes, or as many packed",
    "F18": "redirect to another host",
    "F19": "401",
    "F20": "400 with `code`",
    "F21": "receipts before the 201, twice, in reverse, or never; a webhook after the next one, twice, or never",
    "F22": "list that lags by `seconds`, misses the queued, repeats, or loops",
    "F24": "list with another customer's message of the same text",
}
WAYS: dict[str, tuple[str, ...]] = {
    "F13": ("short", "cut"),
    "F15": ("no_sid", "null_sid", "wrong_types", "array"),
    "F17": ("plain", "gzip"),
    "F21": ("early", "duplicate", "reverse", "never"),
    "F22": ("lag", "misses_queued", "repeat", "loop"),
}
"""The ways to play a fault that has several; the first one is the default."""

_ANSWERS = frozenset({"F4", "F5", "F7", "F9", "F11", "F12", "F13", "F14", "F15", "F16", "F17", "F18", "F19"})
PLAYABLE: dict[str, frozenset[str]] = {
    "create": _ANSWERS | {"F6", "F8", "F10", "F20"},
    "list": _ANSWERS | {"F22", "F24"},
    "fetch": _ANSWERS,
    "callback": frozenset({"F21"}),
    "webhook": frozenset({"F21"}),
}
"""The sensible faults of each operation. `callback` is taken for each message made, `webhook` for each inbound one."""

_MADE = frozenset({"F6", "F7", "F10", "F13", "F14", "F15", "F16", "F17"})
_EITHER = ("F11", "F13", "F14", "F15", "F17")
_MEGABYTE = 1024 * 1024
RETRY_AFTER = (None, "1", "3600", "-1", "1000000000", "Wed, 25 Nov 2026 10:00:00 GMT", "soon")
CODES = (21211, 21610, 21617, 63016, 63024, 99999)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, by its name in `FAULTS`.

    `made` says whether the message exists nevertheless; None is what its name means. `how` is one of its `WAYS`.
    `hold` None waits as long as the client does.
    """

    kind: str
    how: str = ""
    status: int = 502
    code: int = 21211
    seconds: float = 1.0
    hold: float | None = None
    at: int = 20
    size: int = 100 * _MEGABYTE
    retry_after: str | None = None
    made: bool | None = None

    def __post_init__(self) -> None:
        """Refuses what is not played."""
        if self.kind not in FAULTS:
            raise ValueError(f"no fault {self.kind!r}: there are {', '.join(FAULTS)}")
        if self.how and self.how not in WAYS.get(self.kind, ()):
            raise ValueError(f"{self.kind} is played {' or '.join(WAYS.get(self.kind, ())) or 'in one way'}")
        if self.kind == "F16" and self.made is False:
            raise ValueError("F16 drips a whole 201, so its message has to exist")

    @property
    def way(self) -> str:
        """The way to play it."""
        return self.how or WAYS.get(self.kind, ("",))[0]

    @property
    def makes(self) -> bool:
        """True if the message exists although the client sees a fault."""
        return self.kind in _MADE if self.made is None else self.made


class FaultPlan:
    """The faults to come, by operation: `create`, `list`, `fetch`, `callback`, `webhook`."""

    def __init__(self) -> None:
        self._planned: dict[str, deque[Fault]] = {}
        self._dice: random.Random | None = None
        self._share = 0.0
        self._choices: dict[str, list[Fault]] = {}

    def next(self, operation: str, fault: Fault, times: int = 1) -> None:
        """Plays a fault for the next requests of an operation. Raises ValueError if it makes no sense there."""
        if fault.kind not in PLAYABLE.get(operation, frozenset()):
            raise ValueError(f"{fault.kind} can't be played for {operation!r}")
        if fault.way not in _ways(fault.kind, operation):
            raise ValueError(f"{fault.kind} is played for {operation!r} {' or '.join(_ways(fault.kind, operation))}")
        self._planned.setdefault(operation, deque()).extend([fault] * times)

    def randomly(
        self,
        rate: float,
        kinds: Iterable[str | Fault],
        seed: int,
        operations: Iterable[str] = ("create", "list", "fetch", "callback"),
    ) -> None:
        """Plays one of the faults for that share of requests. A seed repeats it.

        A name is played in all its ways; a `Fault` unchanged. An operation gets those that make sense for it.
        """
        chosen = [kind if isinstance(kind, Fault) else _by_chance(kind) for kind in kinds]
        wanted = set(operations)
        if unknown := wanted - set(PLAYABLE):
            raise ValueError(f"no operation {', '.join(sorted(unknown))}: there are {', '.join(PLAYABLE)}")
        self._dice = random.Random(seed)  # noqa: S311 (has to be repeatable)
        self._share = rate
        self._choices = {name: [one for one in chosen if one.kind in PLAYABLE[name]] for name in wanted}

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._planned.clear()
        self._dice = None

    def take(self, operation: str) -> Fault | None:
        """The fault for a request, None for a true answer."""
        planned = self._planned.get(operation)
        if planned:
            return planned.popleft()
        choices = self._choices.get(operation)
        if self._dice is None or not choices or self._dice.random() >= self._share:
            return None
        fault = self._dice.choice(choices)
        return _varied(fault, operation, self._dice) if fault.status == _ANY else fault


_ANY = -1
"""Marks a fault that was named only: each time it is played in another way."""


def _by_chance(kind: str) -> Fault:
    return Fault(kind, status=_ANY, seconds=0.05 if kind == "F16" else 1.0, hold=0.2, size=8 * _MEGABYTE)


def _ways(kind: str, operation: str) -> tuple[str, ...]:
    """The customer's own message has no answer that it could be earlier than."""
    ways = WAYS.get(kind, ("",))
    return tuple(way for way in ways if way != "early") if operation == "webhook" else ways


def _varied(fault: Fault, operation: str, dice: random.Random) -> Fault:
    return replace(
        fault,
        how=dice.choice(_ways(fault.kind, operation)),
        status=dice.choice((502, 503, 504)),
        code=dice.choice(CODES),
        at=dice.randrange(0, 700),
        retry_after=dice.choice(RETRY_AFTER),
        made=dice.random() < 0.5 if fault.kind in _EITHER else None,
    )
