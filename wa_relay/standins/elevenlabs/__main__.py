"""The ElevenLabs stand-in as a process: `python -m wa_relay.standins elevenlabs --port N`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from wa_relay.standins.elevenlabs.app import ElevenLabsStandin


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. The first line on stdout ends with the base URL."""
    parser = argparse.ArgumentParser(prog="python -m wa_relay.standins elevenlabs", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1, 0 for a free one")
    parser.add_argument("--api-key", default="sk_standin", help="what clients have to show")
    parser.add_argument("--webhook-secret", default="wsec_standin", help="signs the webhooks")
    chosen = parser.parse_args(arguments)
    asyncio.run(_serve(chosen.port, chosen.api_key, chosen.webhook_secret))


async def _serve(port: int, api_key: str, webhook_secret: str) -> None:
    standin = ElevenLabsStandin(api_key, webhook_secret)
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    try:
        await standin.start(port)
    except OSError as error:
        sys.exit(f"port {port} can't be used ({error.strerror}): name another one with --port")
    sys.stdout.write(f"ElevenLabs stand-in at {standin.url}\n")
    sys.stdout.flush()
    await over.wait()
    await standin.stop()


if __name__ == "__main__":
    main()
