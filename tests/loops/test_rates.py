"""The rates of our numbers, which hold for all daemons together."""

from __future__ import annotations

from wa_relay.loops.rates import Rates


def _sent_in_ten_seconds(rates: Rates) -> int:
    sent, now = 0, 0.0
    while now < 10.0:
        now += 0.002
        allowed = rates.allowed(None, now)
        rates.spend(None, allowed)
        sent += allowed
    return sent


def test_three_daemons_together_send_at_the_rate_of_one() -> None:
    alone = _sent_in_ten_seconds(Rates(30.0, {}, "", 0.0))
    shares = [Rates(30.0, {}, "", 0.0) for _ in range(3)]
    for each in shares:
        each.share(3)
    assert 0.9 * alone <= sum(map(_sent_in_ten_seconds, shares)) <= alone + 3


def test_a_share_grows_again_when_a_daemon_ends() -> None:
    rates = Rates(30.0, {}, "", 0.0)
    rates.share(3)
    rates.share(1)
    assert _sent_in_ten_seconds(rates) >= 280
