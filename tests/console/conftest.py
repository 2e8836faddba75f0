"""One daemon with the console on, for all tests that need nothing special of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.console.visiting import Visitor, consoled
from tests.server.served import Served, new_phone


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with consoled(tmp_path_factory.mktemp("console")) as one:
        yield one


@pytest.fixture
def visitor(served: Served) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, each from an address of its own unless it is named; with a name they are logged in."""
    made: list[Visitor] = []

    def make(name: str | None = None, as_from: str = "") -> Visitor:
        number = new_phone()[-6:]
        made.append(Visitor(served, as_from or f"10.{int(number[:2])}.{int(number[2:4])}.{int(number[4:])}"))
        if name is not None:
            assert made[-1].log_in(name).status_code == 303
        return made[-1]

    yield make
    for each in made:
        each.http.close()


@pytest.fixture
def vera(visitor: Callable[..., Visitor]) -> Visitor:
    """A viewer."""
    return visitor("vera")


@pytest.fixture
def oscar(visitor: Callable[..., Visitor]) -> Visitor:
    """An operator."""
    return visitor("oscar")


@pytest.fixture
def ada(visitor: Callable[..., Visitor]) -> Visitor:
    """An admin."""
    return visitor("ada")
