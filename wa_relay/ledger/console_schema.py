"""The tables of the console: its users, their sessions and login links, and what throttles a login.

Tokens are stored as SHA-256 hashes: nobody can log in with what the database, or a backup of it, contains.
"""

from __future__ import annotations

CONSOLE_TABLES = """
create table console_users (
    id key,
    name text not null unique check (length(name) between 1 and 64),
    role text not null check (role in ('viewer', 'operator', 'admin')),
    password_hash text not null check (substr(password_hash, 1, 10) = '$argon2id$'),
    language text not null default '' check (language in ('', 'es', 'en')),
    created_at moment not null,
    last_login_at moment
);

create table console_sessions (
    token_hash text primary key check (length(token_hash) = 64),
    user_id link not null references console_users (id),
    started_at moment not null,
    ends_at moment not null check (ends_at > started_at)
);
create index console_sessions_of_user on console_sessions (user_id);

create table console_links (
    token_hash text primary key check (length(token_hash) = 64),
    user_id link not null references console_users (id),
    ends_at moment not null
);
create index console_links_of_user on console_links (user_id);

create table console_failures (
    id key,
    subject text not null,
    failed_at moment not null
);
create index console_failures_of_subject on console_failures (subject, failed_at);

create index journal_of_console on journal (id) where event = 'console';
"""
