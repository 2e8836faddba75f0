"""The whole flow with no account and no network: the real daemon between the shipped stand-ins, reported step by step.

`performance.py` sets up and takes down, `acts.py` is the script, `chat.py` lets the user at the terminal play.
"""

from wa_relay.demo.performance import perform, perform_chat, perform_console, perform_opening, played
from wa_relay.demo.stage import DemoEnded

__all__ = ["DemoEnded", "perform", "perform_chat", "perform_console", "perform_opening", "played"]
