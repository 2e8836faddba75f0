"""A secret that keeps itself out of logs, tracebacks and error texts."""

from __future__ import annotations

TAIL_FROM = 12
"""From this length on, four characters identify a secret to its owner and are useless to others."""


class Secret:
    """Text that only `reveal` gives away; false when empty."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """Returns the secret itself, for the one place that sends or compares it."""
        return self._value

    def hint(self) -> str:
        """Returns what may be printed: `****abcd (len 32)`, without the tail of a short one."""
        tail = self._value[-4:] if len(self._value) >= TAIL_FROM and self._value[-4:].isprintable() else ""
        return f"****{tail} (len {len(self._value)})"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('****')" if self else "Secret('')"

    def __str__(self) -> str:
        return "****" if self else ""

    def __deepcopy__(self, _copied: object) -> Secret:
        # It never changes: a table of defaults takes it as it is.
        return self

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")
