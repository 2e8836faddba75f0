"""The types of values that name a place: URLs, hosts, networks and WhatsApp numbers.

A URL may hold a password by mistake, so no message shows what was written.
"""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, PlainValidator

from wa_relay.config.faults import WrongValueError
from wa_relay.config.value_types import CONTROL, list_of, name_of_type, shown

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HOST_NAME = r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
URL_CHARACTERS = r"[!$&-;=@A-Z\[\]_a-z~%]*"
NUMBER = r"(?:whatsapp:)?(\+[1-9][0-9]{7,14})"


def is_loopback(host: str) -> bool:
    """True if a host, without brackets, is this machine and reachable from nowhere else."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host(host: str) -> str:
    if _address(host) is None and not re.fullmatch(HOST_NAME, host):
        raise WrongValueError('should be an address such as "127.0.0.1", "0.0.0.0" or "::", without a port')
    return host


def _url(text: str, *, example: str, optional: bool = False, query: bool = False) -> str:
    wanted = f'should be a URL such as "{example}"'
    if not text and optional:
        return ""
    if "#" in text or ("?" in text and not query):
        raise WrongValueError(f"{wanted}, without ? or #: only scheme, host and path")
    if not re.fullmatch(URL_CHARACTERS, text.replace("?", "")):
        raise WrongValueError(f"{wanted}: a character in it does not belong in a URL")
    _check_parts(_split(text, wanted), wanted)
    return text if query else text.rstrip("/")


def _split(text: str, wanted: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port != 0
    except ValueError:
        raise WrongValueError(f"{wanted}: the host or the port is not valid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise WrongValueError(f"{wanted}: http or https, then a host")
    return parts


def _check_parts(parts: SplitResult, wanted: str) -> None:
    host = parts.hostname or ""
    if parts.netloc.endswith(":"):
        raise WrongValueError(f"{wanted}: a port is missing after the colon")
    if "@" in parts.netloc:
        raise WrongValueError(f"{wanted}, without a user or password")
    if "_" in host:
        raise WrongValueError(f"{wanted}: Twilio calls no host with an underscore in its name")
    if _address(host) is None and not re.fullmatch(HOST_NAME, host):
        raise WrongValueError(f"{wanted}: the host is neither a name nor an address")
    if parts.scheme == "http" and not is_loopback(host):
        raise WrongValueError(f"{wanted}: https, because http is for this machine only (localhost, 127.0.0.1)")


def _number(text: str, *, optional: bool = False) -> str:
    if not text and optional:
        return ""
    match = re.fullmatch(NUMBER, text)
    if not match:
        raise WrongValueError('should be a WhatsApp number such as "whatsapp:+14155238886": + and 8 to 15 digits')
    return f"whatsapp:{match[1]}"


def _network(text: object) -> Network:
    if not isinstance(text, str) or CONTROL.search(text):
        raise WrongValueError(f"should be text in quotes, not {name_of_type(text)}")
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        wanted = 'should be an address or a network such as "127.0.0.1" or "10.0.0.0/8"'
        raise WrongValueError(f"{wanted}, not {shown(text)}", _network_around(text)) from None


def _network_around(text: str) -> str | None:
    """Returns the network that an address with a prefix length lies in: the usual mistake."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


Host = Annotated[str, AfterValidator(_host)]
"""An address or name to listen on."""
PublicUrl = Annotated[str, AfterValidator(partial(_url, example="https://relay.example.com", optional=True))]
"""The URL under which paths are put: without a slash at its end, without a query; may be empty."""
TwilioUrl = Annotated[str, AfterValidator(partial(_url, example="https://api.twilio.com"))]
ElevenLabsUrl = Annotated[str, AfterValidator(partial(_url, example="https://api.elevenlabs.io"))]
AlertUrl = Annotated[
    str, AfterValidator(partial(_url, example="https://ops.example.com/alerts", optional=True, query=True))
]
WhatsAppNumber = Annotated[str, AfterValidator(_number)]
"""Comes out as `whatsapp:+…`."""
OptionalNumber = Annotated[str, AfterValidator(partial(_number, optional=True))]
Networks = Annotated[tuple[Annotated[Network, PlainValidator(_network)], ...], list_of("addresses and networks")]
