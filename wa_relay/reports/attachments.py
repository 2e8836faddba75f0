"""The attachments of a customer's message, as the API and `history` show them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wa_relay.ledger.engine import Row

ATTACHMENT_COLUMNS = """
    m.attachment, m.latitude, m.longitude, m.reply_to, m.referral, f.state as file_state, f.content_type, f.name,
    f.public_id, f.size, f.transcript, f.seconds"""
ATTACHMENT_JOIN = "left join media f on f.message_id = m.id"


@dataclass(frozen=True, slots=True)
class AttachmentEntry:
    """An attachment. `state` is that of its file, None without one; `was_stored` is true for a file that has come.

    `media_id` is None for a file that can't be shown (any longer). `seconds` is a recording's length.
    """

    type: str
    latitude: float | None = None
    longitude: float | None = None
    state: str | None = None
    was_stored: bool = False
    content_type: str | None = None
    name: str | None = None
    media_id: str | None = None
    transcript: str | None = None
    seconds: float | None = None

    @property
    def failed(self) -> bool:
        """True for a file that could not be fetched or read."""
        return self.state == "failed"

    def to_json(self) -> dict[str, Any]:
        """The field `attachment` of a message."""
        known: dict[str, Any] = {"type": self.type}
        if self.type == "location":
            return known | {"latitude": self.latitude, "longitude": self.longitude}
        expected = self.was_stored or self.state in ("fetch", "transcribe", "ready")
        if self.type in ("contact", "reaction") or not expected:
            return known
        known |= {"content_type": self.content_type, "media_id": self.media_id}
        if self.type == "audio":
            return known | {"transcript": self.transcript, "seconds": self.seconds}
        return known | {"name": self.name}


def attachment_of(row: Row) -> AttachmentEntry | None:
    """The attachment of a message, from a row with `ATTACHMENT_COLUMNS`; None for plain text."""
    if row["attachment"] is None:
        return None
    return AttachmentEntry(
        type=row["attachment"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        state=row["file_state"],
        was_stored=row["size"] is not None,
        content_type=row["content_type"],
        name=row["name"],
        media_id=row["public_id"],
        transcript=row["transcript"],
        seconds=row["seconds"],
    )


def referral_of(row: Row) -> dict[str, str] | None:
    """The advertisement through which a message came, None without one."""
    found: dict[str, str] | None = None if row["referral"] is None else json.loads(row["referral"])
    return found
