"""The public address: that it leads to this relay, and what to enter at the two services."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from wa_relay import __version__
from wa_relay.config import Config
from wa_relay.config.addresses import is_loopback
from wa_relay.doctor.check import LIMIT, Check, ask, skipped
from wa_relay.ledger.lock import Holder
from wa_relay.model import Moment, UpstreamError
from wa_relay.moments import moment
from wa_relay.text.safe import one_line

URL, TWILIO, ELEVENLABS = "public URL", "Twilio webhook", "ElevenLabs webhook"
NAMES = (URL, TWILIO, ELEVENLABS)
OVERRIDES = "#rc=5&rp=all&ct=2000&rt=3000"
"""Twilio's connection overrides: five more tries, at whatever fault, with its shortest useful limits."""

SAME_START = 30.0
"""Seconds by which the starts of one daemon, told in two ways, may differ."""

_LARGEST = 64 * 1024


async def examine(config: Config, holder: Holder | None, now: Moment, end: float) -> list[Check]:
    """Asks the public address for its health until the loop's time is `end`. `holder` is the daemon that runs."""
    url = config.server.public_url
    if not url:
        return skipped(NAMES, "needs server.public_url")
    try:
        status, body = await ask(_get(f"{url}/health"), url, end)
    except UpstreamError as error:
        found = Check(URL, "fail", one_line(error.message), _way(config))
    else:
        found = judge(config, status, body, holder, now)
    if holder is None and found.status == "fail":
        found = Check(URL, "warn", f"{found.message}; no daemon runs", "start `wa-relay serve`, then run doctor again")
    return [found, _twilio(config), _elevenlabs(config)]


async def _get(url: str) -> tuple[int, bytes]:
    own = is_loopback(urlsplit(url).hostname or "")
    body = b""
    try:
        async with (
            httpx.AsyncClient(timeout=LIMIT, follow_redirects=False, trust_env=not own) as http,
            http.stream("GET", url) as answer,
        ):
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST:
                    break
            return answer.status_code, body
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise UpstreamError(f"{url} can't be reached ({str(error) or type(error).__name__})") from error


def judge(config: Config, status: int, body: bytes, holder: Holder | None, now: Moment) -> Check:
    """Says if an answer is the health of the daemon that runs here."""
    url = f"{config.server.public_url}/health"
    if 300 <= status < 400:
        fix = "set server.public_url to its target: Twilio signs the address that it calls"
        return Check(URL, "fail", f"{url} redirects (HTTP {status})", fix)
    health = _health_of(body)
    if health is None or status not in (200, 503):
        return Check(
            URL, "fail", f"{url} responds with HTTP {status}, and the response is not from wa-relay", _way(config)
        )
    if holder is not None and _another(health, holder, now):
        message = f"{url} leads to another relay, not to the one that runs here (pid {holder.pid})"
        return Check(URL, "fail", message, _way(config))
    if holder is None:
        fix = "if the relay is meant to run here, let the address lead to this machine"
        return Check(URL, "warn", f"{url} leads to a relay, and none runs on this database", fix)
    if health["status"] == "down":
        fix = "it can't store anything: check the database above and the log of `wa-relay serve`"
        return Check(URL, "fail", f"{url} leads here, and the relay is down", fix)
    if health["status"] != "ok":
        fix = "check the other warnings and the log of `wa-relay serve`"
        return Check(URL, "warn", f"{url} leads here, and the relay is {one_line(str(health['status']))}", fix)
    if health["version"] != __version__:
        message = (
            f"{url} leads here; the daemon is version {one_line(str(health['version']))}, this command {__version__}"
        )
        return Check(URL, "warn", message, "restart the daemon")
    return Check(URL, "ok", f"{url} leads to this relay")


def _health_of(body: bytes) -> Mapping[str, object] | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    known = {"status", "version", "uptime_seconds", "database", "queue"}
    return data if isinstance(data, dict) and known <= set(data) else None


def _another(health: Mapping[str, object], holder: Holder, now: Moment) -> bool:
    uptime = health["uptime_seconds"]
    try:
        started = moment(holder.since)
    except ValueError:
        return False
    return isinstance(uptime, int | float) and abs(now - uptime - started) > SAME_START


def _way(config: Config) -> str:
    server = config.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    port = f":{server.port}" if server.port else " and the port that it prints"
    return (
        f"let DNS, certificate and reverse proxy connect {server.public_url} to http://{host}{port}; "
        f"if only this machine can't reach it, try from outside: curl {server.public_url}/health"
    )


def _twilio(config: Config) -> Check:
    address = f"{config.server.public_url}/webhook/twilio/incoming{OVERRIDES}"
    message = f"enter at Twilio, as the sender's webhook for incoming messages; not checked here:\n{address}"
    return _callable(TWILIO, config, config.twilio.base_url, message)


def _elevenlabs(config: Config) -> Check:
    address = f"{config.server.public_url}/webhook/elevenlabs/post-call"
    if not config.elevenlabs.webhook_secret:
        if not config.poll.enabled:
            fix = "without poll.enabled and elevenlabs.webhook_secret only POST /api/call-completed reports calls"
            return Check(ELEVENLABS, "warn", "off, because elevenlabs.webhook_secret is empty", fix)
        return Check(ELEVENLABS, "ok", "off, because elevenlabs.webhook_secret is empty: calls are found by polling")
    message = f"enter at ElevenLabs, as the post-call webhook; not checked here:\n{address}"
    return _callable(ELEVENLABS, config, config.elevenlabs.base_url, message)


def _callable(name: str, config: Config, service: str, message: str) -> Check:
    """An address of this machine can be called by a service of this machine only."""
    if is_loopback(urlsplit(config.server.public_url).hostname or "") and not is_loopback(
        urlsplit(service).hostname or ""
    ):
        fix = "set server.public_url to an https address that can be reached from the internet"
        return Check(name, "warn", "server.public_url is this machine: no service can call it", fix)
    return Check(name, "ok", message)
