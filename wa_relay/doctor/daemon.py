"""The daemon of this machine: asked by its control socket, or by the address at which it listens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from wa_relay import __version__
from wa_relay.config import Config
from wa_relay.doctor.check import Check, skipped
from wa_relay.http import fetch
from wa_relay.ledger.lock import Holder
from wa_relay.server.health import AWAY_AFTER
from wa_relay.server.unix_socket import PathTooLong, address
from wa_relay.text.escaping import one_line

DAEMON, POLLER = "daemon", "poller"
NAMES = (DAEMON, POLLER)
ASK_WITHIN = 4.0
"""Seconds: a daemon that can't store says so within 2."""

_LARGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Health:
    """The daemon's own report. `daemons` counts those on its database."""

    status: str
    version: str
    instance: str
    paused: str | None
    uncertain: int
    stopped_templates: int
    poller_enabled: bool
    poller_failures: int
    last_poll: str | None
    services_away: tuple[str, ...]
    daemons: int


def health_of(body: bytes) -> Health | None:
    """Reads the body of `/health`; None if it is not that of a relay."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not {"status", "version", "uptime_seconds", "database", "queue"} <= set(data):
        return None
    queue, poller, upstreams = (_table(data.get(name)) for name in ("queue", "poller", "upstreams"))
    templates, daemons, last = data.get("templates"), data.get("daemons"), poller.get("last_success_at")
    paused = data.get("paused")
    return Health(
        status=str(data["status"]),
        version=str(data["version"]),
        instance=str(data.get("instance") or ""),
        paused=str(paused) if paused else None,
        uncertain=_count(queue.get("uncertain")),
        stopped_templates=len(templates) if isinstance(templates, list) else 0,
        poller_enabled=poller.get("enabled") is True,
        poller_failures=_count(poller.get("consecutive_failures")),
        last_poll=str(last) if last else None,
        services_away=tuple(name for name, found in upstreams.items() if _table(found).get("status") == "away"),
        daemons=len(daemons) if isinstance(daemons, list) else 1,
    )


async def by_socket(holder: Holder) -> Health | None:
    """Asks the daemon that holds a database file; None if it does not answer."""
    try:
        with address(Path(str(holder.control))) as path:
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as http:
                answer = await fetch(http, "GET", "http://wa-relay/health", limit=_LARGEST, within=ASK_WITHIN)
    except (aiohttp.ClientError, TimeoutError, OSError, PathTooLong):
        return None
    return health_of(answer.body)


async def by_port(config: Config) -> Health | None:
    """Asks the daemon that listens at `server.host` and `server.port`; None without an answer."""
    if (url := local_url(config)) is None:
        return None
    try:
        async with aiohttp.ClientSession(trust_env=False) as http:
            answer = await fetch(http, "GET", f"{url}/health", limit=_LARGEST, within=ASK_WITHIN, cut=True)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
    return health_of(answer.body)


def local_url(config: Config) -> str | None:
    """Returns the address of the listener as this machine reaches it; None if the port is chosen at each start."""
    host, port = config.server.host, config.server.port
    if not port:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def examine(health: Health | None, holder: Holder | None, *, uncertain: int, held: bool) -> list[Check]:
    """Judges the daemon. `uncertain` sends and what is `held` have separate checks."""
    if health is None and holder is None:
        fix = "start it: wa-relay serve"
        none = Check(DAEMON, "warn", "no daemon runs on this database", fix, cause="no_daemon")
        return [none, *skipped((POLLER,), "no daemon runs")]
    process = f"runs (pid {holder.pid} since {holder.since})" if holder else "runs"
    if health is None:
        message = f"{process}, and did not report its health within {ASK_WITHIN:g} s"
        hung = Check(DAEMON, "fail", message, "check its log; restart it if it hangs: systemctl restart wa-relay")
        return [hung, *skipped((POLLER,), "the daemon does not answer")]
    poller = _check_poller(health)
    explained = bool(uncertain or held or poller.found or health.services_away)
    return [_check_daemon(health, process, explained=explained), poller]


def _check_daemon(health: Health, process: str, *, explained: bool) -> Check:
    if health.version != __version__:
        message = f"{process}, and is version {one_line(health.version)}; this command is {__version__}"
        return Check(DAEMON, "warn", message, "restart the daemon")
    if health.status == "down":
        return Check(DAEMON, "fail", f"{process}, and can't store anything", "check the database, its disk and the log")
    if health.status == "degraded" and not explained:
        message = f"{process}, and is degraded: wrong webhook signatures, or messages that only the listing found"
        return Check(DAEMON, "warn", message, "check the Twilio webhook and the log of `wa-relay serve`")
    return Check(DAEMON, "ok", process)


def _check_poller(health: Health) -> Check:
    if not health.poller_enabled:
        return Check(POLLER, "ok", "off (poll.enabled)")
    if health.poller_failures >= AWAY_AFTER:
        last = f"; the last success was at {one_line(health.last_poll)}" if health.last_poll else ""
        message = f"the poller failed {health.poller_failures} times in a row{last}"
        return Check(POLLER, "warn", message, "search for poll_failed in the log of `wa-relay serve`")
    return Check(POLLER, "ok", "works")


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
