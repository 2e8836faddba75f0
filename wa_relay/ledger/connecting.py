"""How connections to a PostgreSQL server are made: their limits, and the settings of their sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.conninfo import conninfo_to_dict

SESSION = {
    # Each at most 5 s: a daemon that hangs holds up the others no longer.
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
    "tcp_user_timeout": "5s",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "standard_conforming_strings": "on",
    "search_path": "public",
    "TimeZone": "UTC",
    # Each query of the writer asks for a few rows: nothing to compile.
    "jit": "off",
}
WRITING = SESSION | {
    # Planned while a table is still empty, a statement would walk through it until PostgreSQL has analyzed the table,
    # with thousands of rows for each message in the first minute of a campaign.
    "enable_seqscan": "off",
}
CONNECTION = {
    "connect_timeout": 5,
    "tcp_user_timeout": 5000,
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "application_name": "wa-relay",
}


def options_for(url: str, session: Mapping[str, str] = SESSION) -> dict[str, Any]:
    """What libpq is given beside the URL: the limits of `CONNECTION`, and a session's settings."""
    options_of_libpq: dict[str, Any] = dict(CONNECTION)
    options = " ".join(f"-c {name}={value}" for name, value in session.items())
    wanted = conninfo_to_dict(url)
    several = "," in str(wanted.get("host", "")) or "," in str(wanted.get("hostaddr", ""))
    if several and "target_session_attrs" not in wanted:
        # Of several servers, the one that takes writes: after a failover that is another one.
        options_of_libpq["target_session_attrs"] = "read-write"
    return options_of_libpq | {"options": options}
