"""The list of messages: filters, pages that hold while messages are added, and its own faults. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from urllib.parse import urlencode
from uuid import uuid4

from wa_relay.model import Moment
from wa_relay.standins.twilio import shapes
from wa_relay.standins.twilio.checks import Refusal
from wa_relay.standins.twilio.state import Message, World

PAGE_SIZE, LARGEST_PAGE = 50, 1000
STRANGER = "whatsapp:+573000000999"
_DATES = ("DateSent", "DateSent<", "DateSent>")
KNOWN = frozenset({"To", "From", *_DATES, "PageSize", "Page", "PageToken"})


@dataclass(frozen=True, slots=True)
class Distortion:
    """The faults of a list.

    Messages younger than `lag` seconds are missing, or those still queued; the newest stands there twice;
    `next_page_uri` leads to the page itself; a message to a `stranger` with the same `text` is among them.
    """

    lag: float = 0.0
    misses_queued: bool = False
    repeats: bool = False
    loops: bool = False
    stranger: bool = False
    text: str = ""


def page(account_sid: str, world: World, query: Mapping[str, str], wrong: Distortion, now: Moment) -> dict[str, object]:
    """One page of the list. Raises `Refusal` for filters that can't be read."""
    found = [one for one in _filtered(world, query) if _visible(one, wrong, now)]
    size, number = _whole(query, "PageSize", PAGE_SIZE, 1), _whole(query, "Page", 0, 0)
    size = min(size, LARGEST_PAGE)
    start = _start(world, found, query.get("PageToken", ""), size, number)
    shown = found[start : start + size]
    path = f"{shapes.account_path(account_sid)}/Messages.json"
    base = [(name, query[name]) for name in ("To", "From", *_DATES) if name in query] + [("PageSize", str(size))]

    def uri(of_page: int, token: str = "") -> str:
        return f"{path}?{urlencode([*base, ('Page', str(of_page)), *([('PageToken', token)] if token else [])])}"

    own = uri(number, query.get("PageToken", ""))
    following = uri(number + 1, f"PA{shown[-1].sid}") if shown and start + size < len(found) else None
    before = uri(number - 1, f"PB{shown[0].sid}") if shown and number > 0 and start > 0 else None
    entries = [shapes.message(account_sid, one) for one in _distorted(shown, wrong, query, now)]
    return {
        "first_page_uri": uri(0),
        "end": max(0, number * size + len(entries) - 1),
        "previous_page_uri": before,
        "messages": entries,
        "uri": own,
        "page_size": size,
        "start": number * size,
        "next_page_uri": own if wrong.loops else following,
        "page": number,
    }


def _filtered(world: World, query: Mapping[str, str]) -> list[Message]:
    to, sender = query.get("To", ""), query.get("From", "")
    tests = [(name, _day(query[name])) for name in _DATES if query.get(name)]
    return [
        one
        for one in world.newest_first(*(address for address in (to, sender) if address))
        if (not to or one.to == to)
        and (not sender or one.sender == sender)
        and all(_sent(one, *test) for test in tests)
    ]


def _sent(one: Message, name: str, day: date) -> bool:
    if one.sent_at is None:
        return False
    sent = datetime.fromtimestamp(one.sent_at, UTC).date()
    if name == "DateSent":
        return sent == day
    return sent <= day if name == "DateSent<" else sent >= day


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise Refusal(400, 20001, f"DateSent wants YYYY-MM-DD, not {text!r}") from None


def _visible(one: Message, wrong: Distortion, now: Moment) -> bool:
    if wrong.lag and now - one.created_at < wrong.lag:
        return False
    return not (wrong.misses_queued and one.status in ("queued", "accepted"))


def _start(world: World, found: Sequence[Message], token: str, size: int, number: int) -> int:
    if not token:
        return number * size
    anchor = world.number_of(token[2:])
    if anchor is None or token[:2] not in ("PA", "PB"):
        raise Refusal(400, 20001, "PageToken is not one of this list's")
    if token.startswith("PA"):
        return next((place for place, one in enumerate(found) if one.number < anchor), len(found))
    return max(0, sum(one.number > anchor for one in found) - size)


def _distorted(shown: Sequence[Message], wrong: Distortion, query: Mapping[str, str], now: Moment) -> list[Message]:
    entries = list(shown)
    if wrong.repeats and entries:
        entries.insert(0, entries[0])
    if wrong.stranger:
        entries.insert(0, _stranger(entries, wrong.text, query, now))
    return entries


def _stranger(shown: Sequence[Message], text: str, query: Mapping[str, str], now: Moment) -> Message:
    """A message to another customer with the text of one that the asker knows."""
    if shown:
        return replace(shown[0], sid="SM" + uuid4().hex, to=STRANGER)
    return Message(0, "SM" + uuid4().hex, "outbound-api", STRANGER, query.get("From"), text, "sent", now, now, now)


def _whole(query: Mapping[str, str], name: str, otherwise: int, least: int) -> int:
    text = query.get(name, "")
    if not text:
        return otherwise
    if not text.isascii() or not text.isdigit() or int(text[:9]) < least:
        raise Refusal(400, 20001, f"{name} wants a whole number from {least}")
    return int(text[:9])
