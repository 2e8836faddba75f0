"""`wa-relay resolve`: list the sends with an unknown outcome, or decide one."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from wa_relay.cli.change import Json, change, cli_actor
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.settings import load_config
from wa_relay.ledger import operator_decisions
from wa_relay.ledger.location import location_of
from wa_relay.ledger.operator_decisions import Decision
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment
from wa_relay.reports import awaiting_operator
from wa_relay.reports.awaiting_operator import Undecided
from wa_relay.text.escaping import one_line

SHOWN = 200
"""Characters of a message in the list."""

NEXT_STEP = "Look in Twilio's log for the message, then: wa-relay resolve ID --sent SID | --resend | --cancel"
QUESTIONS: dict[Decision, str] = {
    "sent": "Record message {id} as sent?",
    "resend": "Send message {id} again? If it was sent after all, the customer gets it twice.",
    "cancel": "Cancel message {id}?",
}


def resolve(
    ctx: typer.Context,
    message_id: Annotated[str | None, typer.Argument(metavar="ID", help="The message to decide.")] = None,
    sent: Annotated[str | None, typer.Option("--sent", metavar="SID", help="It was sent, with this SID.")] = None,
    resend: Annotated[bool, typer.Option("--resend", help="It was not sent: send it again.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="It was not sent: do not send it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Required without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the sends with an unknown outcome, or decide one."""
    options: Options = ctx.obj
    decisions = _decisions(sent, resend=resend, cancel=cancel)
    if message_id is None:
        if decisions:
            raise typer.BadParameter("name the message: wa-relay resolve ID --resend")
        _list(options, as_json=as_json)
        return
    number = _read_id(message_id)
    if len(decisions) != 1:
        raise typer.BadParameter("choose one of --sent SID, --resend, --cancel")
    if sent is not None and not operator_decisions.is_sid(sent):
        raise typer.BadParameter("a SID is SM or MM and 32 hexadecimal digits", param_hint="--sent")
    (decision,) = decisions
    if not yes:
        _confirm(options, number, decision)
    result = _decide(options, number, decision, sent)
    typer.echo(f"Message {number} is now {result['status']}.")


def _decisions(sent: str | None, *, resend: bool, cancel: bool) -> list[Decision]:
    chosen: list[tuple[Decision, bool]] = [("sent", sent is not None), ("resend", resend), ("cancel", cancel)]
    return [decision for decision, given in chosen if given]


def _decide(options: Options, number: int, decision: Decision, sid: str | None) -> Json:
    user = cli_actor()

    def directly(ledger: Ledger, now: Moment) -> Json:
        return {"status": operator_decisions.resolve(ledger, number, decision, sid, user, now)}

    return change(options, "/resolve", {"id": number, "decision": decision, "sid": sid, "by": user}, directly)


def _uncertain(options: Options) -> list[Undecided]:
    with reading(location_of(load_config(options))) as db:
        return awaiting_operator.uncertain(db, time.time())


def _list(options: Options, *, as_json: bool) -> None:
    rows = _uncertain(options)
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], ensure_ascii=False, indent=2))
        return
    if not rows:
        typer.echo("Nothing needs a decision.")
        return
    for row in rows:
        minutes = int(row.age_seconds // 60)
        typer.echo(f"{row.id}  {row.phone_number}  {row.kind}  attempted {row.attempted_at} ({minutes} min ago)")
        typer.echo(f"    {one_line(row.content)[:SHOWN]}")
        typer.echo(f"    {_describe_evidence(row)}")
    typer.echo(f"\n{NEXT_STEP}")


def _confirm(options: Options, number: int, decision: Decision) -> None:
    """Asks on a terminal, and raises `typer.Abort` for a no. Without a terminal, `--yes` is required."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("without a terminal a decision requires --yes", param_hint="--yes")
    row = next((row for row in _uncertain(options) if row.id == number), None)
    if row is not None:
        typer.echo(f"Message {number} to {row.phone_number}: {one_line(row.content)[:SHOWN]}")
        typer.echo(f"    {_describe_evidence(row)}")
    typer.confirm(QUESTIONS[decision].format(id=number), abort=True)


def _describe_evidence(row: Undecided) -> str:
    """Returns the evidence about the send; before the first look-up, that Twilio may have it."""
    evidence = one_line(row.evidence or "no response")
    if not row.lookups:
        return f"{evidence}; not looked up at Twilio yet, which may have it"
    found = f"{row.lookup_matches} messages could be it" if row.lookup_matches else "nothing found"
    return f"{evidence}; look-up {row.lookups}: {found}"


def _read_id(message_id: str) -> int:
    if not (message_id.isascii() and message_id.isdigit() and int(message_id) > 0):
        raise typer.BadParameter("a message id is a whole number, as listed by `wa-relay resolve`")
    return int(message_id)
