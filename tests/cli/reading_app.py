"""The reading commands alone, as the whole application runs them: `python -m tests.cli.reading_app`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from wa_relay.cli.history import history
from wa_relay.cli.settings import Settings
from wa_relay.cli.stats import stats
from wa_relay.model import RelayError

app = typer.Typer(pretty_exceptions_enable=False)
app.command("history")(history)
app.command("stats")(stats)


@app.callback()
def options(ctx: typer.Context, config: Path | None = None, no_color: bool = False) -> None:
    """Takes the global options that these commands read."""
    ctx.obj = Settings(config, no_color)


def main() -> int:
    """Runs one command; tells its exit code."""
    try:
        return app(standalone_mode=False) or 0
    except RelayError as error:
        typer.echo(error.message, err=True)
        return int(getattr(error, "exit_code", 1))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        show: Any = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    sys.exit(main())
