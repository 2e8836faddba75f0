"""`wa-relay send-test`: send one message and show its status."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import aiohttp
import typer

from wa_relay import phone
from wa_relay.channel.errors import CODES, meaning
from wa_relay.channel.twilio import TwilioChannel
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.sent import FINAL, Result, show
from wa_relay.cli.settings import load_config
from wa_relay.config import Config, ConfigError, require_serve
from wa_relay.ledger import consent
from wa_relay.ledger.faults import DatabaseMissing
from wa_relay.ledger.location import Location, location_of
from wa_relay.model import Accepted, Listed, NotSent, Outgoing, RelayError, SendRefused, Unclear, UpstreamError
from wa_relay.text.cleaning import clean, visible

DEFAULT_MESSAGE = "Hola, este es un mensaje de prueba de wa-relay."
MAX_LENGTH = 1600
"""Characters: Twilio refuses more (21617)."""

MAX_WAIT = 3600.0
FAILED = frozenset({"undelivered", "failed", "canceled"})
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between two queries for the receipt."""

NEEDS = ("twilio.account_sid", "twilio.auth_token", "twilio.sender")


class NoConnection(RelayError):
    """Twilio can't be reached: nothing was sent."""

    exit_code = 75


def send_test(
    ctx: typer.Context,
    to: Annotated[str, typer.Argument(metavar="TO", help="The phone number, with its country code.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The text to send.")] = DEFAULT_MESSAGE,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for the receipt.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send one WhatsApp message and wait for its receipt.

    The message is part of no conversation and of no report.
    """
    options: Options = ctx.obj
    number, text = _number(to), _text(message)
    if not 0 <= wait <= MAX_WAIT:
        raise typer.BadParameter(f"must be 0 to {MAX_WAIT:g} seconds", param_hint="--wait")
    config = load_config(options)
    _require_twilio(config)
    _refuse_opted_out(location_of(config), number)
    result = asyncio.run(_send(config, number, text, wait))
    show(result, wait, as_json=as_json)
    if not result.connected:
        raise NoConnection(str(result.meaning))
    if not result.succeeded:
        raise typer.Exit(1)


def _number(to: str) -> str:
    try:
        return phone.parse(to)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="TO") from None


def _text(message: str) -> str:
    if not visible(message) or len(message) > MAX_LENGTH:
        raise typer.BadParameter(f"must be a text of 1 to {MAX_LENGTH} characters", param_hint="MESSAGE")
    return clean(message)


def _require_twilio(config: Config) -> None:
    if faults := [fault for fault in require_serve(config) if fault.key in NEEDS]:
        raise ConfigError(faults)


def _refuse_opted_out(database: Location, number: str) -> None:
    """Raises `RelayError` for a customer who has opted out. Without a database there are no opt-outs."""
    try:
        with reading(database) as db:
            opted_out = consent.has_opted_out(db, number)
    except DatabaseMissing:
        return
    if opted_out:
        raise RelayError(
            f"{number} has opted out. Nothing is sent to this number until the customer writes ALTA or START.",
            permanent=True,
        )


async def _send(config: Config, number: str, text: str, wait: float) -> Result:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
        channel = TwilioChannel.of(http, config.twilio)
        response = await channel.send(Outgoing(None, number, body=text))
        if not isinstance(response, Accepted):
            return _not_accepted(response)
        if wait and sys.stderr.isatty():
            print(f"Twilio accepted {response.sid}; waiting up to {wait:g} s for the receipt …", file=sys.stderr)
        return _accepted(response.sid, response.status, await _receipt(channel, response.sid, wait))


async def _receipt(channel: TwilioChannel, sid: str, wait: float) -> Listed | None:
    """Returns the message as Twilio lists it, once its status is final or the wait is over."""
    latest: Listed | None = None
    pause = FIRST_PAUSE
    try:
        async with asyncio.timeout(wait):
            while latest is None or latest.status not in FINAL:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 1.5)
                try:
                    latest = await channel.fetch(sid) or latest
                except UpstreamError:
                    # Twilio has the message, even if this query fails.
                    continue
    except TimeoutError:
        pass
    return latest


def _accepted(sid: str, accepted_as: str, latest: Listed | None) -> Result:
    status = latest.status if latest is not None and latest.status else accepted_as
    if status not in FAILED:
        return Result(sid, status, succeeded=True)
    code = latest.error_code if latest is not None else None
    return Result(sid, status, code, meaning(code))


def _not_accepted(response: SendRefused | NotSent | Unclear) -> Result:
    if isinstance(response, SendRefused):
        return Result(None, "failed", response.code, response.meaning)
    if isinstance(response, NotSent):
        return _not_sent(response)
    text = f"it may or may not have been sent ({response.evidence}). It is not sent again. Check Twilio's log"
    return Result(None, "uncertain", None, text)


def _not_sent(response: NotSent) -> Result:
    if not response.answered:
        text = f"Twilio can't be reached ({response.evidence}). Nothing was sent. Check the network and try again"
        return Result(None, "failed", None, text, connected=False)
    if response.code not in CODES:
        text = f"Twilio is too busy ({response.evidence}). Nothing was sent. Try again later"
        return Result(None, "failed", None, text)
    text = meaning(response.code).removesuffix(": it is sent again automatically")
    return Result(None, "failed", response.code, f"{text}. Nothing was sent. Try again later")
