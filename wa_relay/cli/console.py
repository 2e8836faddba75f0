"""`wa-relay console`: the users of the console, login links, and the log of what they did."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from wa_relay.cli.change import Json, change, current_user
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import results
from wa_relay.cli.settings import load_config
from wa_relay.console.passwords import LEAST_LENGTH, MOST_LENGTH, hash_password
from wa_relay.console.tokens import new_token, token_hash
from wa_relay.ledger import audit, console_users
from wa_relay.ledger.console_users import NAME, RESERVED, UserChange
from wa_relay.ledger.location import location_of
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Manage the users of the console, print a login link, or show what they did.",
)
user = typer.Typer(no_args_is_help=True, help="Add, list and remove users, change their passwords and roles.")
app.add_typer(user, name="user")


class Role(StrEnum):
    """The roles of a user."""

    viewer = "viewer"
    operator = "operator"
    admin = "admin"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The user: 1 to 64 letters, digits and .-_@")]


@user.command("add")
def add(
    ctx: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option("--role", help="What the user may do.")] = Role.viewer,
) -> None:
    """Add a user. Asks for a password twice, or reads one line from standard input."""
    _check_name(name)
    if name in RESERVED:
        raise RelayError(f"{name} is not available: the log uses it. Choose another name.", permanent=True)
    if any(each.name == name for each in _users(ctx.obj)):
        raise console_users.NameTaken(f"there is a user {name} already. Choose another name.", permanent=True)
    _change(ctx.obj, UserChange("add", name, current_user(), role.value, hash_password(_password())))
    typer.echo(f"Added {name} ({role.value}).")


@user.command("list")
def list_users(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False
) -> None:
    """List the users with their roles and their last logins."""
    users = _users(ctx.obj)
    if as_json:
        typer.echo(json.dumps([each.to_json() for each in users], ensure_ascii=False, indent=2))
        return
    if not users:
        typer.echo("There are no users. Add one: wa-relay console user add NAME --role operator")
        return
    rows = [each.to_json() for each in users]
    _print_table(ctx.obj, ("name", "role", "created_at", "last_login_at"), rows)


@user.command("remove")
def remove(ctx: typer.Context, name: Name) -> None:
    """Remove a user, and log the user out everywhere."""
    _change(ctx.obj, UserChange("remove", name, current_user()))
    typer.echo(f"Removed {name}.")


@user.command("password")
def password(ctx: typer.Context, name: Name) -> None:
    """Change a password, and log the user out everywhere."""
    _need_user(ctx.obj, name)
    _change(ctx.obj, UserChange("password", name, current_user(), value=hash_password(_password())))
    typer.echo(f"Changed the password of {name}.")


@user.command("role")
def role(ctx: typer.Context, name: Name, new: Annotated[Role, typer.Argument(metavar="viewer|operator|admin")]) -> None:
    """Change what a user may do, with immediate effect."""
    _change(ctx.obj, UserChange("role", name, current_user(), new.value))
    typer.echo(f"{name} is now {new.value}.")


@app.command("link")
def link(ctx: typer.Context, name: Name) -> None:
    """Print a link that logs this user in: once, within 10 minutes."""
    config = load_config(ctx.obj)
    token = new_token()
    _change(ctx.obj, UserChange("link", name, current_user(), value=token_hash(token)))
    if not config.console.enabled:
        typer.echo("wa-relay: the console is off: set console.enabled = true and start the daemon again.", err=True)
    public = config.server.public_url or f"http://{config.server.host}:{config.server.port}"
    typer.echo(f"{public}/console/login?link={token}")


@app.command("log")
def log(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print the log as JSON.")] = False
) -> None:
    """Show who logged in and what they did, oldest first."""
    with reading(location_of(load_config(ctx.obj))) as db:
        lines = [line.to_json() for line in audit.read_log(db)]
    if as_json:
        typer.echo(json.dumps(lines, ensure_ascii=False, indent=2))
    elif lines:
        _print_table(ctx.obj, ("at", "user", "action", "phone_number", "detail"), lines)
    else:
        typer.echo("Nobody has done anything in the console yet.")


def _change(options: Options, wanted: UserChange) -> None:
    def directly(ledger: Ledger, now: Moment) -> Json:
        console_users.change_users(ledger, wanted, now)
        return {}

    change(options, "/console", asdict(wanted), directly)


def _users(options: Options) -> list[console_users.User]:
    with reading(location_of(load_config(options))) as db:
        return console_users.list_users(db)


def _need_user(options: Options, name: str) -> None:
    """Raises `NoSuchUser` before asking for a password."""
    if all(each.name != name for each in _users(options)):
        raise console_users.NoSuchUser(f"there is no user {name}.", permanent=True)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise typer.BadParameter("a name has 1 to 64 letters, digits and .-_@", param_hint="NAME")


def _password() -> str:
    """Asks for a password twice on a terminal; elsewhere reads one line. Raises `typer.BadParameter`."""
    if sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if not LEAST_LENGTH <= len(given) <= MOST_LENGTH:
        raise typer.BadParameter(f"a password has at least {LEAST_LENGTH} characters", param_hint="password")
    return str(given)


def _print_table(options: Options, columns: Sequence[str], rows: Sequence[Json]) -> None:
    paper = results(no_color=options.no_color)
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(paper.clean(str(row[column] or "-")) for column in columns))
    paper.console.print(table)
