"""The two lists of the REST API, a page at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from multidict import MultiMapping

from wa_relay.standins.elevenlabs import shapes
from wa_relay.standins.elevenlabs.shapes import Json
from wa_relay.standins.elevenlabs.state import Conversation, World


class NotValidError(Exception):
    """A query parameter that the API refuses with 422."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


def batches_page(world: World, query: Mapping[str, str]) -> Json:
    """A page of the workspace's batches, newest first; `last_doc` continues after that batch."""
    limit = number(query, "limit", 100, least=1, most=1000)
    listed = world.listed_batches(query.get("agent_id"))
    after = query.get("last_doc")
    start = next((place + 1 for place, batch in enumerate(listed) if batch.id == after), 0) if after else 0
    page = listed[start : start + limit]
    more = start + limit < len(listed)
    return {
        "batch_calls": [shapes.batch_row(batch) for batch in page],
        "next_doc": page[-1].id if more and page else None,
        "has_more": more,
    }


def conversations_page(world: World, query: MultiMapping[str]) -> Json:
    """A page of the conversations, the last one first; `cursor` continues after that one."""
    size = number(query, "page_size", 30, least=1, most=100)
    cursor = number(query, "cursor", world.conversations_begun + 1, least=1, most=10**12)
    after = number(query, "call_start_after_unix", 0, least=0, most=10**12)
    before = number(query, "call_start_before_unix", 10**12, least=0, most=10**12)
    excluded = frozenset(query.getall("exclude_statuses", ()))

    def wanted(one: Conversation) -> bool:
        return (
            one.number < cursor
            and query.get("agent_id") in (None, one.agent_id)
            and query.get("user_id") in (None, one.user_id)
            and query.get("text_only") in (None, str(one.text_only).lower())
            and after <= one.started_at <= before
            and one.status not in excluded
        )

    found = list(islice(filter(wanted, world.newest_conversations()), size + 1))
    page, more = found[:size], len(found) > size
    with_summary = query.get("summary_mode") == "include"
    return {
        "conversations": [shapes.conversation_row(one, with_summary=with_summary) for one in page],
        "next_cursor": str(page[-1].number) if more else None,
        "has_more": more,
    }


def number(query: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """A whole number of the query; raises NotValidError for anything else."""
    text = query.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise NotValidError(name, "Input should be a valid integer") from None
    if not least <= value <= most:
        raise NotValidError(name, f"Input should be between {least} and {most}")
    return value
