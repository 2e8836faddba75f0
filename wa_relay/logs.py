"""What the daemon says while it works: one line a step, with its ids, and nothing personal.

Numbers are masked, names and texts left out, unless `log.personal_data` is set. A last net masks
whatever still looks like a number, wherever it came from.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from wa_relay.phone import mask
from wa_relay.safe import printable

LOGGER = logging.getLogger("wa_relay")
PERSONAL = frozenset({"name", "text"})
_NUMBER = re.compile(r"\+[0-9]{8,15}(?![0-9])")
_ROTATE_BYTES, _ROTATE_KEEP = 10 * 1024 * 1024, 5


def say(action: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Logs one step: its `action` in the words of the flow, and its ids.

    `phone`, `name` and `text` are personal: the formatter masks or leaves them out.
    """
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, action, extra={"fields": fields})


def warn(action: str, **fields: object) -> None:
    """Logs something that a person should look at, while the work goes on."""
    say(action, level=logging.WARNING, **fields)


def fail(action: str, error: BaseException, **fields: object) -> None:
    """Logs a failure that was not foreseen: its kind always, its traceback at `debug`."""
    LOGGER.error(action, extra={"fields": {**fields, "error": f"{type(error).__name__}: {error}"}})
    LOGGER.debug(action, exc_info=error, extra={"fields": fields})


class EventFormatter(logging.Formatter):
    """Writes a record as one line, text or JSON, with what is personal left out."""

    def __init__(self, *, as_json: bool, personal_data: bool, timezone: tzinfo) -> None:
        super().__init__()
        self._as_json, self._personal, self._timezone = as_json, personal_data, timezone

    def format(self, record: logging.LogRecord) -> str:
        """One line for one record; a traceback follows it at `debug`."""
        fields = self._visible(getattr(record, "fields", {}))
        when = datetime.fromtimestamp(record.created, self._timezone).isoformat(timespec="milliseconds")
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            entry = {"at": when, "level": record.levelname.lower(), "action": record.getMessage(), **fields}
            if trace:
                entry["trace"] = trace
            line = json.dumps(entry, ensure_ascii=False, default=str)
        else:
            shown = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())
            line = f"{when} {record.levelname:<7} {printable(record.getMessage())} {shown}".rstrip()
            line += f"\n{trace}" if trace else ""
        return line if self._personal else _NUMBER.sub(lambda found: mask(found.group()), line)

    def _visible(self, fields: dict[str, Any]) -> dict[str, Any]:
        shown = {key: value for key, value in fields.items() if value is not None}
        if self._personal:
            return shown
        kept = {key: value for key, value in shown.items() if key not in PERSONAL}
        if "phone" in kept:
            kept["phone"] = mask(str(kept["phone"]))
        return kept


def set_up(
    *, level: str, as_json: bool, file: Path | None, personal_data: bool, timezone: tzinfo
) -> list[logging.Handler]:
    """Points the log at stderr and, where one is configured, at a file that is rotated at 10 MB."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                file, maxBytes=_ROTATE_BYTES, backupCount=_ROTATE_KEEP, encoding="utf-8"
            )
        )
    for handler in handlers:
        handler.setFormatter(EventFormatter(as_json=as_json, personal_data=personal_data, timezone=timezone))
    LOGGER.handlers[:] = handlers
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    # Libraries speak only when something is wrong, through the same net.
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(logging.WARNING)
    logging.raiseExceptions = False
    return handlers


def _quoted(value: object) -> str:
    shown = printable(str(value)).replace("\n", "\\n")
    return json.dumps(shown, ensure_ascii=False) if " " in shown or '"' in shown or not shown else shown
