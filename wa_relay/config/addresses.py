"""The kinds of value that name a place: URLs, hosts and the WhatsApp sender.

A URL may hold a password by mistake, so no fault shows what was written.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from wa_relay.config.faults import WrongValueError
from wa_relay.config.kinds import PlainText, SecretText, text_of
from wa_relay.config.secret import Secret

HOST_NAME = r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
URL_CHARACTERS = r"[!$&-;=@A-Z\[\]_a-z~%]*"
POSTGRES_URL = r"(postgresql://[!-~]*)?"
SENDER = r"(?:whatsapp:)?(\+[1-9][0-9]{7,14})"


def is_loopback(host: str) -> bool:
    """Says if a host, without brackets, is this machine and reachable from nowhere else."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Host(PlainText):
    """An address or name to listen on."""

    def read(self, value: object) -> str:
        wanted = 'an address such as "127.0.0.1", "0.0.0.0" or "::", without a port'
        host = text_of(value, wanted)
        if _address(host) is None and not re.fullmatch(HOST_NAME, host):
            raise WrongValueError(f"expected {wanted}")
        return host


@dataclass(frozen=True, slots=True)
class Url(PlainText):
    """A URL: `https`, or `http` to this machine; no user, no fragment, a query only with `query`.

    Without `query` it is one under which paths are put, and comes out without a slash at its end.
    """

    example: str
    optional: bool = False
    query: bool = False

    def read(self, value: object) -> str:
        wanted = f'a URL such as "{self.example}"'
        text = text_of(value, wanted)
        if not text and self.optional:
            return ""
        if "#" in text or ("?" in text and not self.query):
            raise WrongValueError(f"expected {wanted}, without ? or #: only scheme, host and path")
        if not re.fullmatch(URL_CHARACTERS, text.replace("?", "")):
            raise WrongValueError(f"expected {wanted}: a character in it does not belong in a URL")
        _check_parts(_split(text, wanted), wanted)
        return text if self.query else text.rstrip("/")


def _split(text: str, wanted: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port != 0
    except ValueError:
        raise WrongValueError(f"expected {wanted}: the host or the port is not valid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise WrongValueError(f"expected {wanted}: http or https, then a host")
    return parts


def _check_parts(parts: SplitResult, wanted: str) -> None:
    host = parts.hostname or ""
    if parts.netloc.endswith(":"):
        raise WrongValueError(f"expected {wanted}: a port is missing after the colon")
    if "@" in parts.netloc:
        raise WrongValueError(f"expected {wanted}, without a user or password")
    if "_" in host:
        raise WrongValueError(f"expected {wanted}: Twilio calls no host with an underscore in its name")
    if _address(host) is None and not re.fullmatch(HOST_NAME, host):
        raise WrongValueError(f"expected {wanted}: the host is neither a name nor an address")
    if parts.scheme == "http" and not is_loopback(host):
        raise WrongValueError(f"expected {wanted}: https, as http is for this machine only (localhost, 127.0.0.1)")


class Sender(PlainText):
    """The WhatsApp number that writes; comes out as `whatsapp:+…`, empty when none is given."""

    def read(self, value: object) -> str:
        wanted = 'a WhatsApp sender such as "whatsapp:+14155238886"'
        text = text_of(value, wanted)
        if not text:
            return ""
        match = re.fullmatch(SENDER, text)
        if not match:
            raise WrongValueError(f"expected {wanted}: + and 8 to 15 digits")
        return f"whatsapp:{match[1]}"


class DatabaseUrl(SecretText):
    """The URL of a PostgreSQL database; a secret, as it may hold a password. May be empty."""

    def read(self, value: object) -> Secret:
        # Not even its end is shown: it may be that of a password.
        if not isinstance(value, str) or not re.fullmatch(POSTGRES_URL, value):
            raise WrongValueError('expected a URL such as "postgresql://relay@db.example.com/relay"')
        return Secret(value)
