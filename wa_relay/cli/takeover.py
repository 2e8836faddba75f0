"""`wa-relay takeover` and `wa-relay release`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from wa_relay import phone
from wa_relay.cli.change import Json, change
from wa_relay.ledger import handover
from wa_relay.ledger.beginnings import Begun
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError
from wa_relay.policy import LONGEST_HOURS, Operator

COMMAND_LINE = Operator("cli", "cli")

Phone = Annotated[list[str], typer.Argument(metavar="PHONE", help="The phone number, with its country code.")]


def takeover(
    ctx: typer.Context,
    phone_parts: Phone,
    hours: Annotated[
        float | None,
        typer.Option("--hours", help="How long the agent is silent; by default handover.return_after_hours."),
    ] = None,
) -> None:
    """Take a conversation over: the agent is silent until `release`, or until the time is over."""
    address = address_of(phone_parts)
    if hours is not None and not 0 < hours <= LONGEST_HOURS:
        raise typer.BadParameter(f"must be over 0 and at most {LONGEST_HOURS:g}", param_hint="--hours")

    begun = Begun(time.monotonic)

    def directly(ledger: Ledger, now: Moment) -> Json:
        return _require_known(handover.take_over(ledger, address, COMMAND_LINE, hours, now, begun), address)

    change(ctx.obj, "/takeover", {"phone": address} | ({} if hours is None else {"hours": hours}), directly)
    typer.echo(f"You have the conversation with {address}. Answer with: wa-relay say; give it back with: release")


def release(ctx: typer.Context, phone_parts: Phone) -> None:
    """Give a conversation back to the agent, which then answers the unanswered messages."""
    address = address_of(phone_parts)

    def directly(ledger: Ledger, now: Moment) -> Json:
        return _require_known(handover.release(ledger, address, COMMAND_LINE, now), address)

    change(ctx.obj, "/release", {"phone": address}, directly)
    typer.echo(f"The agent has the conversation with {address} again.")


def address_of(parts: list[str]) -> str:
    """Reads a phone that may have been split into several arguments."""
    try:
        return phone.parse(" ".join(parts))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="PHONE") from None


def _require_known(conversation_id: int | None, address: str) -> Json:
    if conversation_id is None:
        raise RelayError(f"there is no call and no message with {address}.", permanent=True)
    return {"success": True}
