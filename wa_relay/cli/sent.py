"""The result of one send, as `send-test` and `say` show it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import typer

from wa_relay.text.escaping import one_line

FINAL = frozenset({"delivered", "read", "undelivered", "failed", "canceled", "uncertain"})
"""Statuses that end the wait."""


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a message. `meaning` explains a failure; `succeeded` decides the exit code."""

    sid: str | None
    status: str
    error_code: str | None = None
    meaning: str | None = None
    succeeded: bool = False
    connected: bool = True

    def to_json(self) -> Mapping[str, str | None]:
        """The object of `send-test --json` and `say --json`."""
        return {
            "whatsapp_message_id": self.sid,
            "status": self.status,
            "error_code": self.error_code,
            "meaning": self.meaning,
        }


def show(result: Result, wait: float, *, as_json: bool) -> None:
    """Prints a result; `wait` is the time in seconds for which its receipt was awaited."""
    if as_json:
        typer.echo(json.dumps(result.to_json(), ensure_ascii=False, indent=2))
        return
    if not result.connected:
        return
    typer.echo(" ".join(filter(None, (result.sid, result.status))))
    if result.meaning:
        code = f"{result.error_code}: " if result.error_code else ""
        typer.echo(f"{code}{one_line(result.meaning)}.")
    elif result.sid is None:
        typer.echo("It waits to be sent. See `wa-relay history` later.")
    elif result.status not in FINAL:
        waited = f"after {wait:g} s" if wait else "yet"
        typer.echo(f"Twilio accepted it. There is no delivery receipt {waited}.")
