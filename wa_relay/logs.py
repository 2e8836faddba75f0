"""The daemon's log: one line a step, with its ids and nothing personal.

Numbers are masked, and names and texts are left out, unless `log.personal_data` is set. As a last net, whatever still
looks like a number is masked, wherever it came from. Messages of libraries and of unexpected exceptions may quote a
customer, so only their kind is logged.

Shortcuts make a line cost 6 us of processor time (a webhook's line, to /dev/null) where the plain way took 10:
`say` makes a record that looks neither for the calling line of code nor for thread and process, a line of text is
written without the steps that JSON needs, what consists of letters only is logged unmasked and unquoted, the local time
is made once a second, and `Together` writes many lines at once, without logging's lock. To a pipe the last one saves
more, since each write hands the interpreter to another thread. It also formats them at once: between two requests the
processor's caches have lost the formatter (6 % of a stored webhook). The daemon has it do so while the ledger commits,
when the event loop has least to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import logging.handlers
import math
import re
import sys
import time
import traceback
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, TextIO

from wa_relay.model import Moment, RelayError
from wa_relay.phone import mask
from wa_relay.text.escaping import printable

LOGGER = logging.getLogger("wa_relay")
PERSONAL = frozenset({"name", "text"})
_NUMBER = re.compile(r"(?:\+|%2[Bb])([1-9][0-9]{7,14})(?![0-9])|(?<![\w.+:-])([1-9][0-9]{9,14})(?![\w.:-])")
"""E.164, also percent-encoded, and the bare digits of `WaId`."""

_UNSEEN = re.compile("[\x7f-\x9f\u2028-\u202e\ud800-\udfff]")
_HARMLESS = ("sqlite3", "ssl")
"""Modules whose errors name files and connections only."""

LATEST = 0.02
"""Seconds after which a line is written to stderr at the latest."""

_ROTATE_BYTES, _ROTATE_KEEP = 10 * 1024 * 1024, 5


def say(action: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Logs one step: the name of its `action`, and its ids.

    `phone`, `name` and `text` are personal: the formatter masks them or leaves them out.
    """
    if LOGGER.isEnabledFor(level):
        LOGGER.handle(_Step(level, action, fields))


def warn(action: str, **fields: object) -> None:
    """Logs a matter that an operator should look at; the work continues."""
    say(action, level=logging.WARNING, **fields)


def fail(action: str, error: BaseException, **fields: object) -> None:
    """Logs an unexpected exception: its kind always, its traceback at `debug`."""
    LOGGER.error(action, extra={"fields": {**fields, "error": error}})
    LOGGER.debug(action, exc_info=error, extra={"fields": fields})


_EMPTY = logging.makeLogRecord({"name": LOGGER.name, "levelname": "INFO", "levelno": logging.INFO}).__dict__


class _Step(logging.LogRecord):
    """The record of one step. What no line shows is the same for all, and is not looked for."""

    def __init__(self, level: int, action: str, fields: dict[str, object]) -> None:
        self.__dict__.update(_EMPTY, msg=action, created=time.time(), fields=fields)
        if level != logging.INFO:
            self.levelno, self.levelname = level, logging.getLevelName(level)


class EventFormatter(logging.Formatter):
    """Writes a record as one line, text or JSON, with what is personal left out."""

    def __init__(self, *, as_json: bool, personal_data: bool, timezone: tzinfo) -> None:
        super().__init__()
        self._as_json, self._personal, self._timezone = as_json, personal_data, timezone
        self._second, self._local = -1, ("", "")

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line for one record; a traceback follows it at `debug`."""
        given = getattr(record, "fields", {})
        if isinstance(record, _Step) and not self._as_json:
            action = record.msg if _word(record.msg) else _one_line(record.msg)
            return f"{self._when(record.created)} {record.levelname:<7} {action} {self._shown_fields(given)}".rstrip()
        fields = self._visible(given)
        when = self._when(record.created)
        action, trace = self._action(record), self._trace(record)
        if self._as_json:
            entry = {"at": when, "level": record.levelname.lower(), "action": action, **fields}
            line = json.dumps({**entry, "trace": trace} if trace else entry, ensure_ascii=False)
            return _UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", line)
        line = f"{when} {record.levelname:<7} {_one_line(action)} {self._shown_fields(given)}".rstrip()
        return line + "".join(f"\n    {printable(row)}" for row in trace.splitlines())

    def _when(self, moment: Moment) -> str:
        """Returns the local time with milliseconds and offset."""
        second = math.floor(moment)
        if second != self._second:
            local = datetime.fromtimestamp(second, self._timezone).isoformat(timespec="seconds")
            self._second = second
            self._local = (local[:19], local[19:])
        date, offset = self._local
        return f"{date}.{int((moment - second) * 1000.0):03d}{offset}"

    def _action(self, record: logging.LogRecord) -> str:
        if record.name == LOGGER.name:
            return record.getMessage()
        # Without arguments a library's message may be formatted already, with a customer's text in it.
        message = record.getMessage() if self._personal else str(record.msg) if record.args else "message left out"
        return f"{record.name} ({record.module}:{record.lineno}): {message}"

    def _trace(self, record: logging.LogRecord) -> str:
        if not record.exc_info or record.exc_info[1] is None:
            return ""
        if self._personal:
            return self.formatException(record.exc_info)
        parts: list[str] = []
        error: BaseException | None = record.exc_info[1]
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            frames = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
            parts.append(f"{frames}{self._shown(error)}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(reversed(parts))

    def _visible(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            key: value if isinstance(value, bool | int | float) else self._shown_of(key, value)
            for key, value in fields.items()
            if value is not None and (self._personal or key not in PERSONAL)
        }

    def _shown_fields(self, fields: dict[str, Any]) -> str:
        parts = []
        for key, value in fields.items():
            if value is None or (key in PERSONAL and not self._personal):
                continue
            if isinstance(value, int | float) or (isinstance(value, str) and _word(value) and key != "phone"):
                parts.append(f"{key}={value}")
            else:
                parts.append(f"{key}={_quoted(self._shown_of(key, value))}")
        return " ".join(parts)

    def _shown_of(self, key: str, value: object) -> str:
        return self._shown(mask(str(value)) if key == "phone" and not self._personal else value)

    def _shown(self, value: object) -> str:
        if isinstance(value, str) and _word(value):
            return value
        if isinstance(value, BaseException):
            foreign = not isinstance(value, RelayError | OSError) and type(value).__module__ not in _HARMLESS
            value = type(value).__name__ if foreign and not self._personal else f"{type(value).__name__}: {value}"
        text = str(value)
        return text if self._personal else _NUMBER.sub(lambda found: mask("+" + (found[1] or found[2])), text)


class Together(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines together: when `flush` is called, or `latest` seconds after the first of them."""

    def __init__(self, stream: TextIO, *, latest: float = LATEST) -> None:
        super().__init__(stream)
        self._latest = latest
        self._records: list[logging.LogRecord] = []
        self._waits_in: asyncio.AbstractEventLoop | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Takes a record without the lock: a list's `append` needs none."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the record for later; without a running loop it is written at once."""
        self._records.append(record)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._waits_in is not loop:
            self._waits_in = loop
            loop.call_later(self._latest, self._write_late)

    def _write_late(self) -> None:
        self._waits_in = None
        self.flush()

    def flush(self) -> None:
        """Writes the records that were kept."""
        assert self.lock is not None
        with self.lock:
            records, self._records = self._records, []
            lines = [line for record in records if (line := self._line(record))]
            # A stream that is gone must not stop the work.
            with contextlib.suppress(OSError, ValueError):
                if lines:
                    self.stream.write("\n".join(lines) + "\n")
                self.stream.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception:
            self.handleError(record)
            return ""


def set_up(
    *, level: str, as_json: bool, file: Path | None, personal_data: bool, timezone: tzinfo
) -> list[logging.Handler]:
    """Sends the log to stderr and, if one is configured, to a file that is rotated at 10 MB."""
    handlers: list[logging.Handler] = [Together(sys.stderr)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                file, maxBytes=_ROTATE_BYTES, backupCount=_ROTATE_KEEP, encoding="utf-8"
            )
        )
    for handler in handlers:
        handler.setFormatter(EventFormatter(as_json=as_json, personal_data=personal_data, timezone=timezone))
    # No line shows its thread or process, so no record looks for them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    LOGGER.handlers[:] = handlers
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    # Of libraries only warnings are logged, through the same formatter.
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(logging.WARNING)
    logging.raiseExceptions = False
    return handlers


def write_kept() -> None:
    """Writes the lines that wait to be written together."""
    for handler in LOGGER.handlers:
        # The file's handler keeps nothing, and its disk may be full.
        if isinstance(handler, Together):
            handler.flush()


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _word(text: str) -> bool:
    """Returns True for ASCII letters, digits and `_` without a digit at the start: nothing to mask or to quote."""
    return text.isascii() and text.isidentifier()


def _quoted(value: object) -> str:
    if isinstance(value, str) and _word(value):
        return value
    shown = _one_line(str(value))
    return json.dumps(shown, ensure_ascii=False) if " " in shown or '"' in shown or not shown else shown
