"""Assembles the console from the parts of the daemon that it needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from wa_relay import doctor
from wa_relay.config import Config
from wa_relay.config.loader import Loaded
from wa_relay.console.approved_templates import ApprovedTemplates
from wa_relay.console.login import LoginRoutes
from wa_relay.console.pages import PageRoutes
from wa_relay.console.passwords import Checker
from wa_relay.console.render import Pages, Place
from wa_relay.console.sessions import Sessions
from wa_relay.ledger.reader import Reader
from wa_relay.loops.forgetting import Forgetter
from wa_relay.loops.service_clients import ServiceClients
from wa_relay.model import Moment
from wa_relay.server.access import Access
from wa_relay.server.health import Checkup
from wa_relay.server.listener import RequestLedger, Route


@dataclass(frozen=True, slots=True)
class Parts:
    """The daemon's parts that the console uses. Sessions are read by `threads`: no page waits for a report."""

    ledger: RequestLedger
    reader: Reader
    threads: Reader
    access: Access
    checkup: Checkup
    clients: ServiceClients
    forgetter: Forgetter
    clock: Callable[[], Moment]


def routes(parts: Parts, config: Config) -> tuple[Route, ...]:
    """Every route below `/console`. From now on a session opens routes of the API too."""
    parts.access.sessions = Sessions(parts.threads, parts.clock)
    address = urlsplit(config.server.public_url)
    place = Place(address.path.rstrip("/"), secure=address.scheme == "https")
    timezone, clock = config.timezone, parts.clock
    pages = Pages(place, config.general.language, timezone)
    hours = config.console.session_hours
    login = LoginRoutes(parts.ledger, parts.reader, parts.access, pages, hours * 3600.0, clock, Checker())
    inner = PageRoutes(
        parts.ledger,
        parts.reader,
        parts.access,
        pages,
        parts.checkup,
        ApprovedTemplates(parts.clients.templates),
        functools.partial(doctor.examine, Loaded(config, (), {}), clock),
        parts.forgetter,
        timezone,
        clock,
    )
    return (*login.routes(), *inner.routes())
