"""`wa-relay pause` and `wa-relay resume`."""

from __future__ import annotations

import typer

from wa_relay.cli.change import Json, change
from wa_relay.ledger import control
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment


def pause(ctx: typer.Context) -> None:
    """Hold openings until `resume`. Replies still go out."""
    change(ctx.obj, "/pause", {}, _pause)
    typer.echo("Openings are paused. Replies still go out. To release the openings: wa-relay resume")


def resume(ctx: typer.Context) -> None:
    """Release the openings that `pause` or the burst breaker holds."""
    result = change(ctx.obj, "/resume", {}, _resume)
    typer.echo(f"Openings go out again; {result.get('waiting', 0)} were waiting.")


def _pause(ledger: Ledger, _now: Moment) -> Json:
    control.pause(ledger)
    return {}


def _resume(ledger: Ledger, _now: Moment) -> Json:
    return {"waiting": control.resume(ledger)}
