"""`wa-relay send-test`: one message to one person, and what became of it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from wa_relay.cli.settings import Settings
from wa_relay.model import RelayError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wa_relay.channel.twilio import TwilioChannel
    from wa_relay.config import Config
    from wa_relay.model import Listed, NotSent, Refused, Unclear

DEFAULT_MESSAGE = "Hola, este es un mensaje de prueba de wa-relay."
LONGEST = 1600
"""Characters: Twilio refuses more (21617)."""

LONGEST_WAIT = 3600.0
FINAL = frozenset({"delivered", "read", "undelivered", "failed", "canceled"})
FAILED = frozenset({"undelivered", "failed", "canceled"})
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between two questions after the receipt."""

NEEDS = ("twilio.account_sid", "twilio.auth_token", "twilio.sender")


class NoConnection(RelayError):
    """Twilio can't be reached: nothing was sent."""

    exit_code = 75


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the message. `meaning` says a failure in words; `got_away` is what the exit status tells."""

    sid: str | None
    status: str
    error_code: str | None = None
    meaning: str | None = None
    got_away: bool = False
    connected: bool = True

    def to_json(self) -> Mapping[str, str | None]:
        """The object of `send-test --json`."""
        return {
            "whatsapp_message_id": self.sid,
            "status": self.status,
            "error_code": self.error_code,
            "meaning": self.meaning,
        }


def send_test(
    ctx: typer.Context,
    to: Annotated[str, typer.Argument(metavar="TO", help="The phone, with its country code.")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What to say.")] = DEFAULT_MESSAGE,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for its receipt.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send one WhatsApp message and tell what became of it."""
    settings: Settings = ctx.obj
    person, words = _person(to), _words(message)
    if not 0 <= wait <= LONGEST_WAIT:
        raise typer.BadParameter(f"0 to {LONGEST_WAIT:g} seconds is wanted", param_hint="--wait")
    config = settings.config()
    _require_twilio(config)
    _refuse_opted_out(config.database.path, person)

    import asyncio

    outcome = asyncio.run(_send(config, person, words, wait))
    _show(outcome, wait, as_json=as_json)
    if not outcome.connected:
        raise NoConnection(str(outcome.meaning))
    if not outcome.got_away:
        raise typer.Exit(1)


def _person(to: str) -> str:
    from wa_relay import phone

    try:
        return phone.parse(to)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="TO") from None


def _words(message: str) -> str:
    from wa_relay.text.plain import clean, visible

    if not visible(message) or len(message) > LONGEST:
        raise typer.BadParameter(f"a text of 1 to {LONGEST} characters is wanted", param_hint="MESSAGE")
    return clean(message)


def _require_twilio(config: Config) -> None:
    from wa_relay.config import ConfigError, require_serve

    if faults := [fault for fault in require_serve(config) if fault.key in NEEDS]:
        raise ConfigError(faults)


def _refuse_opted_out(database: Path, person: str) -> None:
    """Raises `RelayError` for somebody who has opted out. Without a database nobody has."""
    from wa_relay.cli.reading import reading
    from wa_relay.ledger import consent
    from wa_relay.ledger.faults import DatabaseMissing

    try:
        with reading(database) as db:
            opted_out = db.execute(consent.SELECT_OPT_OUT_IN_FORCE, consent.spellings(person)).fetchone() is not None
    except DatabaseMissing:
        return
    if opted_out:
        raise RelayError(
            f"{person} has opted out: nothing is sent to them until they write ALTA or START.", permanent=True
        )


async def _send(config: Config, person: str, words: str, wait: float) -> Outcome:
    import aiohttp

    from wa_relay.channel.twilio import TwilioChannel
    from wa_relay.model import Accepted, Outgoing

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
        channel = TwilioChannel.of(http, config.twilio)
        result = await channel.send(Outgoing(None, person, body=words))
        if not isinstance(result, Accepted):
            return _not_accepted(result)
        if wait and sys.stderr.isatty():
            print(f"Twilio took it as {result.sid}; waiting up to {wait:g} s for its receipt …", file=sys.stderr)
        return _judged(result.sid, result.status, await _receipt(channel, result.sid, wait))


async def _receipt(channel: TwilioChannel, sid: str, wait: float) -> Listed | None:
    """The message as Twilio last told it; ends at a final status, at the latest when the wait is over."""
    import asyncio

    from wa_relay.model import UpstreamError

    told: Listed | None = None
    pause = FIRST_PAUSE
    try:
        async with asyncio.timeout(wait):
            while told is None or told.status not in FINAL:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 1.5)
                try:
                    told = await channel.fetch(sid) or told
                except UpstreamError:
                    # The message is with Twilio whatever becomes of the question.
                    continue
    except TimeoutError:
        pass
    return told


def _judged(sid: str, accepted_as: str, told: Listed | None) -> Outcome:
    from wa_relay.channel.errors import meaning

    status = told.status if told is not None and told.status else accepted_as
    if status not in FAILED:
        return Outcome(sid, status, got_away=True)
    code = told.error_code if told is not None else None
    return Outcome(sid, status, code, meaning(code))


def _not_accepted(result: Refused | NotSent | Unclear) -> Outcome:
    from wa_relay.model import NotSent, Refused

    if isinstance(result, Refused):
        return Outcome(None, "failed", result.code, result.meaning)
    if isinstance(result, NotSent):
        return _not_sent(result.evidence)
    words = f"it may have been sent or not ({result.evidence}), and is not sent again: look in Twilio's log"
    return Outcome(None, "uncertain", None, words)


def _not_sent(evidence: str) -> Outcome:
    from wa_relay.channel.errors import CODES, meaning

    if evidence.startswith("no connection"):
        words = f"Twilio can't be reached ({evidence}): nothing was sent. Check the network, then try again"
        return Outcome(None, "failed", None, words, connected=False)
    code = evidence.rsplit(maxsplit=1)[-1]
    if code not in CODES:
        return Outcome(None, "failed", None, f"nothing was sent, as Twilio has no time ({evidence}): try again later")
    words = meaning(code).removesuffix(": it is sent again by itself")
    return Outcome(None, "failed", code, f"{words}. Nothing was sent: try again later")


def _show(outcome: Outcome, wait: float, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(outcome.to_json(), ensure_ascii=False, indent=2))
        return
    if not outcome.connected:
        return
    typer.echo(" ".join(filter(None, (outcome.sid, outcome.status))))
    if outcome.meaning:
        code = f"{outcome.error_code}: " if outcome.error_code else ""
        typer.echo(f"{code}{outcome.meaning}.")
    elif outcome.status not in FINAL:
        waited = f"after {wait:g} s" if wait else "yet"
        typer.echo(f"Twilio took it; no receipt of its delivery {waited}.")
