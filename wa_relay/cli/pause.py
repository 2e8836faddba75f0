"""`wa-relay pause` and `wa-relay resume`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from wa_relay.cli.change import Json, change, cli_actor
from wa_relay.cli.options import Options
from wa_relay.ledger import operator_decisions
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError

_TEMPLATE = re.compile(r"HX[0-9a-fA-F]{32}")


def pause(ctx: typer.Context) -> None:
    """Hold openings until `resume`. Replies still go out."""
    user = cli_actor()

    def directly(ledger: Ledger, now: Moment) -> Json:
        operator_decisions.pause(ledger, user, now)
        return {}

    change(ctx.obj, "/pause", {"by": user}, directly, forbids_sends=True)
    typer.echo("Openings are paused. Replies still go out. To release the openings: wa-relay resume")


def resume(
    ctx: typer.Context,
    template: Annotated[
        str | None, typer.Option("--template", metavar="HX…", help="Try this stopped template at once instead.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="After a restore, also before the opt-outs since the backup are known.")
    ] = False,
) -> None:
    """Release the openings that `pause` or the burst breaker holds."""
    user = cli_actor()
    if template is not None:
        _resume_template(ctx.obj, template, user)
        return

    def directly(ledger: Ledger, now: Moment) -> Json:
        return {"waiting": operator_decisions.resume(ledger, user, now, anyway)}

    result = change(ctx.obj, "/resume", {"by": user, "anyway": anyway}, directly)
    typer.echo(f"Openings go out again; {result.get('waiting', 0)} were waiting.")


def _resume_template(options: Options, template: str, user: str) -> None:
    if not _TEMPLATE.fullmatch(template):
        raise typer.BadParameter("a template is HX and 32 hexadecimal digits", param_hint="--template")

    def directly(ledger: Ledger, now: Moment) -> Json:
        if not operator_decisions.resume_template(ledger, template, user, now):
            raise RelayError(f"the template {template} is not stopped.", permanent=True)
        return {}

    change(options, "/resume", {"by": user, "template": template}, directly)
    typer.echo(f"The template {template} is tried at once.")
