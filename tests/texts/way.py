"""The way of one text: a customer's text reaches the agent whole, and the agent's answer reaches the customer."""

from __future__ import annotations

import base64
import hmac
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from wa_relay.channel import inbound
from wa_relay.ledger import calls, claims, file, inbox, send_results, store, turns
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Call
from wa_relay.policy import OpeningText, Rules
from wa_relay.text.cleaning import visible
from wa_relay.text.graphemes import divides
from wa_relay.text.markdown import to_whatsapp
from wa_relay.text.splitting import split, units

NOW = 1_795_000_000.0
TOKEN, URL = "0123456789abcdef0123456789abcdef", "https://relay.example.com/webhook/twilio/incoming"
LIMIT = 300
RULES = Rules(
    timezone=ZoneInfo("America/Bogota"),
    openings={"completed": OpeningText("Hola")},
    max_length=LIMIT,
    burst_limit=0,
    max_turns_per_hour=0,
    debounce=0.0,
)

SCOTLAND = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct") + "\U000e007f"
WHOLES = ("👨‍👩‍👧‍👦", "👋🏽", "🇨🇴", "1️⃣", "❤️‍🔥", SCOTLAND, "e\u0301", "n\u0303", "क\u0941", "\u1112\u1161\u11ab")
WORDS = (
    "hola",
    "¿qué",
    "tal?",
    "Sí.",
    "plan",
    "$99.000",
    "mañana,",
    "10:30",
    "*",
    "_",
    "~5",
    "a_b",
    "2*3",
    "<b>",
    "日本語",
)
ADDRESSES = ("https://x.co/planes", "https://x.co/a_b/*c", "http://ejemplo.co/?q=1&r=_x_y", "HTTPS://X.CO/" + "a" * 90)
FRAMES = (
    "{}",
    "**{}**",
    "*{}*",
    "_{}_",
    "~~{}~~",
    "`{}`",
    "# {}",
    "- {}",
    "> {}",
    "[{}](https://x.co/planes)",
    "```\n{}\n```",
)
BREAKS = (" ", " ", " ", " ", "\n", "\n\n", ". ")
MARKS = "*_~`"


class Broken(AssertionError):
    """A text that did not arrive whole."""


def texts(dice: random.Random) -> Iterator[str]:
    """An endless stream of texts: words, emoji, addresses and Markdown, and now and then arbitrary characters."""
    while True:
        if dice.random() < 0.1:
            yield "".join(chr(_scalar(dice)) for _ in range(dice.randrange(1, 400)))
            continue
        pieces = [_piece(dice) for _ in range(dice.choice((1, 3, 20, 120)))]
        yield "".join(piece + dice.choice(BREAKS) for piece in pieces)


def _scalar(dice: random.Random) -> int:
    while True:
        code = dice.choice((dice.randrange(1, 0x250), dice.randrange(1, 0x3000), dice.randrange(1, 0x110000)))
        # A part without a visible character is left out.
        if unicodedata.category(chr(code)) not in ("Cc", "Cn", "Co", "Cs"):
            return code


def _piece(dice: random.Random) -> str:
    words = [dice.choice(dice.choice((WORDS, WORDS, WORDS, WHOLES, ADDRESSES))) for _ in range(dice.randrange(1, 9))]
    return dice.choice(FRAMES).format(" ".join(words)) if dice.random() < 0.3 else " ".join(words)


class Way:
    """One relay's ledger, through which texts go."""

    def __init__(self, folder: Path) -> None:
        found = file.open_for_writing(folder / "relay.db", account_sid="AC1", now=NOW - 3600.0)
        self.ledger = Ledger(found.connection, RULES)
        store.begin_run(self.ledger, NOW - 3600.0)
        self.sent = 0

    def carry(self, number: int, text: str) -> None:
        """Carries a text from a customer to the agent, and back as the agent's answer. Raises `Broken`."""
        phone, at = f"+5731{number:08}", NOW + number
        calls.record_call(self.ledger, Call(f"conv_{number}", phone, "agent_1", "completed", "push", ended_at=at), at)
        self._send(at)
        if not text.strip() or "\x00" in text:
            return
        message = inbound.parse_inbound(_posted(number, phone, text))
        received = inbox.record_inbound(self.ledger, message, at + 1)
        (job,) = turns.claim_turns(self.ledger, 9, at + 2).jobs or (None,)
        if job is None or received.effect != "turn":
            raise Broken(f"the text did not reach the agent: {text!r}")
        if job.question.text != text:
            raise Broken(f"the agent was asked {job.question.text!r} instead of {text!r}")
        whole = to_whatsapp(text)
        parts = [part for part in split(whole, LIMIT) if visible(part)]
        turns.finish_turn(self.ledger, job.turn_id, parts, None, at + 2)
        sent: list[str] = []
        for step in range(len(parts)):
            sent += self._send(at + 10 + step * 10)
        if sent != parts:
            raise Broken(f"{len(sent)} of {len(parts)} parts were sent, or not in order: {text!r}")
        check(whole, sent)
        self.sent += len(sent)

    def _send(self, at: float) -> list[str]:
        bodies = []
        for job in claims.claim_messages(self.ledger, 9, at).jobs:
            message_id = job.outgoing.message_id or 0
            send_results.finish_send(self.ledger, message_id, Accepted(f"SM{message_id:032x}"), at)
            bodies.append(job.outgoing.body or "")
        return bodies


def _posted(number: int, phone: str, text: str) -> inbound.Fields:
    """The form as Twilio signs and posts it, read as the webhook does."""
    values = {"MessageSid": f"SM{10**20 + number:032x}", "From": f"whatsapp:{phone}", "Body": text, "NumMedia": "0"}
    signed = URL + "".join(name + value for name, value in sorted(values.items()))
    signature = base64.b64encode(hmac.digest(TOKEN.encode(), signed.encode(), "sha1")).decode()
    fields = inbound.form(urlencode(values).encode())
    if not inbound.signature_ok(TOKEN, URL, fields, signature):
        raise Broken(f"the signature of {text!r} was refused")
    inbound.require_readable(fields)
    return fields


def bare(text: str) -> str:
    """A text without blanks and marks, which no cut may remove or change."""
    return "".join(each for each in text if not each.isspace() and each not in MARKS)


def check(whole: str, parts: list[str]) -> None:
    """Raises `Broken` unless the parts are the whole text, with nothing lost and no visible character divided."""
    if bare("".join(parts)) != bare("".join(part for part in split(whole, 10**9) if visible(part))):
        raise Broken(f"text was lost: {whole!r} {parts!r}")
    if any(units(part) > LIMIT for part in parts):
        raise Broken(f"a part is too long: {whole!r}")
    for part in parts[1:]:
        if not divides("x" + part, 1):
            raise Broken(f"a visible character was divided: {whole!r} {parts!r}")
    for each in ADDRESSES:
        if sum(part.count(each) for part in parts) < whole.count(each):
            raise Broken(f"the address {each} was divided: {whole!r} {parts!r}")
