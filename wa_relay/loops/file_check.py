"""After a kill the file is checked beside the work: webhooks are stored, and nothing is asked or sent until it passes.

SQLite undoes by itself what a kill left half-done. The check is for what a disk did to the file meanwhile: with a
damaged unique index a second opening would go out.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from wa_relay.ledger.faults import DatabaseFault, DatabaseUnusable
from wa_relay.ledger.page_check import PageCheck
from wa_relay.logs import fail, say, warn

CHECKED_FIRST = 32 * 1024 * 1024
"""Bytes of a file that is checked before anything is served: it takes a tenth of a second."""


class FileCheck:
    """The check of one start. Without a path there is nothing to check.

    `is_sound` is true once the file has passed. `on_fault` is called with what is wrong with a damaged one.
    """

    def __init__(self, path: Path | None, on_fault: Callable[[DatabaseFault], None]) -> None:
        self._check = PageCheck(path) if path is not None else None
        self._is_short = path is not None and path.stat().st_size <= CHECKED_FIRST
        self._on_fault = on_fault
        self._over = asyncio.Event()
        self.is_sound = path is None
        if path is None:
            self._over.set()

    @property
    def is_running(self) -> bool:
        """True until the result is known."""
        return not self._over.is_set()

    async def begin(self) -> None:
        """Starts the check. Waits for its end if the file is small, and raises a `DatabaseFault` if it is damaged."""
        if self._check is None:
            return
        if self._is_short:
            await asyncio.to_thread(self._check.run)
            self.is_sound = True
            self._over.set()
            return
        warn("checking_file", what="the last daemon was killed: nothing is asked or sent until the file is checked")
        # A thread that nothing waits for: a read from a slow disk can't be interrupted.
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(self._check, loop), name="check", daemon=True).start()

    async def passed(self) -> bool:
        """Waits for the end of the check. Returns false if the file is damaged, or if the check was given up."""
        await self._over.wait()
        return self.is_sound

    def end(self) -> None:
        """Gives up a check that is still running."""
        if self._check is not None and self.is_running:
            self._check.give_up()
        self._over.set()

    def _run(self, check: PageCheck, loop: asyncio.AbstractEventLoop) -> None:
        began = time.monotonic()
        fault: DatabaseFault | None = None
        try:
            check.run()
        except DatabaseFault as error:
            fault = error
        except Exception as error:
            # Without a result nothing would ever be sent.
            fail("check_fault", error)
            fault = DatabaseUnusable(
                f"the database could not be checked: {type(error).__name__}. Start wa-relay again."
            )
        # The loop may have ended: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._settle, fault, time.monotonic() - began)

    def _settle(self, fault: DatabaseFault | None, seconds: float) -> None:
        if not self.is_running:
            # Given up meanwhile.
            return
        if fault is None:
            self.is_sound = True
            say("file_checked", seconds=round(seconds, 1))
        self._over.set()
        if fault is not None:
            self._on_fault(fault)
