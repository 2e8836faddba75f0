"""The shape of the database file: one schema, and the numbered steps that bring an older file to it.

The file itself refuses what must never happen: a second opening for a call, two messages in flight to one customer, two
answers to a turn, a return to the queue without proof that nothing was sent. Columns of `conversation_state` and
`conversation_messages` that other programs read hold RFC 3339 text in UTC; every other moment is REAL seconds since the
epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlite_utils import Database

from wa_relay.ledger.console_schema import CONSOLE_TABLES
from wa_relay.ledger.handover_schema import HANDOVER_TABLES, HANDOVER_TRIGGERS

MOVES = (
    # from, to: every edge of an outbound message's life; a receipt of any rank passes through `sent`
    ("queued", "sending"),
    ("queued", "failed"),
    ("queued", "sent"),  # a resend that was waiting when the first attempt's receipt came after all
    ("sending", "sent"),
    ("sending", "failed"),
    ("sending", "queued"),
    ("sending", "uncertain"),
    ("uncertain", "sent"),
    ("uncertain", "failed"),
    ("uncertain", "queued"),
    ("sent", "delivered"),
    ("sent", "read"),
    ("sent", "failed"),
    ("delivered", "read"),
)

_TABLES = """
create table relay (
    id integer primary key check (id = 1),
    fence real not null,
    epoch integer not null default 0,
    account_sid text,
    started_at real not null default 0,
    watching integer not null default 0 check (watching in (0, 1)),
    openings_begun integer not null default 0,
    last_push_at real,
    swept_to real,
    clean_stop integer not null default 1 check (clean_stop in (0, 1)),
    probed_at real
) strict;

create table holds (
    id integer primary key,
    subject text not null check (subject in ('operator', 'burst', 'account', 'sender', 'limited', 'template')),
    name text not null default '',
    code text,
    meaning text,
    since real not null,
    last_at real not null,
    probes integer not null default 0,
    probe_at real,
    unique (subject, name)
) strict;

create table conversation_state (
    id integer primary key,
    phone_number text not null unique,
    client_name text,
    elevenlabs_conversation_id text not null,
    agent_id text not null,
    status text not null default 'active' check (status in ('active', 'opted_out')),
    call_summary text,
    started_at text not null,
    last_message_at text not null,
    message_count integer not null default 0,
    call_id integer references calls (id),
    user_id text,
    reply_to text,
    created_at real not null,
    window_ends_at real,
    fallback_told integer not null default 0 check (fallback_told in (0, 1)),
    bucket real not null default 10,
    bucket_at real not null default 0,
    unanswered_turn_id integer,
    sender text,
    handler text not null default 'agent' check (handler in ('agent', 'human', 'muted')),
    handler_until real,
    handler_reason text check (handler_reason in
        ('console', 'api', 'cli', 'keyword', 'tool', 'failure', 'repeats_itself', 'too_many_turns')),
    handler_by text,
    waiting integer not null default 0 check (waiting in (0, 1)),
    unread integer not null default 0 check (unread >= 0),
    unanswered_since real,
    handed_at real,
    handed_code text,
    handed_actor text,
    handed_evidence text,
    check ((handler = 'agent') = (handler_reason is null)),
    check ((handler = 'agent') = (handler_until is null)),
    check (handler_by is null or handler = 'human'),
    check (unanswered_since is null or handler = 'human')
) strict;

create table addresses (
    address text primary key,
    kind text not null check (kind in ('phone', 'bsuid')),
    conversation_id integer not null references conversation_state (id),
    known_since real not null,
    writes_since real,
    check ((kind = 'phone') = (address like '+%'))
) strict;
create index addresses_of_conversation on addresses (conversation_id);

create table calls (
    id integer primary key,
    elevenlabs_conversation_id text not null unique,
    conversation_id integer not null references conversation_state (id),
    phone_number text not null,
    agent_id text not null,
    agent_name text,
    batch_id text,
    batch_name text,
    recipient_id text,
    client_name text,
    client_id text,
    group_id text,
    group_name text,
    outcome text not null,
    source text not null check (source in ('push', 'poll', 'webhook')),
    ended_at real,
    recorded_at real not null,
    variables text not null default '{}',
    summary text,
    transcript text,
    raw text,
    seconds real,
    collected text,
    decide_by real,
    skipped text check (skipped in
        ('outcome_not_followed', 'opted_out', 'too_old', 'recent_opening', 'too_short', 'condition', 'handed_over')),
    details_at real,
    details_tries integer not null default 0,
    check (decide_by is null or skipped is null)
) strict;
create index calls_of_conversation on calls (conversation_id, ended_at);
create index calls_by_end on calls (ended_at, conversation_id, skipped);
create index calls_undecided on calls (decide_by) where decide_by is not null;
create index calls_without_details on calls (details_at) where details_at is not null;

create table turns (
    id integer primary key,
    conversation_id integer not null references conversation_state (id),
    call_id integer references calls (id),
    state text not null check (state in
        ('open', 'held', 'asking', 'answered', 'silent', 'failed', 'cancelled', 'noticed')),
    first_at real not null,
    last_at real not null,
    due_at real not null,
    tries integer not null default 0,
    tools_ran integer not null default 0 check (tools_ran in (0, 1)),
    put_offs integer not null default 0,
    put_off_at real,
    asked_again integer not null default 0,
    begun_at real,
    finished_at real,
    told_at real,
    session_id text,
    error text
) strict;
create unique index one_turn_asking on turns (conversation_id) where state = 'asking';
create unique index one_turn_open on turns (conversation_id) where state = 'open';
create unique index one_turn_held on turns (conversation_id) where state = 'held';
create index turns_due on turns (due_at) where state = 'open';
create index turns_by_end on turns (finished_at, state, call_id, last_at, told_at) where finished_at is not null;

create table conversation_messages (
    id integer primary key,
    conversation_id integer not null references conversation_state (id),
    direction text not null check (direction in ('inbound', 'outbound')),
    content text not null,
    twilio_message_id text unique,
    sent_at text,
    kind text not null check (kind in ('opening', 'reply', 'customer', 'notice', 'human')),
    status text not null check (status in
        ('received', 'queued', 'sending', 'sent', 'delivered', 'read', 'failed', 'uncertain')),
    reason text,
    error_code text,
    error_message text,
    call_id integer references calls (id),
    turn_id integer references turns (id),
    part integer not null default 0,
    notice text check (notice in ('fallback', 'opt_out', 'text_only', 'handover')),
    author text,
    attachment text,
    created_at real not null,
    due_at real,
    waits_for text,
    not_after real,
    attempts integer not null default 0,
    attempted_at real,
    epoch integer,
    in_flight integer not null default 0 check (in_flight in (0, 1)),
    lookups integer not null default 0,
    lookup_at real,
    polls integer not null default 0,
    poll_at real,
    accepted_at real,
    delivered_at real,
    read_at real,
    failed_at real,
    receipt text,
    to_address text,
    content_sid text,
    content_variables text,
    released integer not null default 0 check (released in (0, 1)),
    moved_at real,
    moved_by text check (moved_by in ('http', 'receipt', 'listing', 'operator', 'customer', 'rule', 'run')),
    moved_code text,
    moved_actor text,
    evidence text,
    lookup_matches integer,
    sender text,
    check ((direction = 'inbound') = (kind = 'customer')),
    check ((kind = 'human') = (author is not null)),
    check ((direction = 'inbound') = (status = 'received')),
    check ((kind = 'opening') <= (call_id is not null)),
    check ((status = 'sending') <= in_flight),
    check (in_flight <= (status in ('sending', 'uncertain'))),
    check ((status in ('sent', 'delivered', 'read')) <= (twilio_message_id is not null)),
    check ((status = 'failed') = (reason is not null))
) strict;
create index messages_of_conversation on conversation_messages (conversation_id, direction, accepted_at, call_id);
create index messages_without_call on conversation_messages (accepted_at, direction)
    where call_id is null and accepted_at is not null;
create unique index one_opening_per_call on conversation_messages (call_id) where kind = 'opening';
create unique index one_in_flight on conversation_messages (conversation_id) where in_flight;
create unique index one_answer_per_turn on conversation_messages (turn_id, part)
    where direction = 'outbound' and turn_id is not null;
create index customer_messages_of_turn on conversation_messages (turn_id)
    where direction = 'inbound' and turn_id is not null;
create index queued_openings on conversation_messages (due_at) where status = 'queued' and kind = 'opening';
create index openings_over_limit on conversation_messages (due_at)
    where status = 'queued' and waits_for = 'daily_limit';
create index templates_by_time on conversation_messages (attempted_at) where content_sid is not null;
create index queued_replies on conversation_messages (due_at) where status = 'queued' and kind <> 'opening';
create index queued_in_order on conversation_messages (conversation_id, id) where status = 'queued';
create index uncertain_lookups on conversation_messages (lookup_at) where status = 'uncertain';
create index receipts_to_ask on conversation_messages (poll_at) where poll_at is not null;
create index failures_by_time on conversation_messages (failed_at, reason, error_code) where failed_at is not null;
create index messages_by_quarter on conversation_messages (cast(accepted_at / 900 as integer), direction, accepted_at)
    where accepted_at is not null;
create index openings_of_conversation on conversation_messages (conversation_id, accepted_at, status)
    where kind = 'opening' and accepted_at is not null;

create table journal (
    id integer primary key,
    at real not null,
    event text not null,
    reason text,
    detail text,
    actor text,
    conversation_id integer,
    call_id integer,
    message_id integer,
    turn_id integer,
    from_status text,
    to_status text,
    moved_by text,
    code text,
    facts text
) strict;
create index journal_of_message on journal (message_id) where message_id is not null and event <> 'message';
create index journal_of_turn on journal (turn_id) where turn_id is not null and message_id is null;
create index journal_of_conversation on journal (conversation_id)
    where conversation_id is not null and message_id is null and turn_id is null;

create table receipts (
    id integer primary key,
    sid text not null,
    status text not null,
    error_code text not null default '',
    message_id integer,
    received_at real not null,
    unique (sid, status, error_code)
) strict;

create table opt_outs (
    id integer primary key,
    phone_number text not null,
    opted_out_at real not null,
    returned_at real,
    source text not null
) strict;
create unique index one_opt_out_in_force on opt_outs (phone_number) where returned_at is null;
create index opt_outs_by_time on opt_outs (opted_out_at);

create table strangers (
    id integer primary key,
    twilio_message_id text unique,
    phone_number text not null,
    content text not null,
    received_at real not null
) strict;

create table call_hints (
    elevenlabs_conversation_id text primary key,
    batch_id text not null,
    recipient_id text,
    call text not null,
    told_at real not null,
    due_at real not null,
    tries integer not null default 0
) strict;

create table settled_batches (
    batch_id text primary key,
    mark text not null
) strict;
"""

_LEGAL_MOVE = """
create trigger legal_move before update of status on conversation_messages
when old.status <> new.status and not ({moves})
begin select raise(abort, 'illegal move of a message'); end
"""

_PROOF = """
create trigger no_return_without_proof before update of status on conversation_messages
when new.status = 'queued' and (
    (old.status = 'sending' and new.moved_by is not 'http')
    or (old.status = 'uncertain' and new.moved_by is not 'operator'))
begin select raise(abort, 'a message returns to the queue only with proof'); end
"""

_SENDING = """
create trigger attempt_is_recorded before update of status on conversation_messages
when new.status = 'sending' and old.status <> 'sending' and (
    new.attempted_at is null or new.epoch is null or new.attempts <> old.attempts + 1)
begin select raise(abort, 'a send is recorded before it is made'); end
"""

_MOVED = """
create trigger move_is_stated before update of status on conversation_messages
when old.status <> new.status and (new.moved_by is null or new.moved_at is null)
begin select raise(abort, 'a move states who made it, and when'); end
"""

_MOVE_ENTRY = """
create trigger move_is_journalled after update of status on conversation_messages
when old.status <> new.status
begin
    insert into journal (at, event, reason, detail, actor, conversation_id, call_id, message_id, turn_id, from_status,
        to_status, moved_by, code)
    values (new.moved_at, case when new.moved_by in ('receipt', 'operator') then new.moved_by else 'send' end,
        new.reason, new.evidence, new.moved_actor, new.conversation_id, new.call_id, new.id, new.turn_id, old.status,
        new.status, new.moved_by, new.moved_code);
end
"""

_MESSAGE_ENTRY = """
create trigger message_is_journalled after insert on conversation_messages
begin
    insert into journal (at, event, conversation_id, call_id, message_id, turn_id, to_status)
    values (new.created_at, 'message', new.conversation_id, new.call_id, new.id, new.turn_id, new.status);
end
"""

_NEWEST_ENTRY = """
create trigger newest_entry_stays before delete on journal
when old.id = (select max(id) from journal)
begin select raise(abort, 'the newest entry stays, so that no id is given twice'); end
"""

# What a report asks of every turn stands in the turn: half a million look-ups fewer.
_TOLD = """
create trigger answer_is_timed after update of accepted_at on conversation_messages
when new.turn_id is not null and new.part = 0 and new.direction = 'outbound'
begin update turns set told_at = new.accepted_at where id = new.turn_id; end
"""


def create(database: Database) -> None:
    """Makes the tables, their constraints and the triggers that guard the moves of an outbound message."""
    moves = " or ".join(f"(old.status = '{a}' and new.status = '{b}')" for a, b in MOVES)
    for statement in (_TABLES + HANDOVER_TABLES + CONSOLE_TABLES).split(";"):
        if statement.strip():
            database.execute(statement)
    triggers = (_PROOF, _SENDING, _MOVED, _MOVE_ENTRY, _MESSAGE_ENTRY, _NEWEST_ENTRY, _TOLD)
    for trigger in (_LEGAL_MOVE.format(moves=moves), *triggers, *HANDOVER_TRIGGERS):
        database.execute(trigger)


STEPS: Mapping[int, Callable[[Database], None]] = {}
"""What brings a file from each version to the next: the step under 3 makes version 4."""
