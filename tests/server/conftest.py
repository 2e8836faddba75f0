"""One daemon for all tests that need nothing special of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e.stage import Answer
from tests.server.served import Served, new_phone, serving
from tests.server.trickles import TRICKLES, trickled
from wa_relay.standins.twilio import Fault


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # The tests report more calls in a minute than the breaker allows.
    with serving(tmp_path_factory.mktemp("served"), {"opening": {"burst_limit": 0}}) as one:
        yield one
        assert "Traceback" not in one.relay.log
        assert "request_fault" not in one.relay.log


@pytest.fixture(scope="session")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon of which messages are asked for."""
    with serving(tmp_path_factory.mktemp("sending")) as one:
        yield one
        assert "Traceback" not in one.relay.log


@pytest.fixture(scope="session")
def unaccepted(sending: Served) -> Future[Answer]:
    """A test message that Twilio does not answer, begun while other tests continue."""
    sending.twilio.faults.next("create", Fault("F8", seconds=60.0, hold=30.0))
    begun = sending.begin(sending.stage.call("POST", "/api/test-whatsapp", json={"to": new_phone(), "message": "slow"}))
    sending.until(lambda: sending.twilio.journal.entries("fault"))
    return begun


@pytest.fixture(scope="session")
def trickling(served: Served) -> Iterator[dict[str, Future[float]]]:
    """Requests that trickle in, all at once, while other tests continue: the seconds until each was closed."""
    with ThreadPoolExecutor(len(TRICKLES)) as threads:
        address = ("127.0.0.1", served.relay.port)
        yield {
            name: threads.submit(trickled, socket.create_connection(address), pieces())
            for name, pieces in TRICKLES.items()
        }


@pytest.fixture(scope="session", autouse=True)
def _begin_what_takes_10_seconds(request: pytest.FixtureRequest) -> None:
    """Begins with the first test what a later one will wait for, if it is among those to be run."""
    wanted = {name for item in request.session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    for name in sorted({"trickling", "unaccepted"} & wanted):
        request.getfixturevalue(name)
