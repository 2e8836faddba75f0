"""The tables of alerts: what is posted to the team's own systems, and which agents fail in a row."""

from __future__ import annotations

from wa_relay.ledger.dialects import Trigger

ALERT_TABLES = """
create table alerts (
    id key,
    webhook_id text not null unique,
    type text not null,
    subject text not null,
    conversation_id link,
    data text not null,
    state text not null default 'waiting' check (state in ('waiting', 'acknowledged', 'failed')),
    reason text check (reason in ('unacknowledged', 'restored')),
    created_at moment not null,
    due_at moment,
    tries integer not null default 0,
    finished_at moment,
    evidence text,
    check ((state = 'waiting') = (due_at is not null)),
    check ((state = 'waiting') = (finished_at is null)),
    check ((state = 'failed') = (reason is not null))
);
create index alerts_due on alerts (due_at) where due_at is not null;
create index alerts_of_subject on alerts (type, subject, created_at);
create index alerts_of_conversation on alerts (conversation_id, type, created_at) where conversation_id is not null;
create index alerts_by_end on alerts (finished_at) where finished_at is not null;
create index unanswered_conversations on conversation_state (unanswered_since) where unanswered_since is not null;

create table agent_failures (
    agent_id text primary key,
    in_a_row integer not null
);
"""

_SPACED = Trigger(
    "alerts_of_a_subject_are_spaced",
    "before insert on alerts",
    """exists (select 1 from alerts a
        where a.type = new.type and a.subject = new.subject and a.created_at > new.created_at - 600)""",
    refuses="at most one alert of a type about a subject in 10 minutes",
)
_FINISHED_STAYS = Trigger(
    "finished_alert_stays",
    "before update of state on alerts",
    "old.state <> 'waiting' and new.state <> old.state",
    refuses="an alert that is finished stays so",
)
ALERT_TRIGGERS = (_SPACED, _FINISHED_STAYS)
