"""`wa-relay serve`: the daemon in the foreground."""

from __future__ import annotations

import asyncio
import gc

import typer
import uvloop

from wa_relay import logs
from wa_relay.cli.options import Options
from wa_relay.cli.settings import load_config
from wa_relay.config import ConfigError, Fault
from wa_relay.daemon import Listens
from wa_relay.daemon import serve as run_daemon
from wa_relay.ledger.location import location_of


def serve(ctx: typer.Context) -> None:
    """Run the relay in the foreground until SIGTERM or Ctrl-C."""
    options: Options = ctx.obj
    config = load_config(options, serving=True)
    try:
        logs.set_up(
            level=config.log.level,
            as_json=config.log.format == "json",
            file=config.log.file,
            personal_data=config.log.personal_data,
            timezone=config.timezone,
        )
    except OSError as error:
        wrong = Fault(config.origin("log.file"), "log.file", f"can't be written: {error.strerror}")
        raise ConfigError([wrong]) from None

    def ready(listens: Listens) -> None:
        made = f" (made the database {location_of(config).shown}: calls that ended before now are never written to)"
        typer.echo(f"wa-relay listens on {listens.url}{made if listens.database_made else ''}")

    # The modules loaded so far live as long as the process: the garbage collector need not walk through them.
    gc.freeze()
    # A message makes thousands of short-lived objects. At Python's 700, collecting took a tenth of its cost.
    gc.set_threshold(10_000, 20, 20)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_daemon(config, ready))
    finally:
        logs.write_kept()
