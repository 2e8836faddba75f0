"""Reading customers' files beside the writer."""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay.ledger.engine import Queries

SELECT_CHUNK = "select content from media_chunks where media = :media and number = :number"
SELECT_FILE_BY_PUBLIC_ID = """
    select id, content_type, size from media where public_id = :public_id and stored"""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is kept. `size` is in bytes."""

    id: int
    content_type: str
    size: int


def read_chunk(db: Queries, media_id: int, number: int) -> bytes | None:
    """One part of a file; None behind the last one."""
    row = db.execute(SELECT_CHUNK, {"media": media_id, "number": number}).fetchone()
    return None if row is None else bytes(row[0])


def find_file(db: Queries, public_id: str) -> StoredFile | None:
    """Returns the file with that public id, None if no such file is kept."""
    row = db.execute(SELECT_FILE_BY_PUBLIC_ID, {"public_id": public_id}).fetchone()
    return (
        None if row is None else StoredFile(row["id"], row["content_type"] or "application/octet-stream", row["size"])
    )
