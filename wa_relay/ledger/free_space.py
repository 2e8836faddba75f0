"""Clearing the free space inside SQLite's pages, where `secure_delete` leaves copies behind.

SQLite overwrites what is deleted. But when it splits a page, it moves rows to another one and leaves their bytes in the
gap between the list of cells and the cells: deleting the row later overwrites the new place only. In a test with 2,000
customers, one of 200 erased customers was still readable there. `vacuum` would clear it, and block all writing for a
minute in a database of 4 GB; this reads the file once and writes the gaps that are not empty.

The gap is unallocated: SQLite never reads it (file format, "B-tree Pages"). The caller is the only
writer, has brought the whole log into the file, and has dropped the pages that it keeps in memory.
"""

from __future__ import annotations

import os
from pathlib import Path

from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.lock import descriptor_of

PAGES_AT_ONCE = 2048
"""8 MB: takes a few milliseconds, in which nothing can be stored."""

INTERIOR, LEAF = frozenset({2, 5}), frozenset({10, 13})
"""The kinds of B-tree pages, by the first byte. Other pages begin with the high byte of a page's number, 0."""

FILE_HEADER = 100
"""Bytes before the first page's own header."""


def clear(path: Path, place: int) -> int | None:
    """Clears the gaps of the pages from number `place` on (from 0). Returns where to continue, None at the end."""
    descriptor = descriptor_of(path)
    if descriptor is None:
        raise StorageUnavailable(f"{path} is not held by this process.")
    size = _page_size(os.pread(descriptor, FILE_HEADER, 0))
    pages = os.pread(descriptor, PAGES_AT_ONCE * size, place * size)
    for number in range(len(pages) // size):
        page = pages[number * size : (number + 1) * size]
        gap = gap_of(page, FILE_HEADER if place + number == 0 else 0)
        if gap is not None and any(page[slice(*gap)]):
            os.pwrite(descriptor, bytes(gap[1] - gap[0]), (place + number) * size + gap[0])
    if len(pages) == PAGES_AT_ONCE * size:
        return place + PAGES_AT_ONCE
    os.fsync(descriptor)
    return None


def gap_of(page: bytes, offset: int) -> tuple[int, int] | None:
    """The unallocated part of a B-tree page as (begin, end); None for any other page. `offset` is its header's."""
    kind = page[offset]
    if kind not in INTERIOR | LEAF:
        return None
    head = offset + (12 if kind in INTERIOR else 8)
    cells = int.from_bytes(page[offset + 3 : offset + 5], "big")
    begin, end = head + 2 * cells, int.from_bytes(page[offset + 5 : offset + 7], "big") or 65_536
    pointers = [int.from_bytes(page[at : at + 2], "big") for at in range(head, begin, 2)]
    free = int.from_bytes(page[offset + 1 : offset + 3], "big")
    sound = begin <= end <= len(page) and all(end <= pointer < len(page) for pointer in pointers)
    return (begin, end) if sound and (not free or free >= end) else None


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    return 65_536 if size == 1 else size
