"""`wa-relay pause` and `wa-relay resume`."""

from __future__ import annotations

import typer

from wa_relay.cli.change import Json, change, current_user
from wa_relay.ledger import control
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment


def pause(ctx: typer.Context) -> None:
    """Hold openings until `resume`. Replies still go out."""
    user = current_user()

    def directly(ledger: Ledger, now: Moment) -> Json:
        control.pause(ledger, user, now)
        return {}

    change(ctx.obj, "/pause", {"by": user}, directly)
    typer.echo("Openings are paused. Replies still go out. To release the openings: wa-relay resume")


def resume(ctx: typer.Context) -> None:
    """Release the openings that `pause` or the burst breaker holds."""
    user = current_user()

    def directly(ledger: Ledger, now: Moment) -> Json:
        return {"waiting": control.resume(ledger, user, now)}

    result = change(ctx.obj, "/resume", {"by": user}, directly)
    typer.echo(f"Openings go out again; {result.get('waiting', 0)} were waiting.")
