"""`wa-relay backup` and `wa-relay restore`: copies of a database file, and a restart from one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from wa_relay.cli.change import cli_actor, open_ledger
from wa_relay.cli.forget import confirm, require_yes
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.settings import load_config
from wa_relay.config import Config
from wa_relay.ledger import backup as copies
from wa_relay.ledger import restoring, runs
from wa_relay.ledger.faults import AlreadyServed
from wa_relay.ledger.location import location_of
from wa_relay.ledger.lock import DatabaseLock
from wa_relay.moments import stamp

ON_SERVER = "the database is on a PostgreSQL server: use its own tools, pg_dump and pg_restore or pg_basebackup"
OWN_ENDINGS = ("-wal", "-shm", "-journal", ".lock", ".sock")


def backup(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")]
) -> None:
    """Write a checked copy of the database to a file; works while a daemon is running."""
    options: Options = ctx.obj
    config = load_config(options)
    if location_of(config).is_shared:
        raise typer.BadParameter(f"{ON_SERVER}.")
    _refuse_own_file(config, file)
    size = copies.back_up(config.database.path, file.absolute())
    typer.echo(f"{file}: {size / 1e6:.1f} MB, checked. It holds personal data: keep it as safe as the database.")
    if config.forgotten.exists():
        typer.echo(f"Keep {config.forgotten} too, apart from it: it remembers who was forgotten.")


def _refuse_own_file(config: Config, file: Path) -> None:
    """Raises `BadParameter` for a file of the database: a running daemon would keep writing to the replaced one."""
    database = config.database.path.resolve()
    own = [database, *(database.with_name(database.name + end) for end in OWN_ENDINGS), config.forgotten]
    if file.resolve() in own or any(path.exists() and file.exists() and file.samefile(path) for path in own):
        raise typer.BadParameter(f"{file} is a file of the database itself: name another one for the copy")


def restore(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The backup.")] = None,
    restored: Annotated[
        bool, typer.Option("--restored", help="The database was put back by other means: only make it safe.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Required without a terminal.")] = False,
) -> None:
    """Put a backup in the place of the database; nothing that waited in it is sent, and openings are paused.

    Opt-outs since the backup are read from Twilio's list at the next start; until then `resume` refuses.
    """
    options: Options = ctx.obj
    config = load_config(options)
    shared = location_of(config).is_shared
    if (file is None) != restored:
        raise typer.BadParameter("give a FILE, or --restored for a database that was put back by other means")
    if file is not None and shared:
        raise typer.BadParameter(f"{ON_SERVER}; then run: wa-relay restore --restored")
    place = location_of(config).shown
    require_yes(yes=yes)
    if restored:
        # Opening it for writing would create a missing one.
        with reading(location_of(config)):
            pass
    confirm(f"Replace {place} by {file}?" if file else f"Make {place} safe after it was put back?", yes=yes)
    if shared:
        _make_safe(config)
    elif file is None:
        with _hold_lock(config.database.path):
            _make_safe(config)
    else:
        _put_back(config, file)
    typer.echo(f"{place} is restored. Openings are paused, and nothing that waited in it will be sent.")
    typer.echo("Start the daemon: it reads the opt-outs since the backup from Twilio's list. Then: wa-relay resume")
    if not config.forgotten.exists():
        typer.echo(
            f"Warning: {config.forgotten} is missing. Customers who were forgotten after the backup are not forgotten "
            "again. Put that file back before the start.",
            err=True,
        )


def _put_back(config: Config, file: Path) -> None:
    """Makes a copy of the backup safe, then puts it in the place of the database in one step."""
    database = config.database.path
    # Before the lock, which creates the database's file.
    copies.check(file)
    with _hold_lock(database):
        copy = copies.stage(file, database)
        try:
            _make_safe(config.model_copy(update={"database": config.database.model_copy(update={"path": copy})}))
            copies.replace(copy, database)
        finally:
            copies.drop(copy)


def _make_safe(config: Config) -> None:
    now = time.time()
    place = location_of(config)
    ledger = open_ledger(config, now)
    with closing(ledger.db) as db:
        if place.is_shared and runs.daemons_alive(ledger, now):
            raise AlreadyServed("a daemon runs on this database. Stop every daemon first.")
        try:
            db.begin()
            restoring.begin_restored(ledger, cli_actor(), db.now(now))
            db.commit()
            db.finish()
        except db.Error as error:
            raise place.fault_of(error) from error


@contextmanager
def _hold_lock(database: Path) -> Iterator[None]:
    """Holds the lock of a database file; refuses while a daemon runs."""
    lock = DatabaseLock(database)
    lock.take(stamp(time.time()))
    try:
        yield
    finally:
        lock.release()
