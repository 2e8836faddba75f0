"""`wa-relay takeover` and `wa-relay release`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from wa_relay.cli.change import Json, change
from wa_relay.cli.phones import Phone, read_phone, unknown
from wa_relay.ledger import handover
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.unfinished_sends import Begun
from wa_relay.model import Moment
from wa_relay.policy import LONGEST_HOURS, Operator

COMMAND_LINE = Operator("cli", "cli")


def takeover(
    ctx: typer.Context,
    phone_parts: Phone,
    hours: Annotated[
        float | None,
        typer.Option("--hours", help="How long the agent is silent; by default handover.return_after_hours."),
    ] = None,
) -> None:
    """Take a conversation over: the agent is silent until `release`, or until the time is over."""
    address = read_phone(phone_parts)
    if hours is not None and not 0 < hours <= LONGEST_HOURS:
        raise typer.BadParameter(f"must be over 0 and at most {LONGEST_HOURS:g}", param_hint="--hours")

    begun = Begun(time.monotonic)

    def directly(ledger: Ledger, now: Moment) -> Json:
        return _require_known(handover.take_over(ledger, address, COMMAND_LINE, hours, now, begun), address)

    change(ctx.obj, "/takeover", {"phone": address} | ({} if hours is None else {"hours": hours}), directly)
    typer.echo(f"You have the conversation with {address}. Answer with: wa-relay say; give it back with: release")


def release(ctx: typer.Context, phone_parts: Phone) -> None:
    """Give a conversation back to the agent, which then answers the unanswered messages."""
    address = read_phone(phone_parts)

    def directly(ledger: Ledger, now: Moment) -> Json:
        return _require_known(handover.release(ledger, address, COMMAND_LINE, now), address)

    change(ctx.obj, "/release", {"phone": address}, directly)
    typer.echo(f"The agent has the conversation with {address} again.")


def _require_known(conversation_id: int | None, address: str) -> Json:
    if conversation_id is None:
        raise unknown(address)
    return {"success": True}
