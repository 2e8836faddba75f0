"""The memory of forgotten customers: keyed hashes, by which a late report of an erased call or message is recognised.

The key is in its own file, `<database>.forgotten` (mode 0600), with a copy of every hash: a database that is
restored from an older backup learns from it whom to forget again. Without the key, the hashes in the database say
nothing about any customer. HMAC-SHA256; the kind of a value is part of what is hashed.

The file is text: the key in the first line, then a line for each hash with its kind and time. Lines are only added,
each group with one fsync; a line that a power cut has cut off is ignored. The last line about a hash counts, and the
word `back` instead of a time says that the customer has come back.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from wa_relay.ledger.faults import DatabaseUnusable
from wa_relay.ledger.store import Ledger
from wa_relay.model import Call, Moment
from wa_relay.phone import other_spelling

Kind = Literal["call", "message", "address"]

KINDS: dict[str, Kind] = {"call": "call", "message": "message", "address": "address"}
HEADING = "wa-relay forgotten 1 "
ERASED = "erased-"
"""Begins what stands in for an erased number or id; no number, BSUID or SID begins like this."""

SELECT_FORGOTTEN = "select at from forgotten where kind = :kind and hash = :hash"
SELECT_ALL_FORGOTTEN = "select kind, hash, at from forgotten"
SELECT_ANY_FORGOTTEN = "select 1 from forgotten limit 1"
INSERT_FORGOTTEN = """
    insert into forgotten (kind, hash, at) values (:kind, :hash, :at)
    on conflict (kind, hash) do update set at = greatest(forgotten.at, excluded.at)"""
DELETE_FORGOTTEN = "delete from forgotten where kind = :kind and hash = :hash"

_keys: dict[Path, tuple[tuple[int, int, int], bytes]] = {}
"""The key of each file that was read, with the file's device, inode and the time of its last change."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The hash of something erased, and when it was. `at` is None for a customer who has come back."""

    kind: Kind
    hash: str
    at: Moment | None


def beside(database: Path) -> Path:
    """The file of a database's key."""
    return database.with_name(database.name + ".forgotten")


def find_key(path: Path | None) -> bytes | None:
    """Returns the key, None while no customer was forgotten. Costs one stat of the file."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    mark = (found.st_dev, found.st_ino, found.st_ctime_ns)
    known = _keys.get(path)
    if known is None or known[0] != mark:
        known = (mark, _read_key(path))
        _keys[path] = known
    return known[1]


def hash_of(key: bytes, kind: Kind, value: str) -> str:
    """The keyed hash of an id or an address."""
    return hmac.digest(key, f"{kind}:{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


def is_forgotten(ledger: Ledger, kind: Kind, value: str | None) -> bool:
    """True if a call, a message or an address with this id was erased."""
    key = None if value is None else find_key(ledger.forgotten)
    if key is None or value is None:
        return False
    return ledger.one(SELECT_FORGOTTEN, {"kind": kind, "hash": hash_of(key, kind, value)}) is not None


def anonymous(call: Call, name: str) -> Call:
    """A call without anything that says whom it was made to; `name` stands in for its id and its number."""
    return replace(
        call,
        key=name,
        phone=name,
        recipient_id=None,
        client_name=None,
        client_id=None,
        variables={},
        summary=None,
        transcript=None,
        collected=None,
        raw=None,
    )


def opted_out_before(ledger: Ledger, *addresses: str | None) -> bool:
    """True if one of these addresses, in either spelling, had opted out when its customer was forgotten."""
    return any(each is not None and each.startswith(ERASED) for each in addresses) or any(
        is_forgotten(ledger, "address", spelling) for spelling in _spellings(addresses)
    )


def traces_of(ledger: Ledger, values: Iterable[tuple[Kind, str]], now: Moment) -> list[Trace]:
    """Returns the hashes of what is about to be erased; makes the key on first use."""
    if ledger.forgotten is None:
        raise DatabaseUnusable("the file for the key of forgotten customers is not known.", permanent=True)
    key = find_key(ledger.forgotten) or _make_key(ledger.forgotten)
    return [Trace(kind, hash_of(key, kind, value), now) for kind, value in values]


def remember(ledger: Ledger, traces: Sequence[Trace]) -> None:
    """Stores hashes: in the file first, so that the next start completes an erasure that a power cut interrupts."""
    if ledger.forgotten is not None:
        append(ledger.forgotten, traces)
    for trace in traces:
        ledger.run(INSERT_FORGOTTEN, {"kind": trace.kind, "hash": trace.hash, "at": trace.at})


def come_back(ledger: Ledger, *addresses: str | None) -> None:
    """Ends what was remembered about addresses: their customer has opted back in."""
    key = find_key(ledger.forgotten)
    if key is None or ledger.forgotten is None:
        return
    for spelling in _spellings(addresses):
        trace = Trace("address", hash_of(key, "address", spelling), None)
        if ledger.run(DELETE_FORGOTTEN, {"kind": trace.kind, "hash": trace.hash}):
            append(ledger.forgotten, [trace])


def read(path: Path | None) -> dict[tuple[Kind, str], Moment]:
    """The hashes in the file, each with its time; nothing without a file."""
    found: dict[tuple[Kind, str], Moment] = {}
    if path is None:
        return found
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except OSError:
        return found
    for line in lines:
        fields = line.split(" ")
        if len(fields) != 3 or fields[0] not in KINDS or len(fields[1]) != 64:
            continue
        name = KINDS[fields[0]], fields[1]
        if fields[2] == "back":
            found.pop(name, None)
        else:
            with suppress(ValueError):
                found[name] = float(fields[2])
    return found


def append(path: Path, traces: Iterable[Trace]) -> None:
    """Adds lines to the file, durably."""
    lines = "".join(f"{each.kind} {each.hash} {'back' if each.at is None else repr(each.at)}\n" for each in traces)
    # An empty line ends one that a power cut has cut off.
    _write(path, os.O_APPEND, f"\n{lines}")


def _make_key(path: Path) -> bytes:
    key = secrets.token_bytes(32)
    _write(path, os.O_CREAT | os.O_EXCL, f"{HEADING}{key.hex()}\n")
    return key


def _read_key(path: Path) -> bytes:
    try:
        with path.open(encoding="ascii") as file:
            return bytes.fromhex(file.readline().removeprefix(HEADING).strip())
    except (OSError, ValueError) as error:
        raise DatabaseUnusable(
            f"{path} can't be read: it holds the key by which erased calls are recognised. Put its backup back."
        ) from error


def _write(path: Path, flags: int, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DatabaseUnusable(
            f"{path} can't be written: {error.strerror}. Check that this user may write to its folder."
        ) from error


def _spellings(addresses: Iterable[str | None]) -> list[str]:
    known = [address for address in addresses if address is not None]
    return known + [other for address in known if (other := other_spelling(address)) is not None]
