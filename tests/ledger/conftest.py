"""A ledger on either engine, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.engines import ENGINES, Place, place_for
from wa_relay.ledger import store
from wa_relay.ledger.store import Ledger
from wa_relay.model import Call, Inbound
from wa_relay.policy import OpeningText, Rules

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z, 06:06 in Bogotá
PHONE = "+573138539155"

RULES = Rules(
    timezone=ZoneInfo("America/Bogota"),
    openings={"completed": OpeningText(body="Hola {client_name}, gracias por atender.")},
    fallback="En este momento no podemos responderte.",
    text_only="Por ahora solo puedo leer texto.",
    opt_out_keywords=frozenset({"baja", "no molestar"}),
    return_keywords=frozenset({"alta"}),
    confirmation="Listo, no te escribiremos más.",
)


@pytest.fixture(params=ENGINES)
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place of the test's database: a file, then a PostgreSQL server."""
    with place_for(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture
def make_ledger(place: Place) -> Iterator[Callable[..., Ledger]]:
    """Opens the test's database with the given rules; again, as after a restart."""
    opened: list[Ledger] = []

    def make(now: float = NOW - 3600.0, **rules: Any) -> Ledger:
        if opened:
            end_runs(opened[-1])
            opened[-1].db.close()
        found = place.open_for_writing("AC1", now)
        ledger = Ledger(found.connection, replace(RULES, **rules))
        store.begin_run(ledger, now)
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        ledger.db.close()


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    """A new database, made an hour ago."""
    return make_ledger()


def end_runs(ledger: Ledger) -> None:
    """Ends every daemon, as if killed long enough ago."""
    ledger.run("update runs set ended_at = seen_at where ended_at is null")


def call(key: str = "conv_1", **facts: Any) -> Call:
    """A completed call to Ana that has just ended, as the backend reports it."""
    usual: dict[str, Any] = {
        "phone": PHONE,
        "agent_id": "agent_1",
        "outcome": "completed",
        "source": "push",
        "ended_at": NOW,
        "client_name": "Ana García",
    }
    return Call(key=key, **{**usual, **facts})


def written(text: str = "Sí me interesa, ¿precio?", sid: str | None = "SM1", **facts: Any) -> Inbound:
    """A message that Ana writes."""
    return Inbound(**{"sid": sid, "phone": PHONE, "text": text, **facts})
