"""Writes a customer's messages as text for the agent: their texts, what they answer, and notes on the rest. Pure.

`content` of a message is fixed when it is stored (`content_of`), or when its file has been read (`contacts_text`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wa_relay.model import AgentFile, Attachment, Referral
from wa_relay.text.fixed_phrases import SPANISH

LONGEST_QUOTE = 300
LONGEST_HEADLINE, LONGEST_ADVERTISEMENT, LONGEST_ADDRESS = 200, 600, 300
MOST_CONTACTS, MOST_NUMBERS = 10, 5
_MAP = "https://maps.google.com/?q={latitude},{longitude}"
_FOLD = re.compile(r"\r?\n[ \t]")
_ESCAPED = re.compile(r"\\([nN,;:\\])")
_NUMBER = re.compile(r"[0-9+#*(). \-]{3,40}")


@dataclass(frozen=True, slots=True)
class CustomerMessage:
    """One of the customer's messages, with what is known of its file.

    `file` is one that the agent can be given. `attachment` is its type, None for plain text. `quoted` is the text of
    the message that it answers, None without one; `quoted_attachment` the type of that message's attachment.
    """

    content: str
    attachment: str | None = None
    file: AgentFile | None = None
    quoted: str | None = None
    quoted_attachment: str | None = None
    referral: Referral | None = None

    @property
    def has_words(self) -> bool:
        """True if it has text that the agent can read."""
        return bool(self.content.strip())


@dataclass(frozen=True, slots=True)
class Composed:
    """The content of a turn: text, files, and whether the text is the customer's or only notes."""

    text: str
    files: tuple[AgentFile, ...]
    has_words: bool

    @property
    def readable(self) -> bool:
        """True if the agent can do something with it."""
        return self.has_words or bool(self.files)


def compose(messages: Sequence[CustomerMessage], most_files: int) -> Composed:
    """Puts a turn's messages together. The agent takes `most_files`; those beyond become notes."""
    files: list[AgentFile] = []
    texts = []
    for message in messages:
        taken = message.file is not None and len(files) < most_files
        if taken and message.file is not None:
            files.append(message.file)
        texts.append(_as_text(message, noted=message.attachment is not None and not taken))
    text = "\n".join(filter(None, texts))
    return Composed(text, tuple(files), any(message.has_words for message in messages))


def as_line(message: CustomerMessage) -> str:
    """Writes a message of the thread as context: its text, or a note of its attachment."""
    if message.attachment is None or (message.has_words and message.attachment in _WORDED):
        return message.content
    note = SPANISH.sent(message.attachment) if message.file is not None else SPANISH.unreadable(message.attachment)
    return f"{message.content}\n{note}" if message.has_words else note


def content_of(text: str, attachment: Attachment | None) -> str:
    """Returns the content to store for a message: the customer's text, and a place written out."""
    if attachment is None or attachment.type != "location":
        return text
    place = place_text(attachment)
    return "\n".join(filter(None, (place, text.strip())))


def place_text(attachment: Attachment) -> str:
    """A location as text: label, address, coordinates and a link to a map; "" if the coordinates are not known."""
    if attachment.latitude is None or attachment.longitude is None:
        return ""
    latitude, longitude = _degrees(attachment.latitude), _degrees(attachment.longitude)
    named = ", ".join(filter(None, (attachment.label, attachment.address)))
    return SPANISH.place.format(
        named=f"{named} " if named else "",
        latitude=latitude,
        longitude=longitude,
        link=_MAP.format(latitude=latitude, longitude=longitude),
    )


def contacts_text(card: bytes) -> str:
    """The names and numbers of a contact card (vCard 2.1 to 4.0), a contact a line; "" for anything else."""
    text = _FOLD.sub("", card.decode("utf-8", "replace")).replace("\x00", "")
    lines = []
    for block in re.split(r"(?i)BEGIN:VCARD", text)[1 : MOST_CONTACTS + 1]:
        name, numbers = _contact(block)
        if name or numbers:
            lines.append(SPANISH.contact.format(contact=", ".join(filter(None, (name, *numbers)))))
    return "\n".join(lines)


_WORDED = frozenset({"audio", "location", "contact"})
"""Types of attachments whose content says all that the agent gets of them."""


def _as_text(message: CustomerMessage, *, noted: bool) -> str:
    parts = [] if message.referral is None else [_advertisement(message.referral)]
    if message.quoted is not None:
        parts.append(SPANISH.quote.format(quoted=_quoted(message)))
    if message.has_words:
        parts.append(message.content)
    worded = message.has_words and message.attachment in _WORDED
    if noted and message.attachment is not None and not worded:
        parts.append(SPANISH.unreadable(message.attachment))
    return "\n".join(parts)


def _quoted(message: CustomerMessage) -> str:
    quote = _one_line(message.quoted or "")
    if not quote and message.quoted_attachment is not None:
        return SPANISH.attachments.get(message.quoted_attachment, SPANISH.other_attachment)
    return quote[:LONGEST_QUOTE]


def _advertisement(referral: Referral) -> str:
    known = (
        _one_line(referral.headline)[:LONGEST_HEADLINE],
        _one_line(referral.body)[:LONGEST_ADVERTISEMENT],
        _one_line(referral.source_url or referral.source_id)[:LONGEST_ADDRESS],
    )
    return SPANISH.advertisement.format(advertisement=" | ".join(filter(None, known)))


def _contact(block: str) -> tuple[str, list[str]]:
    name, fallback = "", ""
    numbers: list[str] = []
    for line in block.splitlines():
        key, _, value = line.partition(":")
        # A property may carry a group (`item1.TEL`) and parameters (`TEL;type=CELL`).
        field = key.partition(";")[0].rpartition(".")[2].strip().upper()
        if field == "FN" and not name:
            name = _value(value)
        elif field == "N" and not fallback:
            fallback = " ".join(filter(None, (_value(part) for part in reversed(value.split(";")[:2]))))
        elif field == "TEL" and len(numbers) < MOST_NUMBERS:
            number = _value(value.removeprefix("tel:"))
            if _NUMBER.fullmatch(number):
                numbers.append(number)
    return name or fallback, numbers


def _value(text: str) -> str:
    plain = _ESCAPED.sub(lambda found: " " if found[1] in "nN" else found[1], text)
    return _one_line(plain)[:100]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _degrees(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
