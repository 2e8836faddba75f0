"""Decides about a customer's files: why they are fetched, and how long anything waits for them."""

from __future__ import annotations

from typing import Literal

from wa_relay.model import Attachment, Moment
from wa_relay.policy.rules import Rules

Kind = Literal["audio", "image", "pdf", "other"]
Purpose = Literal["transcript", "agent", "card", "keep"]
"""Why a file is fetched: for its transcript, for the agent, for the contacts in it, or only to be shown."""

HOLD = 30.0
"""Seconds for which a file holds its turn at most (contract 8.2)."""

KEEP_TRYING = 600.0
"""Seconds in which a file that holds no turn is fetched."""

OCTETS = "application/octet-stream"
LONGEST_SPOKEN_REQUEST = 5
"""Words beyond which a transcript is not an opt-out: a longer one contains something else as well."""

AT_ONCE, AT_ONCE_IN_A_RUSH = 1, 16
RUSH_AFTER = 3.0
"""Seconds that a recording may wait before more than one is transcribed at a time."""

CHUNK = 256 * 1024
"""Bytes of a file that are stored, read and sent at a time (contract 8.2)."""

MEDIA_RETRY_BASE, MEDIA_RETRY_CAP = 1.0, 8.0


def kind_of(content_type: str | None) -> Kind:
    """The kind of a file by its content type."""
    name = content_type or ""
    if name == "application/pdf":
        return "pdf"
    if name.startswith("audio/") or name == "application/ogg":
        return "audio"
    return "image" if name.startswith("image/") else "other"


def purpose_of(attachment: Attachment, rules: Rules) -> Purpose | None:
    """Returns why a message's file is fetched. None without a file, or for one that would never be shown."""
    if attachment.url is None:
        return None
    if attachment.type == "audio" and rules.transcribes:
        return "transcript"
    if attachment.type == "contact":
        return "card"
    for_agent = attachment.type in ("image", "document") and kind_of(attachment.content_type) in ("image", "pdf")
    if for_agent and rules.files_to_agent:
        return "agent"
    return "keep" if rules.media_kept > 0 else None


def give_up_at(purpose: Purpose, begun_at: Moment) -> Moment:
    """Returns when a missing file counts as failed."""
    return begun_at + (KEEP_TRYING if purpose == "keep" else HOLD)


def same_kind(announced: str | None, found: Kind | None) -> bool:
    """True if a file may be of the announced type. `found` is None if its bytes prove nothing."""
    return found is None or announced in (None, OCTETS) or kind_of(announced) == found


def transcriptions_at_once(longest_wait: float) -> int:
    """Returns how many recordings may be transcribed at a time. `longest_wait` is in seconds.

    A process that is killed pays again for each one under way, so it is one while that is fast enough.
    """
    return AT_ONCE_IN_A_RUSH if longest_wait >= RUSH_AFTER else AT_ONCE


def is_spoken_request(transcript: str) -> bool:
    """True if a transcript is short enough to be an opt-out or a request for a person."""
    return len(transcript.split()) <= LONGEST_SPOKEN_REQUEST
