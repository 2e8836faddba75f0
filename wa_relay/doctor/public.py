"""The public address: that it leads to this relay, and that nothing on the way changes a webhook."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

import httpx

from wa_relay.channel.inbound import signature_of
from wa_relay.config import Config
from wa_relay.config.place_types import is_loopback
from wa_relay.doctor.check import LIMIT, Check, ask
from wa_relay.doctor.daemon import Health, health_of, local_url
from wa_relay.model import UpstreamError
from wa_relay.text.escaping import one_line

URL, ELEVENLABS = "public URL", "ElevenLabs webhook"
STATUS_PATH = "/webhook/twilio/status"
POST_CALL_PATH = "/webhook/elevenlabs/post-call"
QUERY = "m=0&d=" + quote("doctor a+b/ñ", safe="")
"""The query of a status callback that names no message, so that nothing is stored."""

_LARGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A response, or the beginning of a long one."""

    status: int
    body: bytes


async def examine(config: Config, local: Health | None, end: float, *, elsewhere: bool = False) -> Check:
    """Asks the public address until the loop's time is `end`.

    `local` is the daemon of this machine; `elsewhere` is true if daemons on other hosts serve the same database.
    """
    url = config.server.public_url
    if not url:
        return Check(URL, "skipped", "needs server.public_url")
    if is_loopback(urlsplit(url).hostname or "") and not is_loopback(urlsplit(config.twilio.base_url).hostname or ""):
        fix = "set server.public_url to an https address that can be reached from the internet"
        return Check(URL, "fail", "server.public_url is this machine: no service can call it", fix)
    try:
        response = await ask(_request("GET", f"{url}/health"), url, end)
    except UpstreamError as error:
        return Check(
            URL, "fail", f"nothing answers: {one_line(error.message)}", _suggest_connection(config), cause="service"
        )
    if found := judge(config, response, local, elsewhere=elsewhere):
        return found
    if not config.twilio.auth_token or not config.twilio.account_sid:
        return Check(URL, "ok", f"{url} leads to this relay")
    return await _round_trip(config, end)


def judge(config: Config, response: Response, local: Health | None, *, elsewhere: bool = False) -> Check | None:
    """Returns what is wrong with the health that the public address shows; None if it is this daemon's."""
    url, status = f"{config.server.public_url}/health", response.status
    if 300 <= status < 400:
        fix = "set server.public_url to its target: Twilio signs the address that it calls"
        return Check(URL, "fail", f"{url} redirects (HTTP {status})", fix)
    health = health_of(response.body)
    if health is None and status >= 500:
        message = f"a proxy responds at {url} with HTTP {status}: it does not reach the relay behind it"
        return Check(URL, "fail", message, _suggest_connection(config), cause="service")
    if health is None or status not in (200, 503):
        message = f"{url} belongs to another program: HTTP {status}, and the response is not from wa-relay"
        return Check(URL, "fail", message, _suggest_connection(config))
    if local is None and elsewhere:
        return None
    if local is None:
        fix = "if the relay is meant to run here, start `wa-relay serve` and let the address lead to this machine"
        return Check(URL, "warn", f"{url} leads to a relay, and none runs on this database", fix)
    # Several daemons may serve one PostgreSQL database: which of them answers is the load balancer's choice.
    if health.instance != local.instance and local.daemons < 2:
        return Check(
            URL, "fail", f"{url} leads to another wa-relay, not to the one that runs here", _suggest_connection(config)
        )
    return None


async def _round_trip(config: Config, end: float) -> Check:
    """Sends a signed status webhook by the public address: 204 if nothing on the way changes it."""
    url = config.server.public_url
    try:
        response = await ask(_probe(config, url), url, end)
    except UpstreamError as error:
        message = f"{url} leads to this relay, and a webhook to it gets no response: {one_line(error.message)}"
        return Check(URL, "fail", message, _suggest_connection(config), cause="service")
    if response.status == 204:
        return Check(URL, "ok", f"{url} leads to this relay, and passes on a signed webhook unchanged")
    code = _error_code(response.body)
    if code == "wrong_account":
        fix = "restart the daemon, so that it uses the configuration's account"
        return Check(URL, "fail", "the daemon serves another Twilio account than the configuration names", fix)
    if code == "bad_signature" and await _post_past_proxy(config, end) == 403:
        message = "the daemon checks signatures with another twilio.auth_token or server.public_url than this command"
        return Check(URL, "fail", message, "restart the daemon, so that it uses this configuration", cause="signature")
    if code == "bad_signature":
        message = f"a proxy at {url} changes the path, the query or the body of a webhook: its signature is refused"
    else:
        message = f"a proxy at {url} changes or refuses a signed webhook (HTTP {response.status} instead of 204)"
    fix = f"pass path, query and body on as they arrive, to {local_url(config) or 'the port of the relay'}"
    return Check(URL, "fail", message, fix, cause="signature")


async def _post_past_proxy(config: Config, end: float) -> int | None:
    """Sends the same webhook past the proxy; returns the status, None without a response."""
    if (url := local_url(config)) is None:
        return None
    try:
        return (await ask(_probe(config, url), url, end)).status
    except UpstreamError:
        return None


async def _probe(config: Config, to: str) -> Response:
    signed = f"{config.server.public_url}{STATUS_PATH}?{QUERY}"
    fields = {
        "AccountSid": config.twilio.account_sid,
        "MessageSid": "SM" + secrets.token_hex(16),
        "MessageStatus": "delivered",
        "From": config.twilio.sender or "whatsapp:+15005550006",
        "To": "whatsapp:+15005550006",
        "ErrorMessage": "",
        "ProfileName": "Doña Ana + Íñigo ☎",
    }
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "X-Twilio-Signature": signature_of(config.twilio.auth_token.reveal(), signed, fields),
    }
    return await _request("POST", f"{to}{STATUS_PATH}?{QUERY}", urlencode(fields).encode(), headers)


async def _request(method: str, url: str, content: bytes = b"", headers: dict[str, str] | None = None) -> Response:
    own = is_loopback(urlsplit(url).hostname or "")
    body = b""
    try:
        async with (
            httpx.AsyncClient(timeout=LIMIT, follow_redirects=False, trust_env=not own) as http,
            http.stream(method, url, content=content or None, headers=headers) as answer,
        ):
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST:
                    break
            return Response(answer.status_code, body)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise UpstreamError(f"{url} can't be reached ({str(error) or type(error).__name__})") from error


def _error_code(body: bytes) -> str:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return str(data.get("error") or "") if isinstance(data, dict) else ""


def _suggest_connection(config: Config) -> str:
    to = local_url(config) or "the port that `wa-relay serve` prints"
    return (
        f"let DNS, certificate and reverse proxy connect {config.server.public_url} to {to}; "
        f"if only this machine can't reach it, try from outside: curl {config.server.public_url}/health"
    )


def post_call(config: Config, *, seen: bool, database: bool) -> Check:
    """Checks if ElevenLabs' post-call webhook arrives. `database` is false without one to ask."""
    if not config.elevenlabs.webhook_secret:
        if not config.poll.enabled:
            fix = "without poll.enabled and elevenlabs.webhook_secret only POST /api/call-completed reports calls"
            return Check(ELEVENLABS, "warn", "off, because elevenlabs.webhook_secret is empty", fix)
        return Check(ELEVENLABS, "ok", "off, because elevenlabs.webhook_secret is empty: calls are found by polling")
    if not database:
        return Check(ELEVENLABS, "skipped", "needs the database, which records the first one")
    if seen:
        return Check(ELEVENLABS, "ok", "correctly signed webhooks have arrived")
    fix = (
        f"ElevenLabs, Agents, Settings, post-call webhook: enter {config.server.public_url}{POST_CALL_PATH} "
        "with this secret; or empty elevenlabs.webhook_secret"
    )
    message = "elevenlabs.webhook_secret is set, and no correctly signed post-call webhook has ever arrived"
    return Check(ELEVENLABS, "warn", message, fix)
