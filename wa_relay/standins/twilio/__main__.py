"""The Twilio stand-in as a process: `python -m wa_relay.standins twilio --port N`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from wa_relay.standins.twilio.app import TwilioStandin
from wa_relay.standins.twilio.settings import Delays
from wa_relay.standins.twilio.state import SANDBOX


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. The first line on stdout is JSON with the base `url`."""
    parser = argparse.ArgumentParser(prog="python -m wa_relay.standins twilio", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1, 0 for a free one")
    parser.add_argument("--account-sid", default="AC" + "0" * 31 + "1")
    parser.add_argument("--auth-token", default="0123456789abcdef0123456789abcdef", help="what clients show, and signs")
    parser.add_argument("--sender", action="append", help=f"a WhatsApp sender, repeatable (default {SANDBOX})")
    parser.add_argument("--webhook-url", default="", help="where customers' messages go, with connection overrides")
    parser.add_argument("--fallback-url", default="", help="where they go when that fails")
    parser.add_argument("--delays", type=_delays, help="SENT,DELIVERED,READ: seconds from each status to the next")
    parser.add_argument("--no-delivery", action="store_true", help="messages stay queued")
    parser.add_argument("--no-window", action="store_true", help="free text is delivered at any time")
    parser.add_argument("--lenient", action="store_true", help="pass over parameters that Twilio does not know")
    chosen = parser.parse_args(arguments)
    standin = TwilioStandin(
        chosen.account_sid,
        chosen.auth_token,
        tuple(chosen.sender or (SANDBOX,)),
        webhook_url=chosen.webhook_url,
        fallback_url=chosen.fallback_url,
        delays=None if chosen.no_delivery else chosen.delays or Delays(),
        enforce_window=not chosen.no_window,
        strict=not chosen.lenient,
    )
    _run(standin, chosen.port)


def _delays(text: str) -> Delays:
    sent, delivered, read = (float(part) for part in text.split(","))
    return Delays(sent, delivered, read)


def _run(standin: TwilioStandin, port: int) -> None:
    serving = _serve(standin, port)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


async def _serve(standin: TwilioStandin, port: int) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    try:
        await standin.start(port)
    except OSError as error:
        sys.exit(f"port {port} can't be used ({error.strerror}): name another one with --port")
    sys.stdout.write(json.dumps({"url": standin.url}) + "\n")
    sys.stdout.flush()
    await over.wait()
    await standin.stop()


if __name__ == "__main__":
    main()
