"""The schedules that ring the loops' bells. Each job rings and returns; the work is the loop's."""

from __future__ import annotations

from datetime import UTC

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from wa_relay.config import Config
from wa_relay.loops.bell import Wakers


def start_schedules(config: Config, wakers: Wakers) -> AsyncIOScheduler:
    """Starts the schedules that the configuration asks for. The caller shuts the scheduler down."""
    scheduler = AsyncIOScheduler(timezone=UTC)
    if config.poll.enabled:
        scheduler.add_job(
            wakers.poll.ring,
            "interval",
            seconds=config.poll.interval_seconds,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
        # The first round is at the start, not an interval later.
        wakers.poll.ring()
    scheduler.start()
    return scheduler
