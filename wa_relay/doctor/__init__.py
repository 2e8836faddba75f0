"""Checks whether everything is in place: settings in, findings out, each with its remedy. Nothing is changed.

`settings` looks at the configuration, `database` at the file; `daemon` asks the daemon of this machine. `account`,
`senders`, `templates`, `elevenlabs` and `public` ask the network, side by side and within ten seconds. `consequences`
makes sure that each fault is named once. `check` has the findings that all of them return.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from wa_relay.channel.content import Templates
from wa_relay.channel.setup import AccountSetup
from wa_relay.config import Config
from wa_relay.config.loader import Loaded
from wa_relay.doctor import account, daemon, database, elevenlabs, postgres, public, senders, settings, templates
from wa_relay.doctor.check import LIMIT, Check, Report, skipped
from wa_relay.doctor.consequences import settle
from wa_relay.doctor.daemon import Health
from wa_relay.ledger.location import location_of
from wa_relay.ledger.lock import Holder
from wa_relay.model import Moment
from wa_relay.reports.awaiting_operator import Standing
from wa_relay.server.daemon_presence import find_daemon

__all__ = ["Check", "Report", "examine"]

OFFLINE = "not asked (--offline)"


@dataclass(frozen=True, slots=True)
class _Asked:
    """The objects that every question needs. `blocked` are the tables that can't be used, with the reason."""

    config: Config
    blocked: dict[str, str]
    clock: Callable[[], Moment]
    end: float


@dataclass(frozen=True, slots=True)
class _LocalFacts:
    """The facts of this machine: the daemon, and what waits in the database."""

    standing: Standing | None
    holder: Holder | None
    health: Health | None
    elsewhere: tuple[str, ...] = ()


async def examine(loaded: Loaded, clock: Callable[[], Moment], *, offline: bool = False) -> Report:
    """Makes all checks that can be made. With `offline`, only this machine is asked."""
    config = loaded.config
    blocked = settings.blocked(config, loaded.faults)
    if offline:
        blocked |= {table: OFFLINE for table in ("twilio", "elevenlabs", "public") if table not in blocked}
    asked = _Asked(config, blocked, clock, asyncio.get_running_loop().time() + LIMIT)
    here = await _look_here(asked)
    stored, (at_twilio, by_twilio), at_elevenlabs, url = await asyncio.gather(
        _examine_database(asked),
        _ask_twilio(asked, here.standing),
        _ask_elevenlabs(asked),
        _ask_public(asked, here),
    )
    found = [
        *settings.examine(config, loaded.faults),
        *stored,
        *database.waiting(here.standing),
        *_check_daemon(asked, here),
        *at_twilio,
        *at_elevenlabs.checks,
        account.clock_check({"Twilio": by_twilio, "ElevenLabs": at_elevenlabs.ahead}),
        url,
        _post_call(asked, here.standing),
    ]
    return Report(settle(found))


async def _look_here(asked: _Asked) -> _LocalFacts:
    if "database" in asked.blocked:
        return _LocalFacts(None, None, None if "server" in asked.blocked else await daemon.by_port(asked.config))
    place = location_of(asked.config)
    holder = None if place.is_shared else await asyncio.to_thread(find_daemon, place.path)
    if place.is_shared:
        health = await daemon.by_port(asked.config)
    else:
        # The program at that port may serve another file.
        health = await daemon.by_socket(holder) if holder else None
    alive = await asyncio.to_thread(postgres.daemons_on, place) if place.is_shared and health is None else ()
    return _LocalFacts(await asyncio.to_thread(database.standing_of, place), holder, health, tuple(alive))


async def _examine_database(asked: _Asked) -> list[Check]:
    if why := asked.blocked.get("database"):
        return skipped(database.NAMES, why)
    config, place = asked.config, location_of(asked.config)
    if place.is_shared:
        return await asyncio.to_thread(postgres.examine, place, config)
    return await asyncio.to_thread(database.examine, place.path, config.twilio.account_sid, asked.end)


def _check_daemon(asked: _Asked, here: _LocalFacts) -> list[Check]:
    if here.health is None and (why := asked.blocked.get("database")):
        return skipped(daemon.NAMES, why)
    if here.health is None and here.elsewhere:
        runs = Check(daemon.DAEMON, "ok", f"runs: {', '.join(here.elsewhere)}")
        return [runs, *skipped((daemon.POLLER,), "run doctor on a host of the daemon")]
    standing = here.standing
    held = standing is not None and bool(
        standing.account_fault or standing.paused_by_operator or standing.paused_by_burst or standing.templates
    )
    return daemon.examine(here.health, here.holder, uncertain=standing.uncertain if standing else 0, held=held)


async def _ask_twilio(asked: _Asked, standing: Standing | None) -> tuple[list[Check], float | None]:
    config, twilio = asked.config, asked.config.twilio
    stopped = standing.templates if standing else ()
    why = asked.blocked.get("twilio")
    if not why and not (twilio.account_sid and twilio.auth_token):
        why = "needs twilio.account_sid and twilio.auth_token"
    if why:
        rest = [*senders.unread(config, why), *templates.stopped_only(config, stopped, why)]
        return [*skipped((account.ACCOUNT,), why), *rest], None
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
        found, ahead = await account.examine(http, twilio, asked.clock, asked.end)
        if found.found:
            why = "needs the Twilio account"
            rest = [*senders.unread(config, why), *templates.stopped_only(config, stopped, why)]
            return [found, *rest], ahead
        of_senders, of_templates = await asyncio.gather(
            senders.examine(AccountSetup.of(http, twilio, timeout=LIMIT), config, asked.end),
            templates.examine(Templates.of(http, twilio, timeout=LIMIT), config, stopped, asked.end),
        )
    return [found, *of_senders, *of_templates], ahead


async def _ask_elevenlabs(asked: _Asked) -> elevenlabs.Found:
    if why := asked.blocked.get("elevenlabs"):
        return elevenlabs.Found(skipped(elevenlabs.NAMES, why))
    return await elevenlabs.examine(asked.config, asked.clock, asked.end)


async def _ask_public(asked: _Asked, here: _LocalFacts) -> Check:
    why = asked.blocked.get("public") or asked.blocked.get("server")
    if why:
        return Check(public.URL, "skipped", why)
    return await public.examine(asked.config, here.health, asked.end, elsewhere=bool(here.elsewhere))


def _post_call(asked: _Asked, standing: Standing | None) -> Check:
    seen = standing is not None and standing.post_call_seen
    return public.post_call(asked.config, seen=seen, database=standing is not None)
