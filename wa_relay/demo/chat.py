"""Lets the user at the terminal be the customer."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
from collections import deque
from typing import Any

from rich.cells import cell_len
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from wa_relay.demo.campaign import AGENT, ANA
from wa_relay.demo.stage import Stage, StepMissed

ENDS = frozenset({"", "salir"})
LONGEST = 4096
"""Characters of a WhatsApp message."""

_PROMPT = "you > "


async def chat(s: Stage) -> None:
    """Asks for messages and shows what comes back, until an empty line, `salir` or the end of the input."""
    s.screen.chapter("You are the customer")
    s.screen.note(
        f"You are {ANA.name}, and {AGENT.name} has just called you. Write in Spanish: ask for the price or the hours, "
        "or write BAJA. An empty line or “salir” ends the demo."
    )
    keyboard = Keyboard()
    try:
        while (text := await _typed(s, keyboard)) is not None:
            await _exchange(s, text)
    except asyncio.CancelledError:
        if keyboard.terminal:
            s.screen.show("")
        raise
    finally:
        keyboard.close()
    s.screen.note("The demo is over. The conversation and its database are deleted.")


async def _typed(s: Stage, keyboard: Keyboard) -> str | None:
    """The next message, drawn as a bubble; None at the end."""
    s.awaited = "you write something"
    console = s.screen.paper.console
    if keyboard.terminal:
        console.print(Text(_PROMPT, style="bold cyan"), end="")
        console.file.flush()
    line = await keyboard.line()
    if line is None and keyboard.terminal:
        s.screen.show("")
    if line is None or line.strip().casefold() in ENDS:
        return None
    text = line.strip()
    if len(text) > LONGEST:
        s.screen.note(f"WhatsApp allows {LONGEST} characters; the rest is cut off.")
        text = text[:LONGEST]
    if keyboard.terminal and console.is_terminal and not console.is_dumb_terminal:
        # A bubble replaces the typed line.
        rows = (cell_len(_PROMPT) + cell_len(line) - 1) // max(1, console.width) + 1
        for _ in range(rows):
            console.control(Control((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)))
    s.screen.theirs("you", text)
    return text


async def _exchange(s: Stage, text: str) -> None:
    """Sends a customer's message and shows the answer, or why none comes."""
    before, heard = len(s.twilio.journal.entries()), len(s.elevenlabs.journal.entries())
    was = await _status(s)
    delivery = await s.twilio.customer_writes(ANA.phone, text)
    if delivery.status != 200:
        raise StepMissed(f"wa-relay did not take the message: {delivery.status} {delivery.error}".rstrip())
    if was == await _status(s) == "opted_out":
        s.report_now("wa-relay", "Answers nothing: you have opted out. ALTA brings you back.")
        return
    answer = await s.sent_after("you are answered", ANA.phone, before)
    asked = [one for one in s.elevenlabs.journal.after(heard) if one.kind == "user_message"]
    if asked and await s.knew(asked[0], ANA):
        s.report(asked[0], "ElevenLabs", f"{AGENT.name} gets the question, with the call and the thread.")
    s.screen.ours("you", str(answer.data["shown"]))


async def _status(s: Stage) -> Any:
    _, body = await s.api("GET", f"/api/conversations/{ANA.phone}")
    return body.get("status")


class Keyboard:
    """Lines of standard input, read without blocking the event loop."""

    def __init__(self) -> None:
        self._fd = _stdin()
        self.terminal = self._fd is not None and os.isatty(self._fd)
        self._decode = codecs.getincrementaldecoder(_encoding())(errors="replace")
        self._lines: deque[str] = deque()
        self._rest = ""
        self._over = self._fd is None
        self._ready = asyncio.Event()
        self._watched = False

    async def line(self) -> str | None:
        """The next line without its end, None when there is no more."""
        while not self._lines and not self._over:
            await self._wait()
            self._read()
        return self._lines.popleft() if self._lines else None

    def close(self) -> None:
        """Stops watching."""
        if self._watched and self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._watched = False

    async def _wait(self) -> None:
        assert self._fd is not None
        self._ready.clear()
        try:
            asyncio.get_running_loop().add_reader(self._fd, self._ready.set)
        except PermissionError:
            return  # a file can always be read
        self._watched = True
        await self._ready.wait()
        self.close()

    def _read(self) -> None:
        assert self._fd is not None
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""
        self._over = not data
        *lines, self._rest = (self._rest + self._decode.decode(data, final=not data)).split("\n")
        self._lines.extend(line.removesuffix("\r") for line in lines)
        if self._over and self._rest:
            self._lines.append(self._rest)
            self._rest = ""


def _stdin() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _encoding() -> str:
    # In the C locale Python assumes ASCII, while terminals write UTF-8.
    named = (getattr(sys.stdin, "encoding", None) or "utf-8").lower()
    return "utf-8" if named in {"ascii", "us-ascii", "ansi_x3.4-1968"} else named
