"""The console beside the demo: a link that opens it, a customer who requests a person, and an operator who answers."""

from __future__ import annotations

import asyncio
import functools
import secrets

from wa_relay.demo.campaign import LUIS
from wa_relay.demo.stage import Stage, StepMissed
from wa_relay.standins.journal import Entry

USER = "demo"
_ASKS = "Hablar con una persona"
_THANKS = ("¡Gracias! Justo eso quería saber.", "Perfecto, quedo pendiente.", "Listo, mil gracias.")
_TYPES = 1.5
"""Seconds that the customer takes to write."""

_FOR_EVER = 10.0 * 365 * 86400


async def add_user(s: Stage) -> None:
    """Adds the user of the links, with a password that is thrown away."""
    await _console(s, "user", "add", USER, "--role", "admin", typed=secrets.token_urlsafe(24))


async def show_link(s: Stage, what: str) -> None:
    """Prints a link that logs in once within 10 minutes."""
    link = (await _console(s, "link", USER)).strip()
    s.screen.chapter(what)
    s.screen.note("Open this in your browser; it logs in once, within 10 minutes:")
    # Not as a note: a link that is wrapped can't be clicked.
    s.screen.link(link)


async def stay(s: Stage) -> None:
    """Lets a customer request a person, prints a link, and keeps running until Ctrl-C."""
    before = len(s.twilio.journal.entries())
    await s.twilio.customer_burst(LUIS.phone, (_ASKS,))
    promised = await s.sent_after(f"{LUIS.name} is promised a person", LUIS.phone, before)
    await show_link(s, "Now it is your turn")
    s.screen.note(f"{LUIS.name} asks for a person. Take the conversation over and write: he answers.")
    s.screen.note("Ctrl-C ends the demo.")
    newest = promised.number
    for thanks in _THANKS:
        written = await s.twilio.journal.wait_for(functools.partial(_to_luis_after, newest), _FOR_EVER)
        newest = written.number
        await asyncio.sleep(_TYPES)
        await s.twilio.customer_burst(LUIS.phone, (thanks,))
    await asyncio.Event().wait()


def _to_luis_after(number: int, entry: Entry) -> bool:
    return entry.kind == "accepted" and entry.number > number and entry.data["to"] == f"whatsapp:{LUIS.phone}"


async def _console(s: Stage, *arguments: str, typed: str = "") -> str:
    code, out, err = await s.daemon.command("console", *arguments, env={"NO_COLOR": "1"}, typed=typed)
    if code:
        raise StepMissed(f"`wa-relay console {' '.join(arguments)}` failed: {err.strip()}")
    return out
