"""The phone argument of a command, which people type as one word or as several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from wa_relay import phone
from wa_relay.basics import RelayError

Phone = Annotated[list[str], typer.Argument(metavar="PHONE", help="The phone number, with its country code.")]


def read_phone(parts: Sequence[str]) -> str:
    """Reads a number, or a BSUID, that may be split into several arguments; anything else is wrong usage."""
    try:
        return phone.parse(" ".join(parts))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="PHONE") from None


def unknown(number: str) -> RelayError:
    """The refusal for a customer of whom nothing is stored."""
    return RelayError(f"there is no call and no message with {number}.", permanent=True)
