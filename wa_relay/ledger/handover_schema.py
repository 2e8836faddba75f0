"""Database rules for handovers: the agent neither writes nor is asked while a person has the conversation.

`conversation_state` says who has each conversation. A takeover has to end what the agent has begun in the same
transaction, and each change of the handler is journalled by the database itself.
"""

from __future__ import annotations

from wa_relay.ledger.dialects import Trigger

HANDOVER_TABLES = """
create index handovers_by_end on conversation_state (handler_until) where handler_until is not null;
create index handed_over on conversation_state (handler, id) where handler <> 'agent' or waiting_since is not null;

create table idempotency_keys (
    conversation_id link not null,
    key text not null,
    body text not null,
    message_id link not null,
    used_at moment not null,
    primary key (conversation_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (used_at);
"""

_TAKEN = "exists (select 1 from conversation_state s where s.id = new.conversation_id and s.handler <> 'agent')"
SILENT_AGENT = """
    exists (select 1 from conversation_state s
        where s.id = new.conversation_id and s.handler = 'human'
            and (new.kind = 'opening' or s.handler_by is not null or s.handler_reason <> 'tool'))"""
"""True while the agent must not write. What it writes in the turn in which it requested a person still goes out."""

_NO_SEND = Trigger(
    "silent_agent_sends_nothing",
    "before update of status on conversation_messages",
    "new.status = 'sending' and old.status <> 'sending' and new.kind in ('opening', 'reply')",
    provided=SILENT_AGENT,
    refuses="a person has the conversation: the agent sends nothing",
)
_NO_REPLY = Trigger(
    "silent_agent_writes_nothing",
    "before insert on conversation_messages",
    "new.kind in ('opening', 'reply')",
    provided=SILENT_AGENT,
    refuses="a person has the conversation: the agent writes nothing",
)
_NOT_OPENED = Trigger(
    "silent_agent_gets_no_turn",
    "before insert on turns",
    "new.state in ('open', 'asking')",
    provided=_TAKEN,
    refuses="the agent does not have the conversation: no turn is opened",
)
_NOT_ASKED = Trigger(
    "silent_agent_is_not_asked",
    "before update of state on turns",
    "new.state in ('open', 'asking') and old.state <> new.state",
    provided=_TAKEN,
    refuses="the agent does not have the conversation: no turn is asked",
)
_ENDS_ALL = Trigger(
    "takeover_ends_what_was_begun",
    "before update of handler, handler_by on conversation_state",
    "new.handler = 'human' and (new.handler_by is not null or new.handler_reason <> 'tool')",
    provided="""exists (select 1 from turns t
        where t.conversation_id = new.id and (t.state = 'open' or t.state = 'asking'))
    or exists (select 1 from conversation_messages m
        where m.conversation_id = new.id and m.status = 'queued' and m.kind in ('opening', 'reply'))""",
    refuses="a takeover ends what the agent has begun",
)
_STATED = Trigger(
    "handover_is_stated",
    "before update of handler, handler_by, waiting_since on conversation_state",
    """(old.handler <> new.handler or old.handler_by is distinct from new.handler_by
    or old.waiting_since is distinct from new.waiting_since)
    and (new.handed_at is null or new.handed_code is null)""",
    refuses="a handover states when and why",
)
_ENTRY = Trigger(
    "handover_is_journalled",
    "after update of handler, handler_by, waiting_since on conversation_state",
    """old.handler <> new.handler or old.handler_by is distinct from new.handler_by
    or old.waiting_since is distinct from new.waiting_since""",
    does="""
    insert into journal (at, event, reason, detail, actor, conversation_id, from_status, to_status)
    values (new.handed_at, case when new.handler = 'muted' then 'mute' else 'handover' end, new.handed_code,
        new.handed_evidence, new.handed_actor, new.id, old.handler, new.handler);""",
)
HANDOVER_TRIGGERS = (_NO_SEND, _NO_REPLY, _NOT_OPENED, _NOT_ASKED, _ENDS_ALL, _STATED, _ENTRY)
