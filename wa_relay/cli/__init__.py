"""The command line: one small module for each command; the only place that prints and exits."""

from wa_relay.cli.app import run as main

__all__ = ["main"]
