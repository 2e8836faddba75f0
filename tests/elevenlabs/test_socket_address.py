"""The addresses at which a session may be opened."""

from __future__ import annotations

import pytest

from wa_relay.elevenlabs.socket_address import WrongAddressError, socket_url

PATH = "/v1/convai/conversation?agent_id=a&conversation_signature=x%2By"
REAL = "https://api.elevenlabs.io"


@pytest.mark.parametrize(
    ("signed", "base", "wanted"),
    [
        ("wss://api.elevenlabs.io", REAL, "wss://api.elevenlabs.io"),
        ("wss://api.us.elevenlabs.io", REAL, "wss://api.us.elevenlabs.io"),
        ("wss://elsewhere.example", REAL, "wss://api.elevenlabs.io"),
        ("ws://127.0.0.1:81", "http://127.0.0.1:80", "ws://127.0.0.1:81"),
        ("ws://localhost:81", "http://127.0.0.1:80", "ws://localhost:81"),
        ("wss://api.elevenlabs.io", "http://127.0.0.1:80", "ws://127.0.0.1:80"),
        ("ws://10.0.0.7:9", "http://10.0.0.7:8", "ws://10.0.0.7:9"),
        ("wss://api.elevenlabs.io", "https://gateway.example:8443", "wss://gateway.example:8443"),
        ("wss://api.elevenlabs.io", "", "wss://api.elevenlabs.io"),
        ("ws://[::1]:9", "", "ws://[::1]:9"),
    ],
)
def test_a_session_goes_to_the_host_of_the_base_url(signed: str, base: str, wanted: str) -> None:
    """Path and signature stay as they are."""
    assert socket_url(signed + PATH, base) == wanted + PATH


@pytest.mark.parametrize(
    ("signed", "base"),
    [
        ("ws://api.elevenlabs.io", REAL),
        ("ws://elsewhere.example", ""),
        ("https://api.elevenlabs.io", REAL),
        ("file:///etc/passwd", REAL),
        ("nonsense", REAL),
        ("wss://[::1", REAL),
        ("wss://api.elevenlabs.io:port", REAL),
    ],
)
def test_an_address_that_is_not_safe_is_refused(signed: str, base: str) -> None:
    """With a message."""
    with pytest.raises(WrongAddressError, match="ElevenLabs returned a signed URL"):
        socket_url(signed + PATH, base)
