"""Customers' files as a stream of parts, read beside the writer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from wa_relay.ledger import media_files
from wa_relay.ledger.media_files import StoredFile
from wa_relay.ledger.reader import Reader


class FileReader:
    """Reads stored files part by part, beside the writer."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def find(self, public_id: str) -> StoredFile | None:
        """Returns the file with that public id, None if no such file is kept."""
        return await self._reader.read(media_files.find_file, public_id)

    async def read(self, media_id: int) -> AsyncIterator[bytes]:
        """Yields the parts of a file in their order."""
        number = 0
        while (part := await self._reader.read(media_files.read_chunk, media_id, number)) is not None:
            yield part
            number += 1
