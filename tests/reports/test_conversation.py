"""One person's thread, read from a real file beside the writer."""

from __future__ import annotations

from tests.engines import only_sqlite
from tests.story import ANA, LUIS, NOW, Story
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.sqlite import SqliteEngine
from wa_relay.model import SendRefused, Unclear
from wa_relay.moments import stamp
from wa_relay.reports import awaiting_operator, conversation


def test_the_object_has_the_fields_of_the_contract_in_its_order(story: Story, db: Queries) -> None:
    story.call("conv_1", client_name="Ana García", batch_id="b1", batch_name="Octubre", summary="Quiere precios.")
    ((_, sid),) = story.send()
    story.receipt(sid, "read")
    story.now += 60.0
    story.write("Sí me interesa, ¿precio?")
    found = conversation.conversation(db, phone=ANA, limit=100)
    assert found is not None
    shown = found.to_json(story.now)
    assert list(shown) == [
        *("conversation_id", "phone_number", "client_name", "status", "elevenlabs_conversation_id", "agent_id"),
        *("call_summary", "started_at", "last_message_at", "message_count", "addresses", "sender", "handler"),
        *("handler_until", "handler_reason", "handler_by", "waiting", "window_ends_at", "unread", "unanswered_since"),
        *("calls", "messages"),
    ]
    assert shown["conversation_id"] == "conv_local_1"
    assert (shown["client_name"], shown["status"], shown["agent_id"]) == ("Ana García", "active", "agent_1")
    assert (shown["call_summary"], shown["message_count"]) == ("Quiere precios.", 2)
    assert (shown["started_at"], shown["last_message_at"]) == (stamp(NOW), stamp(NOW + 60))
    assert shown["calls"] == [
        {
            "elevenlabs_conversation_id": "conv_1",
            "batch_id": "b1",
            "batch_name": "Octubre",
            "outcome": "completed",
            "group_name": None,
            "ended_at": stamp(NOW),
        }
    ]
    assert shown["messages"][0] == {
        "id": 1,
        "direction": "outbound",
        "kind": "opening",
        "content": "Hola Ana García, gracias por atender.",
        "twilio_message_id": sid,
        "status": "read",
        "error_code": None,
        "reason": None,
        "sent_at": stamp(NOW + 0.5),
        "author": None,
        "attachment": None,
        "reply_to": None,
        "referral": None,
    }
    assert shown["messages"][1]["status"] == "received"
    assert shown["messages"][1]["sent_at"] == stamp(NOW + 60)
    assert list(shown["messages"][1]) == list(shown["messages"][0])


def test_a_message_that_was_not_accepted_has_no_time_and_a_reason(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send(SendRefused("63016", "outside the window", "message"))
    story.call("conv_2", LUIS)
    story.send(Unclear("read timeout"))
    ana, luis = conversation.conversation(db, phone=ANA, limit=9), conversation.conversation(db, phone=LUIS, limit=9)
    assert ana is not None
    assert luis is not None
    message = ana.messages[0].to_json()
    assert (message["status"], message["reason"], message["error_code"]) == ("failed", "refused", "63016")
    assert (message["sent_at"], message["twilio_message_id"]) == (None, None)
    assert (luis.messages[0].status, luis.messages[0].sent_at) == ("uncertain", None)


def test_the_newest_messages_come_oldest_first_and_before_pages_back(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send()
    for number in range(5):
        story.now += 1.0
        story.write(f"mensaje {number}")
    newest = conversation.conversation(db, phone=ANA, limit=2)
    assert newest is not None
    assert [message.content for message in newest.messages] == ["mensaje 3", "mensaje 4"]
    assert newest.overview.message_count == 6
    assert newest.newest == newest.messages[-1].id
    earlier = conversation.conversation(db, phone=ANA, limit=2, before=newest.messages[0].id)
    assert earlier is not None
    assert [message.content for message in earlier.messages] == ["mensaje 1", "mensaje 2"]
    recent = conversation.conversation(db, phone=ANA, limit=100, since=story.now)
    assert recent is not None
    assert [message.content for message in recent.messages] == ["mensaje 4"]


def test_calls_come_newest_first_and_the_thread_points_at_the_latest(story: Story, db: Queries) -> None:
    story.call("conv_late", ended_at=NOW - 10)
    story.call("conv_early", ended_at=NOW - 500)
    found = conversation.conversation(db, phone=ANA, limit=9)
    assert found is not None
    assert [call.key for call in found.calls] == ["conv_late", "conv_early"]
    assert found.overview.call_key == "conv_late"


def test_an_unknown_number_finds_none_and_a_hidden_number_is_found_by_its_user_id(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.write("hola", user_id="CO.1A2b")
    assert conversation.conversation(db, phone=LUIS, limit=9) is None
    found = conversation.conversation(db, phone="CO.1A2b", limit=9)
    assert found is not None
    assert found.phone == ANA


@only_sqlite
def test_no_query_for_one_customer_scans_all_of_them(story: Story, db: Queries) -> None:
    story.call("conv_1")
    asked: list[str] = []
    assert isinstance(db, SqliteEngine)
    db.set_trace_callback(asked.append)
    conversation.conversation(db, phone=ANA, limit=9, before=99, since=NOW - 1)
    conversation.conversation(db, phone="CO.none", limit=9)
    db.set_trace_callback(None)
    queries = [sql for sql in asked if sql.lstrip().startswith("select")]
    assert len(queries) == 7
    for query in queries:
        for step in db.execute(f"explain query plan {query}"):
            assert not step["detail"].startswith("SCAN"), (query, step["detail"])


def test_what_needs_a_decision_is_listed_with_its_age(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send(Unclear("read timeout"))
    (row,) = awaiting_operator.uncertain(db, NOW + 90.0)
    assert row.to_json() == {
        "id": 1,
        "phone_number": ANA,
        "kind": "opening",
        "content": "Hola, gracias por atender.",
        "attempted_at": stamp(NOW),
        "age_seconds": 90.0,
        "evidence": "read timeout",
    }
    assert awaiting_operator.standing(db).uncertain == 1
