"""The shape of the database: one schema, and the numbered steps that bring an older database to it.

It is written once for both engines, with the type names of `dialects`. The database itself refuses what must never
happen: a second opening for a call, two messages in flight to one customer, two answers to a turn, a return to the
queue without proof that nothing was sent (`triggers`). Columns of `conversation_state` and
`conversation_messages` that other programs read hold RFC 3339 text in UTC; every other moment is seconds since the
epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from wa_relay.ledger.alerts_schema import ALERT_TABLES, ALERT_TRIGGERS
from wa_relay.ledger.console_schema import CONSOLE_TABLES
from wa_relay.ledger.dialects import statements, trigger_statements
from wa_relay.ledger.engine import EngineName
from wa_relay.ledger.handover_schema import HANDOVER_TABLES, HANDOVER_TRIGGERS
from wa_relay.ledger.media_schema import MEDIA_TABLES, MEDIA_TRIGGERS
from wa_relay.ledger.privacy_schema import PRIVACY_TABLES
from wa_relay.ledger.search_schema import SEARCH_INDEX, SEARCH_TABLES, search_triggers
from wa_relay.ledger.triggers import TRIGGERS

TABLES = """
create table relay (
    id key check (id = 1),
    fence moment not null,
    epoch link not null default 0,
    account_sid text,
    started_at moment not null default 0,
    watching flag not null default false,
    openings_begun integer not null default 0,
    watch_epoch link not null default 0,
    leader link,
    moved_to text,
    last_push_at moment,
    swept_to moment,
    consent_from moment,
    clean_stop flag not null default true,
    probed_at moment,
    post_call_at moment
);

create table runs (
    id key,
    host text not null default '',
    pid integer not null default 0,
    version text not null default '',
    settings text not null default '{}',
    started_at moment not null,
    seen_at moment not null,
    lease_until moment not null,
    ended_at moment,
    marker link not null default 0
);

create table holds (
    id key,
    subject text not null check (subject in ('operator', 'burst', 'account', 'sender', 'limited', 'template')),
    name text not null default '',
    code text,
    meaning text,
    since moment not null,
    last_at moment not null,
    probes integer not null default 0,
    probe_at moment,
    unique (subject, name)
);

create table conversation_state (
    id lasting,
    phone_number text not null unique,
    client_name text,
    elevenlabs_conversation_id text not null,
    agent_id text not null,
    status text not null default 'active' check (status in ('active', 'opted_out')),
    call_summary text,
    started_at text not null,
    last_message_at text not null,
    message_count integer not null default 0,
    call_id link references calls (id),
    user_id text,
    reply_to text,
    created_at moment not null,
    window_ends_at moment,
    fallback_sent flag not null default false,
    text_only_sent flag not null default false,
    bucket amount not null default 10,
    bucket_at moment not null default 0,
    unanswered_turn_id link,
    sender text,
    handler text not null default 'agent' check (handler in ('agent', 'human', 'muted')),
    handler_until moment,
    handler_reason text check (handler_reason in
        ('console', 'api', 'cli', 'keyword', 'tool', 'failure', 'repeats_itself', 'too_many_turns')),
    handler_by text,
    waiting_since moment,
    unread integer not null default 0 check (unread >= 0),
    unanswered_since moment,
    handed_at moment,
    handed_code text,
    handed_actor text,
    handed_evidence text,
    merging flag not null default false,
    erased_at moment,
    check ((handler = 'agent') = (handler_reason is null)),
    check ((handler = 'agent') = (handler_until is null)),
    check (handler_by is null or handler = 'human'),
    check (unanswered_since is null or handler = 'human')
);

create table merges (
    id key,
    younger_id link not null,
    older_id link not null,
    noted_at moment not null,
    unique (younger_id, older_id),
    check (older_id < younger_id)
);

create table merged (
    younger_id link primary key,
    older_id link not null,
    check (older_id < younger_id)
);

create table addresses (
    address text primary key,
    kind text not null check (kind in ('phone', 'bsuid')),
    conversation_id link not null references conversation_state (id),
    known_since moment not null,
    writes_since moment,
    check ((kind = 'phone') = (address like '+%'))
);
create index addresses_of_conversation on addresses (conversation_id);

create table calls (
    id key,
    elevenlabs_conversation_id text not null unique,
    conversation_id link not null references conversation_state (id),
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
    ended_at moment,
    recorded_at moment not null,
    variables text not null default '{}',
    summary text,
    transcript text,
    raw text,
    seconds moment,
    collected text,
    decide_by moment,
    skipped text check (skipped in
        ('outcome_not_followed', 'opted_out', 'too_old', 'recent_opening', 'too_short', 'condition', 'handed_over')),
    details_at moment,
    details_tries integer not null default 0,
    lacks_details flag not null default false,
    check (decide_by is null or skipped is null),
    check (details_at is null or lacks_details)
);
create index calls_of_conversation on calls (conversation_id, ended_at);
create index calls_by_end on calls (ended_at, conversation_id, skipped);
create index calls_undecided on calls (decide_by) where decide_by is not null;
create index calls_without_details on calls (details_at) where details_at is not null;

create table turns (
    id key,
    conversation_id link not null references conversation_state (id),
    call_id link references calls (id),
    state text not null check (state in
        ('open', 'held', 'asking', 'answered', 'silent', 'failed', 'cancelled', 'noticed')),
    first_at moment not null,
    last_at moment not null,
    due_at moment not null,
    tries integer not null default 0,
    tools_ran flag not null default false,
    put_offs integer not null default 0,
    put_off_at moment,
    asked_again integer not null default 0,
    epoch link,
    begun_at moment,
    finished_at moment,
    replied_at moment,
    session_id text,
    error text
);
create unique index one_turn_asking on turns (conversation_id) where state = 'asking';
create unique index one_turn_open on turns (conversation_id) where state = 'open';
create unique index one_turn_held on turns (conversation_id) where state = 'held';
create index turns_due on turns (due_at) where state = 'open';
create index turns_by_end on turns (finished_at, state, call_id, last_at, replied_at) where finished_at is not null;

create table conversation_messages (
    id key,
    conversation_id link not null references conversation_state (id),
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
    call_id link references calls (id),
    turn_id link references turns (id),
    part integer not null default 0,
    notice text check (notice in ('fallback', 'opt_out', 'text_only', 'handover', 'reopen')),
    author text,
    attachment text check (attachment in
        ('audio', 'image', 'video', 'document', 'sticker', 'contact', 'location', 'reaction', 'other')),
    latitude amount,
    longitude amount,
    reply_to link,
    tapped flag not null default false,
    referral text,
    created_at moment not null,
    due_at moment,
    waits_for text,
    not_after moment,
    sends integer not null default 0,
    attempted_at moment,
    epoch link,
    in_flight flag not null default false,
    lookups integer not null default 0,
    lookup_at moment,
    polls integer not null default 0,
    poll_at moment,
    accepted_at moment,
    delivered_at moment,
    read_at moment,
    failed_at moment,
    receipt text,
    to_address text,
    content_sid text,
    content_variables text,
    released flag not null default false,
    moved_at moment,
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
);
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
create index messages_behind_template on conversation_messages (id)
    where status = 'queued' and waits_for = 'template';
create index templates_by_time on conversation_messages (attempted_at) where content_sid is not null;
create index queued_replies on conversation_messages (due_at) where status = 'queued' and kind <> 'opening';
create index queued_in_order on conversation_messages (conversation_id, id) where status = 'queued';
create index uncertain_lookups on conversation_messages (lookup_at) where status = 'uncertain';
create index receipts_to_ask on conversation_messages (poll_at) where poll_at is not null;
create index failures_by_time on conversation_messages (failed_at, reason, error_code) where failed_at is not null;
create index messages_by_quarter on conversation_messages (floor(accepted_at / 900), direction, accepted_at)
    where accepted_at is not null;
create index openings_of_conversation on conversation_messages (conversation_id, kind, accepted_at, status)
    where kind = 'opening' and accepted_at is not null;
create index openings_by_call on conversation_messages (call_id, kind, status, reason, error_code, accepted_at,
    delivered_at, read_at) where kind = 'opening' and call_id is not null;

create table journal (
    id key,
    at moment not null,
    event text not null,
    reason text,
    detail text,
    actor text,
    conversation_id link,
    call_id link,
    message_id link,
    turn_id link,
    from_status text,
    to_status text,
    moved_by text,
    code text,
    facts text
);
create index journal_of_message on journal (message_id) where message_id is not null and event <> 'message';
create index journal_of_turn on journal (turn_id) where turn_id is not null and message_id is null;
create index journal_of_conversation on journal (conversation_id)
    where conversation_id is not null and message_id is null and turn_id is null;

create table receipts (
    id key,
    sid text not null,
    status text not null,
    error_code text not null default '',
    message_id link,
    received_at moment not null,
    unique (sid, status, error_code)
);

create table opt_outs (
    id key,
    phone_number text not null,
    opted_out_at moment not null,
    returned_at moment,
    source text not null
);
create unique index one_opt_out_in_force on opt_outs (phone_number) where returned_at is null;
create index opt_outs_by_time on opt_outs (opted_out_at);

create table strangers (
    id key,
    twilio_message_id text unique,
    phone_number text not null,
    content text not null,
    received_at moment not null
);

create table call_hints (
    elevenlabs_conversation_id text primary key,
    batch_id text not null,
    recipient_id text,
    call text not null,
    reported_at moment not null,
    due_at moment not null,
    tries integer not null default 0
);

create table settled_batches (
    batch_id text primary key,
    mark text not null
);
"""


EVERY_TABLE = (
    TABLES,
    HANDOVER_TABLES,
    CONSOLE_TABLES,
    PRIVACY_TABLES,
    ALERT_TABLES,
    MEDIA_TABLES,
    SEARCH_TABLES,
)


class Runner(Protocol):
    """Runs statements: sqlite-utils' database, or an engine."""

    def execute(self, sql: str, /) -> object:
        """Runs one statement."""
        ...


def create(database: Runner, engine: EngineName = "sqlite") -> None:
    """Makes the tables, their constraints and the triggers that guard the moves of an outbound message."""
    apply(database, "".join(EVERY_TABLE), engine)
    create_rest(database, engine)


def create_rest(database: Runner, engine: EngineName) -> None:
    """Makes everything but the tables: the full-text index and every trigger."""
    for statement in SEARCH_INDEX[engine]:
        database.execute(statement)
    for trigger in (*TRIGGERS, *HANDOVER_TRIGGERS, *ALERT_TRIGGERS, *MEDIA_TRIGGERS, *search_triggers(engine)):
        for statement in trigger_statements(trigger, engine):
            database.execute(statement)


def apply(database: Runner, text: str, engine: EngineName = "sqlite") -> None:
    """Runs a portable text of statements."""
    for statement in statements(text, engine):
        database.execute(statement)


STEPS: Mapping[int, str] = {}
"""The migrations, as portable text: the step under 3 makes version 4."""
