"""Sets everything up in a temporary folder, lets the story happen, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from wa_relay.demo import acts, visit
from wa_relay.demo.agent import answering
from wa_relay.demo.campaign import AGENT, ANA, CALLED, DIEGO, OPENINGS, TEMPLATES
from wa_relay.demo.chat import chat
from wa_relay.demo.child import Daemon, StartFailed
from wa_relay.demo.screen import Paper, Screen
from wa_relay.demo.stage import TOKEN, DemoEnded, Stage, StepMissed
from wa_relay.model import RelayError
from wa_relay.standins.elevenlabs import ElevenLabsStandin
from wa_relay.standins.twilio import Delays, TwilioStandin

_SCRIPTED = f"{', '.join(customer.name.split()[0] for customer in CALLED)} and {DIEGO.name.split()[0]} (scripted)"

_WORDS = (
    "An ElevenLabs voice agent calls customers by phone. When a call ends, wa-relay writes to the customer on "
    "WhatsApp, and the same agent replies in text. Here all of it happens on this machine: no account, no network, "
    "no real call and no real message."
)


async def perform(paper: Paper, price_answer: str | None = None) -> None:
    """Plays the whole campaign and prints its history and statistics.

    Raises `DemoEnded` when a step does not happen.
    """
    await _perform(paper, _campaign, _SCRIPTED, price_answer)


async def perform_opening(paper: Paper) -> None:
    """Plays the first call alone, and what follows it."""
    await _perform(paper, _first, _SCRIPTED, None)


async def perform_chat(paper: Paper, price_answer: str | None = None) -> None:
    """Plays the first call; then the user at the terminal is the customer."""
    await _perform(paper, _chat, f"{ANA.name}, played by you at this terminal", price_answer)


async def perform_console(paper: Paper, price_answer: str | None = None) -> None:
    """Plays the campaign with the console on, and keeps running until it is cancelled, for the link to be opened."""
    await _perform(paper, _console, _SCRIPTED, price_answer, console=True)


@asynccontextmanager
async def played(paper: Paper, folder: Path) -> AsyncIterator[Stage]:
    """The stage after the whole campaign, its daemon still running: for the pictures of the commands."""
    async with _stage(folder, Screen(paper), None, console=True) as s:
        await _play(s)
        yield s


async def _console(s: Stage) -> None:
    await visit.add_user(s)
    await visit.show_link(s, "Watch it in the console")
    await _play(s)
    await visit.stay(s)


async def _campaign(s: Stage) -> None:
    await _play(s)
    s.screen.show("")
    s.screen.note("To play the customer yourself: wa-relay demo --chat\nTo start with your own accounts: wa-relay init")


async def _play(s: Stage) -> None:
    batch = await _first(s)
    await acts.the_others(s, batch)
    for act in (acts.burst, acts.voice_note, acts.picture, acts.opt_out, acts.backend, acts.results):
        await act(s)


async def _first(s: Stage) -> str:
    batch = await acts.first_call(s)
    await acts.interest(s)
    return batch


async def _chat(s: Stage) -> None:
    await acts.first_call(s)
    await chat(s)


async def _perform(
    paper: Paper,
    act: Callable[[Stage], Awaitable[object]],
    customer: str,
    price_answer: str | None,
    *,
    console: bool = False,
) -> None:
    _end_on_signal()
    screen = Screen(paper)
    screen.title("wa-relay demo", _WORDS)
    try:
        folder = Path(tempfile.mkdtemp(prefix="wa-relay-demo-"))
    except OSError as error:
        raise RelayError(f"the demo needs a temporary folder: {error.strerror or error}.") from error
    kept = False
    try:
        async with _stage(folder, screen, price_answer, console=console) as s:
            _introduce(s, customer)
            await _watched(s, act)
    except (StepMissed, StartFailed) as error:
        kept = True
        raise DemoEnded(f"the demo failed: {error}. The daemon's log is {folder / 'daemon.log'}") from error
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _end_on_signal() -> None:
    """Makes the signals that end a process cancel the demo, so that it cleans up; Ctrl-C does so already."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup, SIGHUP stays ignored.
        if signal.getsignal(number) is signal.SIG_DFL:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _watched(s: Stage, act: Callable[[Stage], Awaitable[object]]) -> None:
    """Lets an act happen for as long as the daemon lives."""

    async def story() -> None:
        await act(s)

    playing, dying = asyncio.create_task(story()), asyncio.create_task(s.daemon.ended())
    try:
        await asyncio.wait({playing, dying}, return_when=asyncio.FIRST_COMPLETED)
        if dying.done():
            how = dying.result()
            end = f"signal {-how} ({signal.Signals(-how).name})" if how < 0 else f"exit status {how}"
            raise StepMissed(f"the daemon died ({end}) before this happened: {s.awaited}")
        await playing
    finally:
        for task in (playing, dying):
            task.cancel()
        await asyncio.gather(playing, dying, return_exceptions=True)


def _introduce(s: Stage, customer: str) -> None:
    s.screen.players(
        {
            "wa-relay": f"the real daemon at {s.daemon.url}, process {s.daemon.pid}",
            "ElevenLabs": f"a stand-in: makes the calls; {AGENT.name} is its agent",
            "Twilio": "a stand-in: carries the WhatsApp messages and their receipts",
            "customer": customer,
        }
    )


@asynccontextmanager
async def _stage(folder: Path, screen: Screen, price_answer: str | None, *, console: bool) -> AsyncIterator[Stage]:
    twilio = TwilioStandin(templates=tuple(TEMPLATES.values()), delays=Delays(0.1, 0.1, 0.3))
    elevenlabs = ElevenLabsStandin()
    elevenlabs.add_agent(AGENT)
    elevenlabs.answers = answering(price_answer)
    for customer in (*CALLED, DIEGO):
        twilio.contact(customer.phone, name=customer.name)
    daemon = Daemon(folder)
    try:
        await twilio.start()
        await elevenlabs.start()

        def settings(url: str, port: int) -> Mapping[str, Mapping[str, Any]]:
            twilio.configure(webhook_url=f"{url}/webhook/twilio/incoming")
            return {**_settings(url, port, twilio, elevenlabs), "console": {"enabled": console}}

        await daemon.start(settings)
        async with aiohttp.ClientSession() as http:
            yield Stage(screen, twilio, elevenlabs, daemon, http)
    finally:
        with contextlib.suppress(ProcessLookupError):
            await daemon.stop()
        await elevenlabs.stop()
        await twilio.stop()


def _settings(
    url: str, port: int, twilio: TwilioStandin, elevenlabs: ElevenLabsStandin
) -> dict[str, Mapping[str, Any]]:
    """The daemon's configuration: like a real one, with shorter pauses."""
    return {
        "server": {"port": port, "public_url": url, "token": TOKEN},
        "twilio": {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.settings.auth_token,
            "sender": twilio.senders[0],
            "base_url": twilio.url,
        },
        "elevenlabs": {"api_key": "sk_standin", "base_url": elevenlabs.url, "settle_seconds": 0.2},
        "poll": {"interval_seconds": 1},
        "reply": {"debounce_seconds": 0.5},
        **OPENINGS,
    }
