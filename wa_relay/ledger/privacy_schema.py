"""What is kept about forgotten customers, and the indexes by which one customer's traces are found."""

from __future__ import annotations

PRIVACY_TABLES = """
create index journal_of_everybody on journal (id)
    where conversation_id is null and message_id is null and turn_id is null;
create index strangers_of_address on strangers (phone_number);
"""
