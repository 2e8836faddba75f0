"""The faults around the daemon, and how often they come: Twilio's, the agent's, and those of the network between."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator

from tests.crash.traffic import TEMPLATE, TEMPLATE_CODES
from wa_relay.standins.elevenlabs import BAD_GATEWAY, SERVER_ERROR, TOO_MANY, UNAUTHORIZED, ElevenLabsStandin, Scenario
from wa_relay.standins.elevenlabs import Fault as AgentFault
from wa_relay.standins.twilio import PLAYABLE, WAYS, Fault, TwilioStandin

SHARE = 0.10
"""The share of requests to Twilio, callbacks and webhooks that fail at random."""

TURNS = {"create": 2.0, "list": 0.8, "fetch": 0.8}
"""Seconds after which an operation gets its next kind of fault in turn, so that none is left out."""

LATEST_ACCEPTANCE = 1.2
"""Seconds after which F8 makes its message: below the divided hold, as 26 s are below ten minutes."""

OPERATIONS = ("create", "list", "fetch", "callback", "webhook")
KINDS: tuple[str | Fault, ...] = (
    *("F4", "F5", "F6", "F7"),
    *(Fault("F8", seconds=seconds, hold=0.15) for seconds in (0.3, LATEST_ACCEPTANCE)),
    *("F9", "F10", "F11", "F12", "F13", "F14", "F15", "F16"),
    *(Fault("F17", way, size=6 * 1024 * 1024, made=made) for way, made in (("plain", True), ("gzip", False))),
    *("F18", "F19", "F20", "F21", "F22", "F24"),
)
AGENT_FAULTS = (
    SERVER_ERROR,
    BAD_GATEWAY,
    TOO_MANY,
    UNAUTHORIZED,
    *(AgentFault(kind) for kind in ("reset", "garbage", "truncated", "broken", "hang")),
    *(AgentFault("slow", seconds=0.5), AgentFault("drip", seconds=0.02)),
    *(AgentFault(kind, size=6 * 1024 * 1024) for kind in ("huge", "bomb")),
)
AGENT_ROUTES = ("workspace", "batch", "conversation", "agent", "signed_url", "session", "speech", "files")
SCENARIOS = (
    *(Scenario(name) for name in ("parts", "response_before_parts", "response_after_stop", "parts_only")),
    *(Scenario(name, between=0.1) for name in ("server_tool", "client_tool", "late", "goodbye")),
    *(Scenario(name) for name in ("correction", "empty", "silence", "drop", "drop_midway", "answer_then_close")),
    *(Scenario("close", code=code) for code in (1011, 1012, 1008, 3008)),
    Scenario("plain", before=0.8),
)


def break_things(twilio: TwilioStandin, agents: ElevenLabsStandin, seed: int) -> None:
    """From now on everything fails now and then."""
    twilio.faults.randomly(SHARE, KINDS, seed, OPERATIONS)
    agents.faults.at_random(seed, 0.08, AGENT_FAULTS, AGENT_ROUTES)


def calm(twilio: TwilioStandin, agents: ElevenLabsStandin) -> None:
    """From now on nothing fails."""
    twilio.faults.clear()
    agents.faults.clear()
    agents.scenarios.clear()


async def unsettle(twilio: TwilioStandin, agents: ElevenLabsStandin, dice: random.Random) -> None:
    """Runs until cancelled: outages (F1) of both services now and then, and agents that answer in unusual ways."""
    while True:
        await asyncio.sleep(dice.uniform(0.1, 0.5))
        agents.scenarios.next(dice.choice(SCENARIOS))
        if dice.random() < 0.08:
            await _outage(twilio, dice.uniform(0.05, 0.4))
        if dice.random() < 0.03:
            await _outage(agents, dice.uniform(0.05, 0.4))


async def stop_template(twilio: TwilioStandin, dice: random.Random) -> None:
    """Runs until cancelled: Meta stops the template for a moment now and then, in the response or in a receipt."""
    while True:
        await asyncio.sleep(dice.uniform(2.0, 8.0))
        twilio.trouble(TEMPLATE.sid, dice.choice(TEMPLATE_CODES), dice.choice(("response", "receipt")))
        try:
            await asyncio.sleep(dice.uniform(0.5, 3.0))
        finally:
            twilio.trouble(TEMPLATE.sid, None)


async def take_turns(twilio: TwilioStandin, operation: str, dice: random.Random) -> None:
    """Runs until cancelled: every kind of fault that an operation has, one after the other."""
    kinds = sorted(PLAYABLE[operation])
    while True:
        dice.shuffle(kinds)
        for kind in kinds:
            await asyncio.sleep(TURNS[operation])
            twilio.faults.next(operation, _varied(kind, dice))


def _varied(kind: str, dice: random.Random) -> Fault:
    return Fault(
        kind,
        how=dice.choice(WAYS.get(kind, ("",))),
        status=dice.choice((502, 503, 504)),
        code=dice.choice((21211, 21610, 21617, 63016, 63024, 99999)),
        seconds=dice.uniform(0.2, LATEST_ACCEPTANCE) if kind == "F8" else 0.05 if kind == "F16" else 1.0,
        hold=0.15,
        at=dice.randrange(700),
        size=6 * 1024 * 1024,
        retry_after=dice.choice((None, "1", "3600", "-1", "1000000000", "Wed, 25 Nov 2026 10:00:00 GMT", "soon")),
        made=dice.choice((True, False)) if kind in ("F11", "F13", "F14", "F15", "F17") else None,
    )


async def _outage(service: TwilioStandin | ElevenLabsStandin, seconds: float) -> None:
    await service.down()
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.shield(service.up())


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address where connections hang (F2): a queue of waiting connections that is full."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(address)
        yield f"http://127.0.0.1:{address[1]}"


NOWHERE = "https://no-such-host.invalid"
"""A host name that can never exist (F23)."""
