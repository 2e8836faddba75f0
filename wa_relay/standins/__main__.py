"""Runs one stand-in as a process: `python -m wa_relay.standins NAME --port N`."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("elevenlabs", "receiver", "twilio")


def main() -> None:
    """Hands over to the stand-in that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        sys.exit(f"which stand-in? python -m wa_relay.standins {{{'|'.join(NAMES)}}} --port N")
    import_module(f"wa_relay.standins.{name}.__main__").main(sys.argv[2:])


if __name__ == "__main__":
    main()
