"""Customers' files: what is fetched, what was made of it, and the bytes.

The database refuses a step out of order, a transcript that is written twice (each is paid), and a file that is marked
as stored without its bytes.
"""

from __future__ import annotations

from wa_relay.ledger.dialects import Trigger

MEDIA_TABLES = """
create table media (
    id key,
    message_id link not null unique references conversation_messages (id),
    conversation_id link not null references conversation_state (id),
    purpose text not null check (purpose in ('transcript', 'agent', 'card', 'keep')),
    state text not null default 'idle' check (state in ('idle', 'fetch', 'transcribe', 'ready', 'failed')),
    url text not null,
    content_type text,
    name text,
    arrived_at moment not null,
    due_at moment,
    waits_since moment,
    give_up_at moment,
    holds flag not null default false,
    tries integer not null default 0,
    epoch link,
    stored flag not null default false,
    size integer,
    public_id text unique,
    transcript text,
    seconds amount,
    reason text,
    evidence text,
    check ((state in ('fetch', 'transcribe')) = (due_at is not null)),
    check ((state = 'failed') = (reason is not null)),
    check (holds <= (state in ('fetch', 'transcribe'))),
    check (holds <= (give_up_at is not null)),
    check (stored <= (size is not null)),
    check ((public_id is not null) <= stored),
    check ((transcript is not null) <= (purpose = 'transcript')),
    check ((state = 'ready' and purpose = 'transcript') <= (transcript is not null))
);
create index media_due on media (state, due_at) where due_at is not null;
create index media_holding on media (conversation_id, give_up_at) where holds;
create index media_overdue on media (give_up_at) where due_at is not null;
create index media_stored on media (arrived_at) where stored;
create index media_of_conversation on media (conversation_id);

create table media_chunks (
    media link not null references media (id),
    number integer not null check (number >= 0),
    content bytes not null check (length(content) between 1 and 262144),
    primary key (media, number)
);
"""

STEPS_OF_MEDIA = (
    ("idle", "fetch"),
    ("fetch", "transcribe"),
    ("fetch", "ready"),
    ("fetch", "failed"),
    ("transcribe", "ready"),
    ("transcribe", "failed"),
    ("failed", "ready"),  # a transcript that came after its turn had continued without it
)

_LEGAL_STEP = Trigger(
    "legal_step_of_media",
    "before update of state on media",
    "old.state <> new.state and not ("
    + " or ".join(f"(old.state = '{a}' and new.state = '{b}')" for a, b in STEPS_OF_MEDIA)
    + ")",
    refuses="illegal step of a file",
)
_TRANSCRIBED_ONCE = Trigger(
    "a_transcript_is_written_once",
    "before update of transcript on media",
    "old.transcript is not null and new.transcript is distinct from old.transcript",
    refuses="a recording is transcribed once",
)
_WHOLE = Trigger(
    "a_stored_file_is_whole",
    "before update of stored on media",
    "new.stored and not old.stored",
    provided="new.size <> (select coalesce(sum(length(c.content)), 0) from media_chunks c where c.media = new.id)",
    refuses="a stored file has all of its bytes",
)
MEDIA_TRIGGERS = (_LEGAL_STEP, _TRANSCRIBED_ONCE, _WHOLE)
