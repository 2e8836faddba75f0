"""Reads the attachments of a customer's message from Twilio's parameters. Pure, and never raises.

What can't be read counts as absent: the message itself is never refused for it. Sources: captured forms, and
Twilio's pages on the webhook's parameters. The forms of stickers, videos, reactions and list choices are inferred.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from wa_relay.model import Attachment, AttachmentType, Referral

_TYPES: Mapping[str, AttachmentType] = {
    "audio": "audio",
    "voice": "audio",
    "image": "image",
    "video": "video",
    "document": "document",
    "contacts": "contact",
    "location": "location",
    "sticker": "sticker",
    "reaction": "reaction",
}
_TYPES_BY_CONTENT: Mapping[str, AttachmentType] = {
    "audio": "audio",
    "image": "image",
    "video": "video",
    "application": "document",
}
_CARDS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,126}")
LONGEST_NAME = 255
LONGEST_PLACE = 500
UNREADABLE = Attachment("other")
_REFERRAL = ("ReferralHeadline", "ReferralBody", "ReferralSourceUrl", "ReferralSourceType", "ReferralSourceId")
"""The parameters of an advertisement, in the order of `Referral`."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as Twilio lists it for a message. `url` is its address without an extension."""

    content_type: str
    url: str


def read_attachment(values: Mapping[str, str]) -> Attachment | None:
    """Reads what a form holds beside its text: a file, a place, a reaction. None for a form with text alone."""
    kind = _type(values)
    if kind is None:
        return None
    if kind == "location":
        return _place(values)
    if kind == "reaction":
        return Attachment("reaction")
    content_type = media_type_of(values.get("MediaContentType0", ""))
    url = values.get("MediaUrl0") or None
    name = _line(values.get("Body", ""), LONGEST_NAME) or None if kind == "document" else None
    return Attachment(kind, content_type, url, name)


def listed_attachment(file: ListedFile, body: str) -> Attachment:
    """Reads a message's file as Twilio lists it. The list does not name the type of the message."""
    content_type = media_type_of(file.content_type)
    kind = _type_of_content(content_type)
    name = _line(body, LONGEST_NAME) or None if kind == "document" else None
    return Attachment(kind, content_type, file.url, name)


def read_tap(values: Mapping[str, str]) -> str | None:
    """The text of the button or of the list's entry that was tapped; None for what was written."""
    for name in ("ButtonText", "ListTitle"):
        if values.get(name, "").strip():
            return values[name]
    return None


def read_referral(values: Mapping[str, str]) -> Referral | None:
    """Reads the advertisement through which a message came, None without one."""
    if values.keys().isdisjoint(_REFERRAL):
        return None
    referral = Referral(*(_clean(values.get(name, "")) for name in _REFERRAL))
    return None if referral == Referral() else referral


def media_type_of(content_type: str) -> str | None:
    """The type and subtype of a content type in lower case; None for an invalid one."""
    found = content_type.partition(";")[0].strip().lower()
    return found if _CONTENT_TYPE.fullmatch(found) else None


def _type(values: Mapping[str, str]) -> AttachmentType | None:
    named = _TYPES.get(values.get("MessageType", "").lower())
    if named is not None:
        return named
    count = values.get("NumMedia", "0")
    if count.isascii() and count.isdigit() and int(count[:4]) > 0:
        return _type_of_content(media_type_of(values.get("MediaContentType0", "")))
    return "location" if values.get("Latitude") and values.get("Longitude") else None


def _type_of_content(content_type: str | None) -> AttachmentType:
    if content_type in _CARDS:
        return "contact"
    return _TYPES_BY_CONTENT.get((content_type or "").partition("/")[0], "other")


def _place(values: Mapping[str, str]) -> Attachment:
    latitude, longitude = _degrees(values.get("Latitude"), 90.0), _degrees(values.get("Longitude"), 180.0)
    known = latitude is not None and longitude is not None
    return Attachment(
        "location",
        latitude=latitude if known else None,
        longitude=longitude if known else None,
        label=_line(values.get("Label", ""), LONGEST_PLACE),
        address=_line(values.get("Address", ""), LONGEST_PLACE),
    )


def _degrees(text: str | None, most: float) -> float | None:
    try:
        degrees = float(text or "")
    except ValueError:
        return None
    return degrees if math.isfinite(degrees) and abs(degrees) <= most else None


def _line(text: str, longest: int) -> str:
    """A text on one line, without what can't be stored."""
    return " ".join(_clean(text).split())[:longest]


def _clean(text: str) -> str:
    return text.replace("\x00", "").strip()
