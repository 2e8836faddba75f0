"""The calls as a list: one row each, with what became of the opening and of the conversation. Also as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from wa_relay.ledger.engine import Queries
from wa_relay.model import Moment
from wa_relay.moments import optional_stamp
from wa_relay.reports.first_reply import FIRST_REPLY_AT
from wa_relay.reports.snapshot import snapshot
from wa_relay.reports.spans import Span
from wa_relay.text.escaping import csv_cell, one_line

LIST_CALLS = f"""
    select c.elevenlabs_conversation_id, c.phone_number, coalesce(c.client_name, s.client_name), c.batch_id,
        c.batch_name, c.group_id, c.group_name, c.outcome, c.ended_at,
        case when c.skipped is not null then 'skipped' else m.status end,
        coalesce(c.skipped, m.reason), m.error_code,
        {FIRST_REPLY_AT},
        (select count(*) from conversation_messages t where t.conversation_id = c.conversation_id and t.call_id = c.id),
        s.status = 'opted_out', s.handler
    from calls c join conversation_state s on s.id = c.conversation_id
    left join conversation_messages m on m.call_id = c.id and m.kind = 'opening'
    where {{ended}} and {{batch}}
    order by coalesce(c.ended_at, c.recorded_at), c.id"""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call. `opening_status` is None while it is not decided; `messages` counts those since this call."""

    elevenlabs_conversation_id: str
    phone_number: str
    client_name: str | None
    batch_id: str | None
    batch_name: str | None
    group_id: str | None
    group_name: str | None
    outcome: str
    ended_at: Moment | None
    opening_status: str | None
    opening_reason: str | None
    error_code: str | None
    replied_at: Moment | None
    messages: int
    opted_out: bool
    handler: str

    def to_json(self) -> dict[str, Any]:
        """The entry of `wa-relay calls --format json`."""
        shown = {name: getattr(self, name) for name in COLUMNS}
        times = {name: optional_stamp(shown[name]) for name in ("ended_at", "replied_at")}
        return shown | times | {"opted_out": bool(self.opted_out)}


COLUMNS = tuple(field.name for field in fields(CallRow))


def list_calls(db: Queries, *, span: Span, batch: str | None = None) -> Iterator[CallRow]:
    """Reads the calls that ended in a span, of one batch or of all, the oldest first.

    Calls whose end is not known come only without a span. The rows are those of one moment; read them before the
    connection is closed.
    """
    sql = LIST_CALLS.format(
        ended="true" if span.everything else "c.ended_at >= :since and c.ended_at < :until",
        batch="true" if batch is None else "c.batch_id = :batch",
    )
    wanted = {
        "since": -math.inf if span.since is None else span.since,
        "until": math.inf if span.until is None else span.until,
        "batch": batch,
    }
    with snapshot(db):
        for row in db.tuples(sql, wanted):
            yield CallRow(*row)


def calls_csv(rows: Iterable[CallRow]) -> Iterator[str]:
    """Writes the list as CSV (RFC 4180), line by line; texts that a spreadsheet would take for formulas are quoted."""
    yield _line(COLUMNS)
    for row in rows:
        yield _line([_cell(value) for value in row.to_json().values()])


def _line(cells: Iterable[Any]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return csv_cell(one_line(value)) if isinstance(value, str) else value
