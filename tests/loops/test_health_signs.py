"""Signs of trouble, counted over ten minutes."""

from __future__ import annotations

import asyncio

import pytest

from wa_relay.ledger.inbox import Received
from wa_relay.loops.bell import Wakers
from wa_relay.loops.health_signs import Recent, Signs
from wa_relay.loops.twilio_events import follow_inbound
from wa_relay.model import Inbound

NOW = 1_795_000_000.0
MESSAGE = Inbound("SM1", "+573138539155", "Hola")


def test_a_limit_is_reached_within_ten_minutes_only() -> None:
    recent = Recent(3)
    for moment in (0.0, 300.0, 599.0):
        recent.add(NOW + moment)
    assert recent.reached(NOW + 600.0)
    assert not recent.reached(NOW + 601.0)


def test_a_flood_of_events_takes_no_memory() -> None:
    recent = Recent(3)
    for _ in range(5000):
        recent.add(NOW)
    assert recent.reached(NOW)
    assert len(recent._at) <= 1000


@pytest.mark.parametrize(("webhooks", "reached"), [(0, True), (1, False)])
def test_a_message_found_by_the_listing_counts_until_its_webhook_comes(webhooks: int, reached: bool) -> None:
    async def scenario() -> None:
        wakers, signs = Wakers(), Signs()
        for number in range(3):
            message = MESSAGE._replace(sid=f"SM{number}")
            follow_inbound(wakers, signs, message, Received("turn", number, 1, NOW), NOW, listed=True)
        for number in range(webhooks):
            follow_inbound(wakers, signs, MESSAGE._replace(sid=f"SM{number}"), Received("duplicate"), NOW)
        assert signs.found_by_listing.reached(NOW) == reached

    asyncio.run(scenario())
