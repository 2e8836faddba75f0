"""The one way in which commands open the database for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from wa_relay.ledger.engine import Queries
from wa_relay.ledger.location import Location


@contextmanager
def reading(place: Location) -> Iterator[Queries]:
    """Opens the database read-only and closes it; raises a `DatabaseFault` for any of its errors meanwhile."""
    with closing(place.open_for_reading()) as db:
        try:
            yield db
        except db.Error as error:
            raise place.fault_of(error) from error
