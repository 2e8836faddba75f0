"""The users of the console: the people who may log in, with their roles.

A user's sessions and links end with the user, and with a change of the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from wa_relay.ledger import journal
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.journal import Entry
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError
from wa_relay.moments import optional_stamp, stamp

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
UserAction = Literal["add", "remove", "password", "role", "link"]
USER_ACTIONS: tuple[UserAction, ...] = ("add", "remove", "password", "role", "link")
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
RESERVED = frozenset({"api", "cli"})
"""Names that say in a conversation that no user of the console acted."""

LINK_SECONDS = 600.0

INSERT_USER = """
    insert into console_users (name, role, password_hash, created_at) values (:name, :role, :hash, :now)
    returning id"""
SELECT_USER_ID = "select id from console_users where name = :name"
SELECT_USERS = "select name, role, created_at, last_login_at from console_users order by name"
DELETE_USER = "delete from console_users where id = :id"
DELETE_SESSIONS_OF_USER = "delete from console_sessions where user_id = :id"
DELETE_LINKS_OF_USER = "delete from console_links where user_id = :id"
DELETE_OLD_LINKS = "delete from console_links where ends_at <= :now"
SET_PASSWORD = "update console_users set password_hash = :hash where id = :id"  # noqa: S105 - a statement
SET_ROLE = "update console_users set role = :role where id = :id"
SET_LANGUAGE = "update console_users set language = :language where name = :name"
INSERT_LINK = "insert into console_links (token_hash, user_id, ends_at) values (:token, :id, :ends_at)"


class NameTaken(RelayError):
    """Another user has this name."""


class NoSuchUser(RelayError):
    """No user has this name."""


@dataclass(frozen=True, slots=True)
class User:
    """One user of the console."""

    name: str
    role: Role
    created_at: Moment
    last_login_at: Moment | None

    def to_json(self) -> dict[str, Any]:
        """The user as `console user list --json` prints it."""
        return {
            "name": self.name,
            "role": self.role,
            "created_at": stamp(self.created_at),
            "last_login_at": optional_stamp(self.last_login_at),
        }


@dataclass(frozen=True, slots=True)
class UserChange:
    """A change that `wa-relay console` asks for. `value` is a password's hash, a role, or a link's hash."""

    action: UserAction
    name: str
    by: str
    role: Role = "viewer"
    value: str = ""


def role_of(text: str) -> Role:
    """A role by its name; the least one for any other text."""
    return next((role for role in ROLES if role == text), "viewer")


def change_users(ledger: Ledger, change: UserChange, now: Moment) -> None:
    """Carries out a change; raises `NameTaken` or `NoSuchUser`."""
    name, by = change.name, change.by
    if change.action == "add":
        add_user(ledger, name, change.role, change.value, by, now)
    elif change.action == "remove":
        remove_user(ledger, name, by, now)
    elif change.action == "password":
        set_password(ledger, name, change.value, by, now)
    elif change.action == "role":
        set_role(ledger, name, change.role, by, now)
    else:
        add_link(ledger, name, change.value, by, now)


def add_user(ledger: Ledger, name: str, role: Role, password_hash: str, by: str, now: Moment) -> None:
    """Adds a user; raises `NameTaken` if there is one of this name."""
    if ledger.one(SELECT_USER_ID, {"name": name}) is not None:
        raise NameTaken(f"there is a user {name} already. Choose another name.", permanent=True)
    ledger.insert(INSERT_USER, {"name": name, "role": role, "hash": password_hash, "now": now})
    _record(ledger, "user_add", f"{name}, {role}", by, now)


def remove_user(ledger: Ledger, name: str, by: str, now: Moment) -> None:
    """Removes a user with every session and link; raises `NoSuchUser`."""
    found = {"id": _id_of(ledger, name)}
    ledger.run(DELETE_SESSIONS_OF_USER, found)
    ledger.run(DELETE_LINKS_OF_USER, found)
    ledger.run(DELETE_USER, found)
    _record(ledger, "user_remove", name, by, now)


def set_password(ledger: Ledger, name: str, password_hash: str, by: str, now: Moment) -> None:
    """Changes a password and ends every session and link of that user; raises `NoSuchUser`."""
    found = {"id": _id_of(ledger, name)}
    ledger.run(SET_PASSWORD, {**found, "hash": password_hash})
    ledger.run(DELETE_SESSIONS_OF_USER, found)
    ledger.run(DELETE_LINKS_OF_USER, found)
    _record(ledger, "user_password", name, by, now)


def set_role(ledger: Ledger, name: str, role: Role, by: str, now: Moment) -> None:
    """Changes a role, with effect from the next request. Raises `NoSuchUser`."""
    ledger.run(SET_ROLE, {"id": _id_of(ledger, name), "role": role})
    _record(ledger, "user_role", f"{name}, {role}", by, now)


def set_language(ledger: Ledger, name: str, language: Literal["es", "en"]) -> None:
    """Chooses the language in which this user sees the console."""
    ledger.run(SET_LANGUAGE, {"name": name, "language": language})


def add_link(ledger: Ledger, name: str, token_hash: str, by: str, now: Moment) -> None:
    """Stores a link that logs this user in once within 10 minutes; raises `NoSuchUser`."""
    user_id = _id_of(ledger, name)
    ledger.run(DELETE_OLD_LINKS, {"now": now})
    ledger.run(INSERT_LINK, {"token": token_hash, "id": user_id, "ends_at": now + LINK_SECONDS})
    _record(ledger, "link", name, by, now)


def list_users(db: Queries) -> list[User]:
    """Every user, by name; reads only."""
    return [User(*row) for row in db.execute(SELECT_USERS)]


def _id_of(ledger: Ledger, name: str) -> int:
    row = ledger.one(SELECT_USER_ID, {"name": name})
    if row is None:
        raise NoSuchUser(f"there is no user {name}. `wa-relay console user list` lists them.", permanent=True)
    return int(row["id"])


def _record(ledger: Ledger, action: str, detail: str, by: str, now: Moment) -> None:
    journal.record(ledger, Entry(event="console", reason=action, detail=detail, actor=by), now)
