"""`wa-relay demo`: the whole flow with no account and no network."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from wa_relay.cli.options import Options
from wa_relay.cli.output import results
from wa_relay.demo import perform, perform_chat, perform_console


def demo(
    ctx: typer.Context,
    chat: Annotated[bool, typer.Option("--chat", help="Play the customer yourself, in this terminal.")] = False,
    console: Annotated[
        bool, typer.Option("--console", help="Keep running, with a link that opens the console in your browser.")
    ] = False,
    price_answer: Annotated[str | None, typer.Option("--price-answer", hidden=True)] = None,
) -> None:
    """Show the whole flow on this machine: no account, no network.

    The real daemon runs between stand-ins for Twilio and ElevenLabs. Nothing is kept.
    """
    # `--price-answer` is for the demo's own test: the agent's answer to the question about the price.
    options: Options = ctx.obj
    if chat and console:
        raise typer.BadParameter("choose one of --chat and --console")
    paper = results(no_color=options.no_color)
    play = perform_chat if chat else perform_console if console else perform
    try:
        asyncio.run(play(paper, price_answer))
    except (asyncio.CancelledError, KeyboardInterrupt):
        if console:
            # Ctrl-C is the way to end it.
            return
        # SIGTERM ends it as Ctrl-C does.
        raise KeyboardInterrupt from None
