"""Tables for forgotten customers, and the indexes by which one customer's traces are found.

Table `forgotten` holds keyed hashes: of the ids of erased calls and messages, and of the addresses of erased customers
who had opted out. The key is never in the database (`ledger/forgotten.py`).
"""

from __future__ import annotations

PRIVACY_TABLES = """
create table forgotten (
    kind text not null check (kind in ('call', 'message', 'address')),
    hash text not null,
    at moment not null,
    primary key (kind, hash)
);
create index journal_of_everybody on journal (id)
    where conversation_id is null and message_id is null and turn_id is null;
create index strangers_of_address on strangers (phone_number);
create index opt_outs_of_address on opt_outs (phone_number);
"""
