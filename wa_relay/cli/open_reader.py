"""Opens the database for the commands that read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeVar

from wa_relay.cli.options import Options
from wa_relay.cli.phones import read_phone, unknown
from wa_relay.cli.settings import load_config
from wa_relay.config import Config
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.location import Location, location_of

T = TypeVar("T")


@contextmanager
def reading(place: Location) -> Iterator[Queries]:
    """Opens the database read-only and closes it; raises a `DatabaseFault` for any of its errors meanwhile."""
    with closing(place.open_for_reading()) as db:
        try:
            yield db
        except db.Error as error:
            raise place.fault_of(error) from error


def read_customer(
    options: Options, phone: Sequence[str], find: Callable[[Config, Queries, str], T | None]
) -> tuple[Config, str, T]:
    """Reads something about one customer. Returns the configuration, the number, and what `find` returned.

    Raises `RelayError` if that is None: nothing is stored of the customer.
    """
    number = read_phone(phone)
    config = load_config(options)
    with reading(location_of(config)) as db:
        found = find(config, db, number)
    if found is None:
        raise unknown(number)
    return config, number, found
