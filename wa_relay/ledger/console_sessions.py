"""Logins to the console: sessions, links that log in once, and the throttle on failures.

Every token comes and is stored as its SHA-256 hash in hexadecimal digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wa_relay.ledger import journal
from wa_relay.ledger.console_users import Role
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.journal import Entry
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment
from wa_relay.policy.logins import MOST_FAILURES, THROTTLED_FOR, throttled_until

SELECT_SESSION = """
    select u.name, u.role, u.language from console_sessions s join console_users u on u.id = s.user_id
    where s.token_hash = :token and s.ends_at > :now"""
SELECT_CREDENTIALS = "select id, password_hash from console_users where name = :name"
SELECT_USER_BY_ID = "select name, password_hash from console_users where id = :id"
SELECT_LINK = """
    select u.id, u.name from console_links l join console_users u on u.id = l.user_id
    where l.token_hash = :token and l.ends_at > :now"""
DELETE_LINK = "delete from console_links where token_hash = :token"
INSERT_SESSION = """
    insert into console_sessions (token_hash, user_id, started_at, ends_at) values (:token, :id, :now, :ends_at)"""
DELETE_SESSION = "delete from console_sessions where token_hash = :token"
DELETE_OLD_SESSIONS = "delete from console_sessions where ends_at <= :now"
SET_LAST_LOGIN = "update console_users set last_login_at = :now where id = :id"
SELECT_LATEST_FAILURES = """
    select failed_at from console_failures where subject = :subject
    order by failed_at desc, id desc limit :limit"""
INSERT_FAILURE = "insert into console_failures (subject, failed_at) values (:subject, :now) returning id"
DELETE_FAILURE = "delete from console_failures where id = :id"
DELETE_FAILURES_OF_SUBJECT = "delete from console_failures where subject = :subject"
DELETE_OLD_FAILURES = "delete from console_failures where failed_at < :since"


@dataclass(frozen=True, slots=True)
class SessionUser:
    """A logged-in user. `language` is empty if the user chose none."""

    name: str
    role: Role
    language: Literal["", "es", "en"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The facts by which a password is checked."""

    user_id: int
    password_hash: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that has been counted as a failure until it succeeds: the rows of its name and of its address."""

    failures: tuple[int, ...]


def find_session(db: Queries, token_hash: str, now: Moment) -> SessionUser | None:
    """The user of a session that has not ended; reads only."""
    row = db.execute(SELECT_SESSION, {"token": token_hash, "now": now}).fetchone()
    return None if row is None else SessionUser(*row)


def find_credentials(db: Queries, name: str) -> Credentials | None:
    """Returns the facts by which a user's password is checked, None for an unknown name. Reads only."""
    row = db.execute(SELECT_CREDENTIALS, {"name": name}).fetchone()
    return None if row is None else Credentials(*row)


def begin_attempt(ledger: Ledger, subjects: Sequence[str], now: Moment) -> Attempt | Moment:
    """Counts a login as a failure of each subject, before the password is checked: so that parallel tries count too.

    Returns the moment until which one of the subjects has to wait, if one has to.
    """
    ends = [end for subject in subjects if (end := _throttled_until(ledger, subject, now)) is not None]
    if ends:
        return max(ends)
    ledger.run(DELETE_OLD_FAILURES, {"since": now - 2 * THROTTLED_FOR})
    return Attempt(tuple(ledger.insert(INSERT_FAILURE, {"subject": each, "now": now}) for each in subjects))


def record_failure(ledger: Ledger, name: str | None, detail: str, now: Moment) -> None:
    """Records a login that failed; `name` is None if no user has the name that was given."""
    journal.record(ledger, Entry(event="console", reason="login_failed", detail=detail, actor=name), now)


def log_in(
    ledger: Ledger,
    user: Credentials,
    attempt: Attempt,
    subject: str,
    token_hash: str,
    ends_at: Moment,
    detail: str,
    now: Moment,
) -> bool:
    """Opens a session after the password was checked; the failures of the name (`subject`) are cleared.

    Returns False if the user was removed, or the password changed, since it was checked.
    """
    row = ledger.one(SELECT_USER_BY_ID, {"id": user.user_id})
    if row is None or row["password_hash"] != user.password_hash:
        return False
    for failure in attempt.failures:
        ledger.run(DELETE_FAILURE, {"id": failure})
    ledger.run(DELETE_FAILURES_OF_SUBJECT, {"subject": subject})
    _open(ledger, user.user_id, row["name"], token_hash, ends_at, detail, now)
    return True


def log_in_by_link(ledger: Ledger, link_hash: str, token_hash: str, ends_at: Moment, detail: str, now: Moment) -> bool:
    """Opens a session by a link, and uses the link up. Returns False if there is no such link, or it was used."""
    row = ledger.one(SELECT_LINK, {"token": link_hash, "now": now})
    if row is None:
        return False
    ledger.run(DELETE_LINK, {"token": link_hash})
    _open(ledger, row["id"], row["name"], token_hash, ends_at, detail, now)
    return True


def log_out(ledger: Ledger, token_hash: str, name: str, now: Moment) -> None:
    """Ends a session."""
    if ledger.run(DELETE_SESSION, {"token": token_hash}):
        journal.record(ledger, Entry(event="console", reason="logout", actor=name), now)


def _open(ledger: Ledger, user_id: int, name: str, token_hash: str, ends_at: Moment, detail: str, now: Moment) -> None:
    ledger.run(DELETE_OLD_SESSIONS, {"now": now})
    ledger.run(INSERT_SESSION, {"token": token_hash, "id": user_id, "now": now, "ends_at": ends_at})
    ledger.run(SET_LAST_LOGIN, {"id": user_id, "now": now})
    journal.record(ledger, Entry(event="console", reason="login", detail=detail, actor=name), now)


def _throttled_until(ledger: Ledger, subject: str, now: Moment) -> Moment | None:
    rows = ledger.all(SELECT_LATEST_FAILURES, {"subject": subject, "limit": MOST_FAILURES})
    return throttled_until([float(row["failed_at"]) for row in rows], now)
