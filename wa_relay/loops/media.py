"""The worker for customers' files: fetches them, has recordings transcribed, deletes those that are kept no longer.

Files stream through in parts, so that many large ones take no memory; each part is stored by a separate operation,
between those of the webhooks.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

from wa_relay.channel.media import Fetched, MediaError
from wa_relay.elevenlabs.uploads import FilePart, Transcription, refuses_account
from wa_relay.ledger import inbox, media
from wa_relay.ledger.faults import LeaseLost, StorageUnavailable
from wa_relay.ledger.media import DueFile, FetchedFile, Heard
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.loops.file_reader import FileReader
from wa_relay.loops.worker import Worker, rest_until
from wa_relay.model import Moment, UpstreamError
from wa_relay.policy import CHUNK, MEDIA_RETRY_BASE, MEDIA_RETRY_CAP, Rules, retry_delay
from wa_relay.text.for_agent import contacts_text

FETCHES = 8
MEDIA_SLOTS = 64
LARGEST_CARD = CHUNK
"""Bytes of a contact card that are read: the first part of the file."""

DELETE_EVERY = 60.0
"""Seconds between two looks for files that are kept no longer."""


class Fetcher(Protocol):
    """Fetches files from the channel."""

    async def fetch(self, url: str, announced: str | None, keep: Callable[[int, bytes], Awaitable[None]], /) -> Fetched:
        """Hands a file to `keep` part by part. Raises `MediaError`."""
        ...


class Transcriber(Protocol):
    """Turns recordings into text."""

    async def transcribe(self, file: FilePart, language: str, /) -> Transcription:
        """Transcribes one recording. Raises `UpstreamError`."""
        ...


class MediaWorker(Worker):
    """Carries out the steps that are due.

    `speech_refused` is true while ElevenLabs refuses to transcribe anything for the account.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        fetcher: Fetcher,
        transcriber: Transcriber,
        reader: FileReader,
        wakers: Wakers,
        clock: Callable[[], Moment],
        rules: Rules,
        *,
        language: str,
    ) -> None:
        super().__init__(ledger, clock, wakers.media, MEDIA_SLOTS)
        self._fetcher = fetcher
        self._transcriber = transcriber
        self._reader = reader
        self._wakers = wakers
        self._rules = rules
        self._language = language
        self._fetching = 0
        self._transcribing = 0
        self._deleted_at: Moment | None = None
        self.speech_refused = False

    async def _look(self) -> tuple[bool, float]:
        now = self._clock()
        claimed = await self._ledger.run(media.claim, FETCHES - self._fetching, self._transcribing, now)
        for file in claimed.fetches:
            self._fetching += 1
            self._start(self._run_fetch(file))
        for file in claimed.transcriptions:
            self._transcribing += 1
            self._start(self._run_transcription(file))
        if claimed.failed:
            self._wakers.turn.ring()
        await self._delete_expired(now)
        return False, rest_until(claimed.next_due, now)

    async def _delete_expired(self, now: Moment) -> None:
        """Deletes files that are kept no longer; without retention, right after their turn."""
        every = min(DELETE_EVERY, self._rules.scaled(DELETE_EVERY))
        if self._rules.media_kept > 0 and self._deleted_at is not None and 0 <= now - self._deleted_at < every:
            return
        if await self._ledger.run(media.delete_expired, now):
            self.bell.ring()
        else:
            self._deleted_at = now

    async def _run_fetch(self, file: DueFile) -> None:
        try:
            await self._fetch(file)
        except MediaError as error:
            await self._failed(file, error.reason, error.evidence, permanent=error.permanent, after=error.retry_after)
        except LeaseLost:
            return
        except StorageUnavailable as error:
            await self._failed(file, "storage_away", error.message, permanent=False)
        except Exception as error:
            fail("media_fault", error, media=file.id)
            await self._failed(file, "unexpected", type(error).__name__, permanent=False)
        finally:
            self._fetching -= 1
            self.bell.ring()

    async def _fetch(self, file: DueFile) -> None:
        card, held = bytearray(), list[tuple[int, bytes]]()

        async def keep(number: int, part: bytes) -> None:
            if file.purpose == "card" and number == 0:
                # A contact card is a few hundred bytes: a longer file is not one.
                card.extend(part)
            if held:
                await self._ledger.run(media.store_chunk, file.id, *held.pop())
            held.append((number, part))

        fetched = await self._fetcher.fetch(file.url, file.content_type, keep)
        # Not the row's id: the address of a file must not be guessable from another's.
        public_id = secrets.token_urlsafe(18) if self._rules.media_kept > 0 else None
        whole = FetchedFile(fetched.content_type, fetched.size, public_id)
        contacts = contacts_text(bytes(card)) if file.purpose == "card" else None
        if await self._persist(media.finish_fetch, file.id, whole, contacts, self._clock(), held.pop()):
            say("media_fetched", media=file.id, message=file.message_id, size=fetched.size, purpose=file.purpose)
        if file.purpose != "transcript":
            self._wakers.turn.ring()

    async def _run_transcription(self, file: DueFile) -> None:
        try:
            await self._transcribe(file)
        except UpstreamError as error:
            self.speech_refused = self.speech_refused or refuses_account(error)
            final = error.permanent and error.status != 404
            reason = media.SPEECH_REFUSED if refuses_account(error) else "not_transcribed"
            final = final or refuses_account(error)
            await self._failed(file, reason, error.message, permanent=final, after=error.retry_after)
        except LeaseLost:
            return
        except StorageUnavailable as error:
            await self._failed(file, "storage_away", error.message, permanent=False)
        except Exception as error:
            fail("media_fault", error, media=file.id)
            await self._failed(file, "unexpected", type(error).__name__, permanent=False)
        finally:
            self._transcribing -= 1
            self.bell.ring()

    async def _transcribe(self, file: DueFile) -> None:
        recording = FilePart(file.content_type or "", file.size or 0, self._reader.read(file.id))
        heard = await self._transcriber.transcribe(recording, self._language)
        self.speech_refused = False
        if not heard.text.strip():
            await self._failed(file, "empty_transcript", "the recording contains no speech", permanent=True)
            return
        received = await self._persist(
            inbox.record_transcript, file.id, Heard(heard.text, heard.seconds), self._clock()
        )
        if received is None:
            return
        say("media_transcribed", media=file.id, message=file.message_id, seconds=heard.seconds, text=heard.text)
        # An opt-out or a request for a person was spoken: its notice waits in the outbox.
        if received.effect != "turn":
            self._wakers.send.ring()
        self._wakers.turn.ring()

    async def _failed(
        self, file: DueFile, reason: str, evidence: str, *, permanent: bool, after: float | None = None
    ) -> None:
        """Gives a file up, or plans its step again after a growing pause."""
        now = self._clock()
        if not permanent:
            pause = retry_delay(file.tries, after, base=MEDIA_RETRY_BASE, cap=MEDIA_RETRY_CAP)
            say("media_put_off", media=file.id, message=file.message_id, reason=reason, why=evidence)
            await self._persist(media.put_off, file.id, now + self._rules.scaled(pause))
            return
        if await self._persist(media.fail_file, file.id, reason, evidence, now):
            warn("media_failed", media=file.id, message=file.message_id, reason=reason, why=evidence)
        self._wakers.turn.ring()
