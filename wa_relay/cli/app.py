"""The commands put together, and what a failure ends them with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from wa_relay import __version__
from wa_relay.cli.control import pause, resolve, resume
from wa_relay.cli.demo import demo
from wa_relay.cli.doctor import doctor
from wa_relay.cli.history import history
from wa_relay.cli.init import init
from wa_relay.cli.send_test import send_test
from wa_relay.cli.serve import serve
from wa_relay.cli.settings import Settings
from wa_relay.cli.stats import stats
from wa_relay.config import ConfigError
from wa_relay.model import RelayError

app = typer.Typer(
    name="wa-relay",
    help="Goes on in WhatsApp with the talk that an ElevenLabs voice agent began by phone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command, name in (
    (serve, "serve"),
    (demo, "demo"),
    (send_test, "send-test"),
    (history, "history"),
    (stats, "stats"),
    (doctor, "doctor"),
    (resolve, "resolve"),
    (pause, "pause"),
    (resume, "resume"),
    (init, "init"),
):
    app.command(name)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wa-relay {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colours.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Goes on in WhatsApp with the talk that an ElevenLabs voice agent began by phone."""
    del version  # its callback has spoken
    if no_color:
        os.environ["NO_COLOR"] = "1"
    ctx.obj = Settings(config, no_color or bool(os.environ.get("NO_COLOR")))


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process: 0 done, else what the failure stands for."""
    # Python has no streams where the caller closed them; what is said there has no reader.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process
    try:
        code = app(arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _reader_gone()
    except SystemExit as end:
        # Typer ends with 1 where the pipe broke while it printed by itself.
        if isinstance(end.__context__, BrokenPipeError):
            _reader_gone()
        raise
    except ConfigError as error:
        _say(str(error))
        sys.exit(78)
    except RelayError as error:
        _say(error.message)
        sys.exit(_exit_code(error))
    except Exception as error:
        if (code := _usage(error)) is None:
            raise
        sys.exit(code)


def _reader_gone() -> NoReturn:
    # The reader has seen enough; what Python would still flush has nowhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _exit_code(error: RelayError) -> int:
    return int(getattr(error, "exit_code", 1))


def _usage(error: Exception) -> int | None:
    """Shows a usage error of Typer's as Typer does; None for anything else."""
    show: Any = getattr(error, "show", None)
    code: Any = getattr(error, "exit_code", None)
    if show is None or code is None:
        return None
    show()
    return int(code)


def _say(message: str) -> None:
    print(f"wa-relay: {message}", file=sys.stderr)
