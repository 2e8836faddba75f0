"""`wa-relay say`: send a message as a person and show its receipt."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from wa_relay.channel.errors import meaning
from wa_relay.cli.change import Json, change_beside_daemon
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.phones import read_phone
from wa_relay.cli.sent import FINAL, Result, show
from wa_relay.cli.settings import load_config
from wa_relay.cli.takeover import COMMAND_LINE
from wa_relay.ledger import human_messages
from wa_relay.ledger.human_messages import HumanMessage
from wa_relay.ledger.location import Location, location_of
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.unfinished_sends import Begun
from wa_relay.model import Moment, RelayError
from wa_relay.policy import LONGEST_HUMAN_MESSAGE
from wa_relay.reports.conversation import MessageEntry
from wa_relay.reports.conversation import message as read_message
from wa_relay.reports.tally import REASONS
from wa_relay.text.cleaning import visible

MAX_WAIT = 3600.0
_TEMPLATE = re.compile(r"HX[0-9A-Za-z_-]{1,64}")
PAUSE = 0.2
"""Seconds between two looks at the database."""


def say(
    ctx: typer.Context,
    to: Annotated[str, typer.Argument(metavar="PHONE", help="The phone number, with its country code.")],
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The text, sent exactly as written.")] = None,
    template: Annotated[
        str | None, typer.Option("--template", metavar="SID", help="Send this approved template instead of a text.")
    ] = None,
    var: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of the template.")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Send the template in quiet hours, too.")] = False,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for the receipt.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send a message as a person and wait for its receipt. It takes the conversation over."""
    options: Options = ctx.obj
    address, message = read_phone([to]), _message(text, template, var or [], anyway=anyway)
    if not 0 <= wait <= MAX_WAIT:
        raise typer.BadParameter(f"must be 0 to {MAX_WAIT:g} seconds", param_hint="--wait")

    begun = Begun(time.monotonic)

    def directly(ledger: Ledger, now: Moment) -> Json:
        stored = human_messages.write(ledger, address, message, COMMAND_LINE, None, now, begun)
        if not isinstance(stored, human_messages.Stored):
            raise RelayError(human_messages.why_refused(stored), permanent=True)
        return {"id": stored.message_id}

    stored = change_beside_daemon(options, "/say", {"phone": address, **_body(message)}, directly)
    result = _await_result(location_of(load_config(options)), int(stored["id"]), wait)
    show(result, wait, as_json=as_json)
    if not result.succeeded:
        raise typer.Exit(1)


def _message(text: str | None, template: str | None, variables: list[str], *, anyway: bool) -> HumanMessage:
    if (text is None) == (template is None):
        raise typer.BadParameter("give either a TEXT or --template SID", param_hint="TEXT")
    if text is not None:
        if variables or anyway:
            raise typer.BadParameter("--var and --anyway belong to --template", param_hint="--template")
        if not visible(text) or len(text) > LONGEST_HUMAN_MESSAGE:
            raise typer.BadParameter(f"must be a text of 1 to {LONGEST_HUMAN_MESSAGE} characters", param_hint="TEXT")
        return HumanMessage(text)
    if template is not None and not _TEMPLATE.fullmatch(template):
        raise typer.BadParameter("must be the SID of a template, as in HX…", param_hint="--template")
    pairs = [variable.partition("=") for variable in variables]
    if not all(name and mark and visible(value) for name, mark, value in pairs):
        raise typer.BadParameter("must be NAME=VALUE, as in 1=Ana", param_hint="--var")
    return HumanMessage(None, template, {name: value for name, _, value in pairs}, anyway)


def _body(message: HumanMessage) -> Json:
    if message.text is not None:
        return {"text": message.text}
    variables = dict(message.content_variables or {})
    return {"content_sid": message.content_sid, "content_variables": variables, "anyway": message.anyway}


def _await_result(place: Location, message_id: int, wait: float) -> Result:
    """Waits until the message has its receipt, for `wait` seconds at most."""
    end = time.monotonic() + wait
    with reading(place) as db:
        while True:
            message = read_message(db, message_id)
            assert message is not None
            if message.status in FINAL or time.monotonic() >= end:
                return _result_of(message)
            time.sleep(PAUSE)


def _result_of(message: MessageEntry) -> Result:
    if message.status == "failed":
        reason = message.reason or "failed"
        why = meaning(message.error_code) if message.error_code else f"{reason}: {REASONS.get(reason, 'see history')}"
        return Result(message.sid, "failed", message.error_code, why)
    if message.status == "uncertain":
        why = "it may or may not have been sent. It is looked up at Twilio, and never sent again automatically"
        return Result(message.sid, "uncertain", None, why, succeeded=True)
    return Result(message.sid, message.status, succeeded=True)
