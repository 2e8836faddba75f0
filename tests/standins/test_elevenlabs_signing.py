"""Signed URLs of the stand-in: good at once, for a while, once each and for one agent."""

from __future__ import annotations

import pytest

from wa_relay.standins.elevenlabs.signing import UrlSigner

SIGNED_AT = 1_795_000_000.000_6
"""Not a whole number of milliseconds: rounded, it would lie in the future."""


@pytest.mark.parametrize(
    ("agent", "later", "holds"),
    [("agent_1", 0.0, True), ("agent_1", 900.0, True), ("agent_1", 901.0, False), ("agent_2", 0.0, False)],
    ids=["at once", "at the end", "too late", "another agent"],
)
def test_a_signed_url_holds_from_the_moment_it_was_signed(agent: str, later: float, holds: bool) -> None:
    signer = UrlSigner(b"secret")
    signature = signer.sign("agent_1", SIGNED_AT, "conv_1")
    assert signer.read(signature, agent, SIGNED_AT + later, 900.0) == ("conv_1" if holds else None)


def test_a_signature_that_was_changed_does_not_hold() -> None:
    signer = UrlSigner(b"secret")
    other = UrlSigner(b"other").sign("agent_1", SIGNED_AT, "conv_1")
    assert signer.read(other, "agent_1", SIGNED_AT, 900.0) is None
    assert signer.read("?", "agent_1", SIGNED_AT, 900.0) is None
