"""The full-text index: of messages by their texts, of conversations by the customer's name.

SQLite's FTS5 has virtual tables, PostgreSQL has `tsvector`: the tables differ, and `search` and `indexing` know both.
A message is indexed by a job, and out of the index at once when its text changes or goes: SQLite's index holds no text
of its own and has to be given the old one.
"""

from __future__ import annotations

from collections.abc import Mapping

from wa_relay.ledger.dialects import Trigger
from wa_relay.ledger.engine import EngineName

SEARCH_TABLES = """
create table search_progress (
    id key check (id = 1),
    indexed_to link not null default 0,
    named_to link not null default 0
);
insert into search_progress (id) values (1);

create table search_changed (
    message_id link primary key
);

create table search_renamed (
    conversation_id link primary key
);
"""
"""The job's progress: the last message and conversation that it took, and the texts and names that changed."""

SEARCH_INDEX: Mapping[EngineName, tuple[str, ...]] = {
    "sqlite": (
        """create virtual table search_index using fts5(content, content = 'conversation_messages',
            content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3')""",
        """create virtual table search_names using fts5(client_name, tokenize = 'unicode61 remove_diacritics 2',
            prefix = '1 2 3')""",
    ),
    "postgres": (
        "create table search_index (message_id bigint primary key, words tsvector not null)",
        "create index search_index_words on search_index using gin (words)",
        "create table search_names (conversation_id bigint primary key, words tsvector not null)",
        "create index search_names_words on search_names using gin (words)",
    ),
}
"""Copies and backups by rows leave these tables out: the job fills them again from `search_progress` on."""

_INDEXED = "old.id <= (select indexed_to from search_progress)"
_OUT: Mapping[EngineName, str] = {
    "sqlite": "insert into search_index (search_index, rowid, content) values ('delete', old.id, old.content);",
    "postgres": "delete from search_index where message_id = old.id;",
}
_IN: Mapping[EngineName, str] = {
    "sqlite": "insert into search_index (rowid, content) values (new.id, new.content);",
    "postgres": "insert into search_changed (message_id) values (old.id) on conflict do nothing;",
}


def search_triggers(engine: EngineName) -> tuple[Trigger, ...]:
    """Triggers that keep the index true: a changed or deleted text leaves it in the same transaction."""
    return (
        Trigger(
            "changed_text_is_indexed_again",
            "after update of content on conversation_messages",
            "old.content <> new.content",
            provided=_INDEXED,
            does=_OUT[engine] + _IN[engine],
        ),
        Trigger(
            "deleted_text_leaves_the_index",
            "before delete on conversation_messages",
            _INDEXED,
            does=_OUT[engine],
        ),
        Trigger(
            "changed_name_is_indexed_again",
            "after update of client_name on conversation_state",
            "old.client_name is distinct from new.client_name",
            does="insert into search_renamed (conversation_id) values (new.id) on conflict do nothing;",
        ),
        Trigger(
            "deleted_name_leaves_the_index",
            "before delete on conversation_state",
            does="insert into search_renamed (conversation_id) values (old.id) on conflict do nothing;",
        ),
    )
