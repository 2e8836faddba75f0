"""The list of commands, the global options, and the exit code of each failure."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script

from wa_relay import __version__
from wa_relay.basics import RelayError
from wa_relay.cli.lazy import Entry, LazyGroup
from wa_relay.cli.options import Options
from wa_relay.text.escaping import one_line

SUMMARY = "Continues ElevenLabs voice-agent calls over WhatsApp."
EVERY_DAY, PRIVACY, SET_UP, REPAIR = "Every day", "Privacy", "Set-up", "Repair"
COMPLETE_VARIABLE = "_WA_RELAY_COMPLETE"
"""Set by the completion script while it asks for completions."""

ENTRIES = {
    "history": Entry(
        "wa_relay.cli.history:history",
        "Show a customer's calls and the whole WhatsApp thread.",
        EVERY_DAY,
        "wa-relay history +57 313 853 9155 --follow",
    ),
    "stats": Entry(
        "wa_relay.cli.stats:stats",
        "Report on calls, openings, replies and failures.",
        EVERY_DAY,
        "wa-relay stats --since 7d --by batch",
    ),
    "why": Entry(
        "wa_relay.cli.why:why",
        "Show every decision about a customer, with its time and its rule.",
        EVERY_DAY,
        "wa-relay why +573138539155",
    ),
    "inbox": Entry(
        "wa_relay.cli.inbox:inbox",
        "List the conversations in which a person is requested or has taken over.",
        EVERY_DAY,
        "wa-relay inbox",
    ),
    "takeover": Entry(
        "wa_relay.cli.takeover:takeover",
        "Take a conversation over: the agent is silent until `release`, or until the time is over.",
        EVERY_DAY,
        "wa-relay takeover +573138539155 --hours 2",
    ),
    "release": Entry(
        "wa_relay.cli.takeover:release",
        "Give a conversation back to the agent, which then answers the unanswered messages.",
        EVERY_DAY,
        "wa-relay release +573138539155",
    ),
    "say": Entry(
        "wa_relay.cli.say:say",
        "Send a message as a person and wait for its receipt. It takes the conversation over.",
        EVERY_DAY,
        'wa-relay say +573138539155 "Hola Ana, soy Lucía del equipo."',
    ),
    "plan": Entry(
        "wa_relay.cli.plan:plan",
        "Show who would get what, when and why, for calls at ElevenLabs. Nothing is stored or sent.",
        EVERY_DAY,
        "wa-relay plan --batch btcal_9201k8pjch8teq3t428mqt82xe3d",
    ),
    "context": Entry(
        "wa_relay.cli.context:context",
        "Show what the agent would be given for a customer now: the variables and the context of a session.",
        EVERY_DAY,
        "wa-relay context +573138539155",
    ),
    "replay": Entry(
        "wa_relay.cli.replay:replay",
        "Ask another agent a customer's stored questions, and show old and new answers. Nothing is sent to Twilio.",
        EVERY_DAY,
        "wa-relay replay +573138539155 --agent agent_4701k8fcsvhaes5s1h6tw894g98s",
    ),
    "opt-out": Entry(
        "wa_relay.cli.opt_out:opt_out",
        "List, add, remove, import or export the customers who have opted out.",
        EVERY_DAY,
        "wa-relay opt-out add +573138539155",
    ),
    "calls": Entry(
        "wa_relay.cli.calls:calls",
        "List the calls, with what became of each opening.",
        EVERY_DAY,
        "wa-relay calls --since 7d --format csv",
    ),
    "search": Entry(
        "wa_relay.cli.search:search",
        "Search the text of all messages, ignoring case and accents.",
        EVERY_DAY,
        "wa-relay search precio plan*",
    ),
    "tail": Entry(
        "wa_relay.cli.tail:tail",
        "Show the events of the running daemon from now on, until Ctrl-C.",
        EVERY_DAY,
        "wa-relay tail --phone +573138539155",
    ),
    "pause": Entry(
        "wa_relay.cli.pause:pause", "Hold openings until `resume`. Replies still go out.", EVERY_DAY, "wa-relay pause"
    ),
    "resume": Entry(
        "wa_relay.cli.pause:resume",
        "Release the openings that `pause` or the burst breaker holds.",
        EVERY_DAY,
        "wa-relay resume",
    ),
    "export": Entry(
        "wa_relay.cli.export:export",
        "Print everything that is stored about a customer, for the customer's right to know it.",
        PRIVACY,
        "wa-relay export +573138539155 --format html --output ana.html",
    ),
    "forget": Entry(
        "wa_relay.cli.forget:forget",
        "Erase a customer's texts, names, numbers, media and ids; the figures of `stats` stay.",
        PRIVACY,
        "wa-relay forget +573138539155 --upstream",
    ),
    "retention": Entry(
        "wa_relay.cli.forget:retention",
        "Erase the threads whose last message is older than retention.threads_days.",
        PRIVACY,
        "wa-relay retention --dry-run",
    ),
    "init": Entry(
        "wa_relay.cli.init:init",
        "Write a commented configuration file that only you can read.",
        SET_UP,
        "wa-relay init /etc/wa-relay/config.toml",
    ),
    "serve": Entry(
        "wa_relay.cli.serve:serve",
        "Run the relay in the foreground until SIGTERM or Ctrl-C.",
        SET_UP,
        "wa-relay --config /etc/wa-relay/config.toml serve",
    ),
    "demo": Entry(
        "wa_relay.cli.demo:demo",
        "Show the whole flow on this machine: no account, no network.",
        SET_UP,
        "wa-relay demo --chat",
    ),
    "send-test": Entry(
        "wa_relay.cli.send_test:send_test",
        "Send one WhatsApp message and wait for its receipt.",
        SET_UP,
        'wa-relay send-test +573138539155 "Hola"',
    ),
    "service": Entry(
        "wa_relay.cli.service:service",
        "Print systemd units for the daemon or for a daily report.",
        SET_UP,
        "wa-relay --config /etc/wa-relay/config.toml service unit",
    ),
    "console": Entry(
        "wa_relay.cli.console:app",
        "Manage the users of the console, print a login link, or show what they did.",
        SET_UP,
        "wa-relay console user add ana --role operator",
    ),
    "config": Entry(
        "wa_relay.cli.config:config",
        "Check the configuration, or show what is in force and where it was set.",
        SET_UP,
        "wa-relay config check",
    ),
    "database": Entry(
        "wa_relay.cli.database:database",
        "Describe the database, or copy it to the other engine.",
        SET_UP,
        "wa-relay database copy wa-relay.db postgresql://wa@db.example.com/wa_relay --move",
    ),
    "doctor": Entry(
        "wa_relay.cli.doctor:doctor",
        "Check configuration, database, both accounts and the webhook.",
        REPAIR,
        "wa-relay doctor --json",
    ),
    "backup": Entry(
        "wa_relay.cli.backup:backup",
        "Write a checked copy of the database to a file; works while a daemon is running.",
        REPAIR,
        "wa-relay backup /var/backups/wa-relay.db",
    ),
    "restore": Entry(
        "wa_relay.cli.backup:restore",
        "Put a backup in the place of the database; nothing that waited in it is sent, and openings are paused.",
        REPAIR,
        "wa-relay restore /var/backups/wa-relay.db",
    ),
    "resolve": Entry(
        "wa_relay.cli.resolve:resolve",
        "List the sends with an unknown outcome, or decide one.",
        REPAIR,
        "wa-relay resolve 17 --resend",
    ),
}


class Commands(LazyGroup):
    """The commands of wa-relay."""

    entries = ENTRIES


app = typer.Typer(
    name="wa-relay",
    cls=Commands,
    help=SUMMARY,
    epilog="Example: wa-relay COMMAND --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Shell(StrEnum):
    """The shells that complete commands."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def _completion(shell: Shell | None) -> None:
    if shell is not None:
        typer.echo(get_completion_script(prog_name="wa-relay", complete_var=COMPLETE_VARIABLE, shell=shell.value))
        raise typer.Exit


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wa-relay {__version__}")
        raise typer.Exit


@app.callback(help=SUMMARY)
def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colours.")] = False,
    show_completion: Annotated[
        Shell | None,
        typer.Option(
            "--show-completion", callback=_completion, is_eager=True, help="Print the completion script of a shell."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Reads the options that stand before the command."""
    del show_completion, version  # handled by their callbacks
    if no_color:
        os.environ["NO_COLOR"] = "1"
    ctx.obj = Options(config, no_color or bool(os.environ.get("NO_COLOR")))


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process with the exit code of its result."""
    # A caller may have closed the streams; output to them is then discarded.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process
    if COMPLETE_VARIABLE in os.environ:
        completion_init()
    try:
        code = app(arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _end_without_reader()
    except SystemExit as end:
        # Typer exits with 1 when the pipe breaks during its own output.
        if isinstance(end.__context__, BrokenPipeError):
            _end_without_reader()
        raise
    except RelayError as error:
        _print_error(one_line(error.message))
        sys.exit(int(getattr(error, "exit_code", 1)))
    except Exception as error:
        sys.exit(_report(error))


def _end_without_reader() -> NoReturn:
    # The reader has closed the pipe: discard what Python would still flush.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _report(error: Exception) -> int:
    """Prints an error that has an exit code and returns the code; raises any other again."""
    code: Any = getattr(error, "exit_code", None)
    if code is None:
        raise error
    if isinstance(error, typer.BadParameter):
        # Typer has pydantic check choices, and passes its message on.
        error.message = error.message.removeprefix("Value error, ")
    show: Any = getattr(error, "show", None)  # Typer's usage errors print themselves
    if show is None:
        _print_error(str(error))
    else:
        show()
    return int(code)


def _print_error(message: str) -> None:
    print(f"wa-relay: {message}", file=sys.stderr)
