"""The job that keeps the full-text index up to date, in small steps between the webhooks."""

from __future__ import annotations

from collections.abc import Mapping

from wa_relay.ledger.engine import EngineName, Queries
from wa_relay.ledger.store import Ledger
from wa_relay.text.searching import words_of

SELECT_IS_BEHIND = """
    select (select coalesce(max(id), 0) from conversation_messages) > indexed_to
        or (select coalesce(max(id), 0) from conversation_state) > named_to
        or exists (select 1 from search_changed) or exists (select 1 from search_renamed) as behind
    from search_progress"""
SELECT_UNINDEXED = """
    select m.id, m.content from conversation_messages m
    where m.id > (select indexed_to from search_progress) order by m.id limit :limit"""
SELECT_UNNAMED = """
    select s.id, s.client_name from conversation_state s
    where s.id > (select named_to from search_progress) order by s.id limit :limit"""
SELECT_CHANGED = """
    select message_id, m.content from search_changed left join conversation_messages m on m.id = message_id
    order by message_id limit :limit"""
SELECT_RENAMED = """
    select conversation_id, s.client_name
    from search_renamed left join conversation_state s on s.id = conversation_id
    order by conversation_id limit :limit"""
SET_INDEXED = "update search_progress set indexed_to = :id"
SET_NAMED = "update search_progress set named_to = :id"
DROP_CHANGED = "delete from search_changed where message_id = :id"
DROP_RENAMED = "delete from search_renamed where conversation_id = :id"
INDEX_MESSAGE: Mapping[EngineName, str] = {
    "sqlite": "insert into search_index (rowid, content) values (:id, :text)",
    "postgres": """
        insert into search_index (message_id, words) values (:id, array_to_tsvector(:words))
        on conflict (message_id) do update set words = excluded.words""",
}
DROP_NAME: Mapping[EngineName, str] = {
    "sqlite": "delete from search_names where rowid = :id",
    "postgres": "delete from search_names where conversation_id = :id",
}
INDEX_NAME: Mapping[EngineName, str] = {
    "sqlite": "insert into search_names (rowid, client_name) values (:id, :text)",
    "postgres": "insert into search_names (conversation_id, words) values (:id, array_to_tsvector(:words))",
}
MERGE: Mapping[str, str] = {
    "search_index": "insert into search_index (search_index, rank) values ('merge', :pages)",
    "search_names": "insert into search_names (search_names, rank) values ('merge', :pages)",
}

MERGED_AT_ONCE = 500
"""Pages of the index that one step of `clean` writes: some milliseconds."""


def is_behind(db: Queries) -> bool:
    """True if the job has something to do; reads only."""
    return bool(db.execute(SELECT_IS_BEHIND).fetchone()["behind"])


def index_more(ledger: Ledger, limit: int) -> bool:
    """Takes the next texts and names into the index. Returns true if there are more."""
    name = ledger.db.name
    rows = ledger.all(SELECT_UNINDEXED, {"limit": limit})
    for message_id, text in rows:
        ledger.run(INDEX_MESSAGE[name], _row(name, message_id, text))
    if rows:
        ledger.run(SET_INDEXED, {"id": rows[-1][0]})
    changed = ledger.all(SELECT_CHANGED, {"limit": limit})
    for message_id, text in changed:
        if text is not None:
            ledger.run(INDEX_MESSAGE[name], _row(name, message_id, text))
        ledger.run(DROP_CHANGED, {"id": message_id})
    return limit in (len(rows), len(changed)) or _index_names(ledger, limit)


def forget_name(ledger: Ledger, conversation_id: int) -> None:
    """Takes a customer's name out of the index at once. Their texts leave it when they are blanked or deleted."""
    _index_name(ledger, conversation_id, None)


def clean(ledger: Ledger, *, begins: bool) -> bool:
    """Rewrites a part of SQLite's index, which keeps words of deleted texts until then. Returns true if more is left.

    After an erasure: call it with `begins` first, then without, until it returns false. PostgreSQL's vacuum does this.
    """
    if ledger.db.name != "sqlite":
        return False
    worked = False
    for sql in MERGE.values():
        before = ledger.db.total_changes
        ledger.run(sql, {"pages": -MERGED_AT_ONCE if begins else MERGED_AT_ONCE})
        # FTS5 counts one change when there is nothing left to merge.
        worked = worked or ledger.db.total_changes - before > 1
    return worked


def _index_names(ledger: Ledger, limit: int) -> bool:
    new, renamed = ledger.all(SELECT_UNNAMED, {"limit": limit}), ledger.all(SELECT_RENAMED, {"limit": limit})
    for conversation_id, text in (*new, *renamed):
        _index_name(ledger, conversation_id, text)
    if new:
        ledger.run(SET_NAMED, {"id": new[-1][0]})
    return limit in (len(new), len(renamed))


def _index_name(ledger: Ledger, conversation_id: int, text: str | None) -> None:
    name = ledger.db.name
    ledger.run(DROP_NAME[name], {"id": conversation_id})
    if text is not None:
        ledger.run(INDEX_NAME[name], _row(name, conversation_id, text))
    ledger.run(DROP_RENAMED, {"id": conversation_id})


def _row(name: EngineName, row_id: int, text: str) -> dict[str, int | str | list[str]]:
    return {"id": row_id, "text": text} if name == "sqlite" else {"id": row_id, "words": words_of(text)}
