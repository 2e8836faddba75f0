"""Errors of the database, each with what happened and what to do."""

from __future__ import annotations

from wa_relay.basics import RelayError


class DatabaseFault(RelayError):
    """The database can't be used. `exit_code` is the command's (sysexits)."""

    exit_code = 74


class DatabaseMissing(DatabaseFault):
    """The database does not exist yet; `serve` creates it."""

    no_tables = False
    """True for a database that is there, on a server, and has no tables yet."""


class TablesMissing(DatabaseMissing):
    """The server's database is there, and has no tables yet."""

    no_tables = True


class DatabaseMoved(DatabaseFault):
    """The database was copied elsewhere with `--move`: it is not served any more."""

    exit_code = 65


class DatabaseForeign(DatabaseFault):
    """The file is something else, or was made by a newer version."""

    exit_code = 65


class DatabaseUnusable(DatabaseFault):
    """The file is corrupt, or can't be read or written."""


class WrongAccount(DatabaseFault):
    """The file belongs to another Twilio account than the configuration names."""

    exit_code = 78


class RoleRefused(DatabaseFault):
    """PostgreSQL refuses the role, its password or a right."""

    exit_code = 78


class ServerAway(DatabaseFault):
    """PostgreSQL can't be reached just now."""

    exit_code = 75


class AlreadyServed(DatabaseFault):
    """Another daemon holds the database."""

    exit_code = 75


class StorageUnavailable(RelayError):
    """Something could not be stored at the moment: disk full, read-only, or locked by another process.

    Try again: the ledger recovers by itself once the cause is gone.
    """


class LeaseLost(StorageUnavailable):
    """This daemon was away for too long: another one has taken over its work, and it starts again."""


class CommitLost(StorageUnavailable):
    """The connection was lost while a commit was on its way: it may have happened."""


class CallConflict(RelayError):
    """A call is reported with another phone than the one it is known with."""
