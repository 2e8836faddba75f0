"""The types and the error that every room knows, without the values of `model`.

A command that only reads imports this module and not `model`, which makes twenty classes. Every moment is a
`Moment`: seconds since the Unix epoch, UTC, as a float.
"""

from __future__ import annotations

Moment = float
Scalar = str | int | float | bool

Span = tuple[int, int]
"""Part of a day in minutes since midnight; the end is exclusive, 1,440 at most."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week as settings name them; the place of each is Python's `weekday()`."""


class RelayError(Exception):
    """An error that crosses a layer: says what happened and whether to try again.

    `permanent` is true when the same request will fail again. `retry_after` is the pause
    in seconds that the other side asked for, None when it asked for none.
    """

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.permanent = permanent
        self.retry_after = retry_after
