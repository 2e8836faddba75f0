"""The receiver as a process: `python -m wa_relay.standins receiver --port N --secret whsec_…`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from wa_relay.standins.receiver.app import ReceiverStandin

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # noqa: S105 (not a real secret)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. The first line on stdout is JSON with the `url` and the `secret`."""
    parser = argparse.ArgumentParser(prog="python -m wa_relay.standins receiver", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1, 0 for a free one")
    parser.add_argument("--secret", default=SECRET, help="what signs the alerts")
    chosen = parser.parse_args(arguments)
    try:
        receiver = ReceiverStandin(chosen.secret)
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_serve(receiver, chosen.port, chosen.secret))


async def _serve(receiver: ReceiverStandin, port: int, secret: str) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    try:
        await receiver.start(port)
    except OSError as error:
        sys.exit(f"port {port} can't be used ({error.strerror}): name another one with --port")
    sys.stdout.write(json.dumps({"url": receiver.url, "secret": secret}) + "\n")
    sys.stdout.flush()
    await over.wait()
    await receiver.stop()


if __name__ == "__main__":
    main()
