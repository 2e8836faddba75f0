"""The first steps of a running daemon: what it says of its configuration, and what sending waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from wa_relay.config import Config
from wa_relay.logs import warn
from wa_relay.loops.file_check import FileCheck
from wa_relay.loops.lease import Lease
from wa_relay.loops.reconcile import Reconciler
from wa_relay.loops.sending import SendWorker
from wa_relay.policy import Rules

Work = Callable[[], Coroutine[Any, Any, None]]
"""A loop, or what a worker does until it is stopped."""

SWEEP_WITHIN = 3.0
"""Seconds for which sending waits at the start for the first sweep: a customer may have opted out meanwhile."""


def log_startup_warnings(config: Config, rules: Rules) -> None:
    """Warns of what the settings leave open, and of openings that WhatsApp will refuse."""
    for warning in config.warnings:
        warn("configuration", what=str(warning))
    for outcome, opening in rules.openings.items():
        if opening.body and not opening.content_sid:
            warn(
                "no_template",
                outcome=outcome,
                what="outside the 24-hour window WhatsApp refuses free text (63016): a call opens no window. "
                f"Set opening.{outcome}.content_sid to an approved template.",
            )


async def send_after_sweep(sending: SendWorker, reconciler: Reconciler, rules: Rules) -> None:
    """Sends, once the first sweep is over or has taken too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(rules.scaled(SWEEP_WITHIN)):
            await reconciler.swept_once.wait()
    await sending.run()


async def work_when_sound(check: FileCheck, work: Work) -> None:
    """Works once the file has been checked, and not at all on a damaged one."""
    if await check.passed():
        await work()


async def lead(lease: Lease, work: Work) -> None:
    """Works once this daemon leads: of several on one database, one polls, sweeps and keeps the schedules."""
    await lease.leading.wait()
    await work()
