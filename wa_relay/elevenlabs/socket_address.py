"""Decides where a session's WebSocket goes: to the host of `elevenlabs.base_url`. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

_SERVICE = ".elevenlabs.io"


class WrongAddressError(ValueError):
    """No session may be opened at the signed URL."""


def socket_url(signed_url: str, base_url: str) -> str:
    """The signed URL if it leads to the host of `base_url`, else its path and query at that host.

    The service's own regional hosts count as one. A different port on the same host is kept.
    Raises `WrongAddressError` when it is no WebSocket URL, or would go unencrypted where `base_url` is encrypted.
    """
    try:
        signed, base = urlsplit(signed_url), urlsplit(base_url)
        signed_host, base_host = signed.hostname, base.hostname
        _ = signed.port
    except ValueError as error:
        raise WrongAddressError("ElevenLabs returned a signed URL that is not a URL") from error
    if signed.scheme not in ("ws", "wss") or not signed_host:
        raise WrongAddressError("ElevenLabs returned a signed URL that is not a WebSocket address")
    if base_host and not _same_host(signed_host, base_host):
        scheme = "ws" if base.scheme == "http" else "wss"
        signed = SplitResult(scheme, base.netloc, signed.path, signed.query, "")
    if signed.scheme == "ws" and base.scheme != "http" and not _loopback(signed.hostname or ""):
        raise WrongAddressError("ElevenLabs returned a signed URL without encryption: it is not used")
    return signed.geturl()


def _same_host(one: str, other: str) -> bool:
    if one == other or (_loopback(one) and _loopback(other)):
        return True
    return one.endswith(_SERVICE) and other.endswith(_SERVICE)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
