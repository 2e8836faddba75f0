"""Files that customers send, and how their download goes.

Twilio's media path answers a request that shows credentials with 307 to another host, which serves the file and must
not see them: an `Authorization` header there is a `violation` in the journal. `Serving` makes the download go wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

_NAMES = {"image": "image", "audio": "audio", "video": "video", "text": "contacts", "application": "document"}


@dataclass(frozen=True, slots=True)
class Serving:
    """A file, and how it is served.

    At Twilio's own address: `missing` requests get 404 first; then `times` requests get `status` (0: none does).
    `redirect_to` is another place for the 307 to lead to, `loop` leads it in a circle, `hops` is the number of
    redirects before the file.

    At the other host: `slow` seconds pass before the answer, `content_type` is served instead of the announced one,
    `size` bytes instead of the file's own, `endless` bytes without end, `drip` seconds between two bytes, and with
    `broken` the connection is lost in the middle, for the first `broken_times` downloads (None: for all).
    """

    missing: int = 0
    status: int = 0
    times: int = 0
    redirect_to: str = ""
    loop: bool = False
    hops: int = 1
    slow: float = 0.0
    content_type: str = ""
    size: int | None = None
    endless: bool = False
    drip: float = 0.0
    broken: bool = False
    broken_times: int | None = None


PLAIN = Serving()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a customer sends. `name` is that of a document, which Twilio gives as `Body`."""

    content_type: str = "image/jpeg"
    data: bytes = b"\xff\xd8\xff\xe0 stand-in"
    name: str = ""
    serving: Serving = PLAIN


VOICE_NOTE = Attachment("audio/ogg", b"OggS stand-in")
IMAGE = Attachment()
VIDEO = Attachment("video/mp4", b"\x00\x00\x00\x18ftypmp42 stand-in")
STICKER = Attachment("image/webp", b"RIFF\x00\x00\x00\x00WEBP stand-in")


def document(name: str, data: bytes = b"%PDF-1.7 stand-in", content_type: str = "application/pdf") -> Attachment:
    """A document with its file name."""
    return Attachment(content_type, data, name)


def contact_card(name: str, *numbers: str) -> Attachment:
    """A contact card (vCard 3.0)."""
    phones = "".join(f"TEL;type=CELL:{number}\r\n" for number in numbers)
    card = f"BEGIN:VCARD\r\nVERSION:3.0\r\nN:;{name};;;\r\nFN:{name}\r\n{phones}END:VCARD\r\n"
    return Attachment("text/vcard", card.encode())


def kind_of(content_type: str) -> str:
    """Twilio's `MessageType` of a file."""
    if content_type == "image/webp":
        return "sticker"
    return _NAMES.get(content_type.partition("/")[0], "document")
