"""`wa-relay demo`: the whole flow with no account and no network."""

from __future__ import annotations

from typing import Annotated

import typer

from wa_relay.cli.settings import Settings


def demo(
    ctx: typer.Context,
    chat: Annotated[bool, typer.Option("--chat", help="Be the customer yourself, in this terminal.")] = False,
    price_answer: Annotated[str | None, typer.Option("--price-answer", hidden=True)] = None,
) -> None:
    """Show the whole flow on this machine alone: no account, no network, nothing kept."""
    # `--price-answer` is for the demo's own test: what the agent says when it is asked for the price.
    settings: Settings = ctx.obj

    import asyncio

    from wa_relay.cli.output import results
    from wa_relay.demo import perform, perform_chat

    paper = results(no_color=settings.no_color)
    try:
        asyncio.run((perform_chat if chat else perform)(paper, price_answer))
    except asyncio.CancelledError:
        # SIGTERM ends it as Ctrl-C does.
        raise KeyboardInterrupt from None
