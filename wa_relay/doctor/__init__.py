"""Is everything in place? Settings in, findings out, each with what to do about it; nothing is changed.

`settings` looks at the configuration, `database` at the file, `twilio`, `elevenlabs` and `webhooks` ask
the network, side by side and within ten seconds. `check` is what they all answer with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from wa_relay.config import Config, Fault
from wa_relay.doctor import database, elevenlabs, settings, twilio, webhooks
from wa_relay.doctor.check import LIMIT, Check, Report, skipped
from wa_relay.ledger.location import location_of
from wa_relay.model import Moment
from wa_relay.server.presence import find_daemon

__all__ = ["Check", "Report", "examine"]


async def examine(config: Config | None, faults: Sequence[Fault], clock: Callable[[], Moment]) -> Report:
    """Makes all checks that can be made. `config` is None where the faults leave none that could be used."""
    checks = settings.examine(config, faults)
    if config is None:
        names = (*database.NAMES, "daemon", *twilio.NAMES, *elevenlabs.NAMES, *webhooks.NAMES)
        return Report((*checks, *skipped(names, "the configuration can't be used")))
    end = asyncio.get_running_loop().time() + LIMIT
    path = config.database.path
    place, account_sid = location_of(config), config.twilio.account_sid
    holder = None if place.is_shared else await asyncio.to_thread(find_daemon, path)
    found = await asyncio.gather(
        asyncio.to_thread(database.examine_shared, place, account_sid)
        if place.is_shared
        else asyncio.to_thread(database.examine, path, account_sid, end),
        twilio.examine(config, clock, end),
        elevenlabs.examine(config, end),
        webhooks.examine(config, holder, clock(), end),
    )
    running = () if place.is_shared else (database.daemon(holder),)
    stored, at_twilio, at_elevenlabs, public = found
    return Report((*checks, *stored, *running, *at_twilio, *at_elevenlabs, *public))
