"""The shape of the database file, as migrations.

What must never happen is refused here, by the file itself: a second opening for a call, two
messages in flight to one person, two answers to a turn, a way back into the queue without
evidence that nothing was sent. Columns of `conversation_state` and `conversation_messages` that
other programs read hold RFC 3339 text in UTC; every other moment is REAL seconds since the epoch.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("wa_relay")

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
    paused_operator integer not null default 0 check (paused_operator in (0, 1)),
    paused_burst integer not null default 0 check (paused_burst in (0, 1)),
    account_fault text,
    account_failures integer not null default 0,
    account_held_at real,
    account_probe_at real,
    last_push_at real,
    swept_to real,
    clean_stop integer not null default 1 check (clean_stop in (0, 1)),
    probed_at real
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
    created_at real not null,
    window_ends_at real,
    fallback_told integer not null default 0 check (fallback_told in (0, 1)),
    bucket real not null default 10,
    bucket_at real not null default 0
) strict;
create index conversation_by_user on conversation_state (user_id) where user_id is not null;

create table calls (
    id integer primary key,
    elevenlabs_conversation_id text not null unique,
    conversation_id integer not null references conversation_state (id),
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
    skipped text check (skipped in ('outcome_not_followed', 'opted_out', 'too_old', 'recent_opening')),
    details_at real,
    details_tries integer not null default 0
) strict;
create index calls_of_conversation on calls (conversation_id, ended_at);
create index calls_by_end on calls (ended_at, conversation_id, skipped);
create index calls_without_details on calls (details_at) where details_at is not null;

create table turns (
    id integer primary key,
    conversation_id integer not null references conversation_state (id),
    call_id integer references calls (id),
    state text not null check (state in
        ('open', 'asking', 'answered', 'silent', 'failed', 'cancelled', 'noticed')),
    first_at real not null,
    last_at real not null,
    due_at real not null,
    tries integer not null default 0,
    tools_ran integer not null default 0 check (tools_ran in (0, 1)),
    put_offs integer not null default 0,
    put_off_at real,
    begun_at real,
    finished_at real,
    told_at real,
    session_id text,
    error text
) strict;
create unique index one_turn_asking on turns (conversation_id) where state = 'asking';
create unique index one_turn_open on turns (conversation_id) where state = 'open';
create index turns_due on turns (due_at) where state = 'open';
create index turns_of_conversation on turns (conversation_id, id);
create index turns_by_end on turns (finished_at, state, call_id, last_at, told_at) where finished_at is not null;

create table conversation_messages (
    id integer primary key,
    conversation_id integer not null references conversation_state (id),
    direction text not null check (direction in ('inbound', 'outbound')),
    content text not null,
    twilio_message_id text unique,
    sent_at text,
    kind text not null check (kind in ('opening', 'reply', 'customer', 'notice')),
    status text not null check (status in
        ('received', 'queued', 'sending', 'sent', 'delivered', 'read', 'failed', 'uncertain')),
    reason text,
    error_code text,
    error_message text,
    call_id integer references calls (id),
    turn_id integer references turns (id),
    part integer not null default 0,
    notice text check (notice in ('fallback', 'opt_out', 'text_only')),
    attachment text,
    created_at real not null,
    due_at real,
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
    content_sid text,
    content_variables text,
    released integer not null default 0 check (released in (0, 1)),
    evidence text,
    moved_at real,
    check ((direction = 'inbound') = (kind = 'customer')),
    check ((direction = 'inbound') = (status = 'received')),
    check ((kind = 'opening') <= (call_id is not null)),
    check ((status = 'sending') <= in_flight),
    check (in_flight <= (status in ('sending', 'uncertain'))),
    check ((status in ('sent', 'delivered', 'read')) <= (twilio_message_id is not null)),
    check ((status = 'failed') = (reason is not null))
) strict;
create index messages_of_conversation on conversation_messages (conversation_id, id);
create unique index one_opening_per_call on conversation_messages (call_id) where kind = 'opening';
create unique index one_in_flight on conversation_messages (conversation_id) where in_flight = 1;
create unique index one_answer_per_turn on conversation_messages (turn_id, part)
    where direction = 'outbound' and turn_id is not null;
create index customer_messages_of_turn on conversation_messages (turn_id)
    where direction = 'inbound' and turn_id is not null;
create index queued_openings on conversation_messages (due_at) where status = 'queued' and kind = 'opening';
create index queued_replies on conversation_messages (due_at) where status = 'queued' and kind <> 'opening';
create index queued_in_order on conversation_messages (conversation_id, id) where status = 'queued';
create index uncertain_lookups on conversation_messages (lookup_at) where status = 'uncertain';
create index receipts_to_ask on conversation_messages (poll_at) where poll_at is not null;
create index failures_by_time on conversation_messages (failed_at) where failed_at is not null;
create index messages_by_call on conversation_messages (call_id, direction, accepted_at) where accepted_at is not null;
create index messages_by_quarter on conversation_messages (cast(accepted_at / 900 as integer), direction, accepted_at)
    where accepted_at is not null;
create index arrivals_of_conversation on conversation_messages (conversation_id, accepted_at)
    where direction = 'inbound';
create index openings_of_conversation on conversation_messages (conversation_id, accepted_at, status)
    where kind = 'opening' and accepted_at is not null;

create table message_moves (
    id integer primary key,
    message_id integer not null references conversation_messages (id),
    moved_at real,
    from_status text not null,
    to_status text not null,
    evidence text
) strict;
create index moves_of_message on message_moves (message_id);

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

_EVIDENCE = """
create trigger no_return_without_evidence before update of status on conversation_messages
when new.status = 'queued' and (
    (old.status = 'sending' and coalesce(new.evidence, '') not like 'not sent: %')
    or (old.status = 'uncertain' and coalesce(new.evidence, '') not like 'person: %'))
begin select raise(abort, 'a message returns to the queue only with evidence'); end
"""

_SENDING = """
create trigger attempt_is_recorded before update of status on conversation_messages
when new.status = 'sending' and old.status <> 'sending' and (
    new.attempted_at is null or new.epoch is null or new.attempts <> old.attempts + 1)
begin select raise(abort, 'a send is recorded before it is made'); end
"""

_MOVE_LOG = """
create trigger move_is_logged after update of status on conversation_messages
when old.status <> new.status
begin
    insert into message_moves (message_id, moved_at, from_status, to_status, evidence)
    values (new.id, new.moved_at, old.status, new.status, new.evidence);
end
"""

# What a report asks of every turn stands in the turn: half a million look-ups fewer.
_TOLD = """
create trigger answer_is_timed after update of accepted_at on conversation_messages
when new.turn_id is not null and new.part = 0 and new.direction = 'outbound'
begin update turns set told_at = new.accepted_at where id = new.turn_id; end
"""


@migrations()
def m001_relay(db: Database) -> None:
    """Makes the tables, their constraints and the triggers that guard an outbound message's moves."""
    moves = " or ".join(f"(old.status = '{a}' and new.status = '{b}')" for a, b in MOVES)
    for statement in _TABLES.split(";"):
        if statement.strip():
            db.execute(statement)
    for trigger in (_LEGAL_MOVE.format(moves=moves), _EVIDENCE, _SENDING, _MOVE_LOG, _TOLD):
        db.execute(trigger)


# An inbound message is a message of somebody chosen at random: each index that lies in the order of people
# costs it a page that nobody has touched lately, to read, to log and to write back. One of them is left here.
_FEWER_PAGES = """
drop index messages_of_conversation;
drop index arrivals_of_conversation;
drop index messages_by_call;
drop index turns_of_conversation;
create index messages_of_conversation on conversation_messages (conversation_id, direction, accepted_at, call_id);
create index messages_without_call on conversation_messages (accepted_at, direction)
    where call_id is null and accepted_at is not null;
alter table conversation_state add column unanswered_turn_id integer;
update conversation_state set unanswered_turn_id = last.id
    from (select conversation_id, max(id) as id, state from turns group by conversation_id) as last
    where last.conversation_id = conversation_state.id and last.state = 'failed';
"""


@migrations()
def m002_fewer_pages(db: Database) -> None:
    """Leaves one index in the order of people, and keeps the turn that a next one takes over with its person."""
    for statement in _FEWER_PAGES.split(";"):
        if statement.strip():
            db.execute(statement)
