"""The reply-finding logic, against every shape in which a session may answer."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from wa_relay.agent.ask import Ask
from wa_relay.agent.greeting import NONE, UNKNOWN, Greeting, greeting_of
from wa_relay.agent.session_end import Answered, ChoseSilence, Failed, NoAnswer, SessionEnd
from wa_relay.agent.turn import (
    ERROR_SECONDS,
    GREETING_SECONDS,
    METADATA_SECONDS,
    SEEN_WORK_SECONDS,
    UNANNOUNCED_END,
    UNSEEN_WORK,
    Turn,
)

SETTLE = 2.0
DEADLINE = 45.0
HELLO = greeting_of("Hola {{client_name}}, soy Laura.", {"client_name": "Ana"})

Event = Mapping[str, object]


def metadata() -> Event:
    body = {"conversation_id": "conv_text", "agent_output_audio_format": "pcm_16000"}
    return {"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": body}


def response(text: str, event_id: int | None = 2) -> Event:
    return {"type": "agent_response", "agent_response_event": {"agent_response": text, "event_id": event_id}}


def part(kind: str, text: str = "", event_id: int = 2) -> Event:
    body = {"type": kind, "text": text, "event_id": event_id}
    return {"type": "agent_chat_response_part", "text_response_part": body}


def complete(event_id: int | None = 2) -> Event:
    return {"type": "agent_response_complete", "agent_response_complete_event": {"event_id": event_id}}


def correction(original: str, corrected: str, event_id: int = 2) -> Event:
    body = {"original_agent_response": original, "corrected_agent_response": corrected, "event_id": event_id}
    return {"type": "agent_response_correction", "agent_response_correction_event": body}


def ping(event_id: int) -> Event:
    return {"type": "ping", "ping_event": {"event_id": event_id, "ping_ms": None}}


def client_tool(call_id: str = "t1", **more: object) -> Event:
    body = {"tool_name": "cotizar", "tool_call_id": call_id, "parameters": {}, "event_id": 3, **more}
    return {"type": "client_tool_call", "client_tool_call": body}


def tool_request(call_id: str = "t1", tool_type: str = "webhook", name: str = "precio") -> Event:
    body = {"tool_name": name, "tool_call_id": call_id, "tool_type": tool_type, "event_id": 3}
    return {"type": "agent_tool_request", "agent_tool_request": body}


def tool_response(call_id: str = "t1", tool_type: str = "webhook", name: str = "precio") -> Event:
    body = {"tool_name": name, "tool_call_id": call_id, "tool_type": tool_type, "is_error": False, "event_id": 3}
    return {"type": "agent_tool_response", "agent_tool_response": body}


def mcp(state: str) -> Event:
    return {"type": "mcp_tool_call", "mcp_tool_call": {"tool_call_id": "m1", "tool_name": "crm", "state": state}}


def error(error_type: str, reason: str = "", code: int = 1008) -> Event:
    return {"type": "error", "error_event": {"code": code, "error_type": error_type, "reason": reason}}


def queue(status: str) -> Event:
    return {"type": "queue_status", "queue_status_event": {"status": status}}


class Play:
    """A turn with a clock that the test sets: notes the sent frames and the time of the end."""

    def __init__(
        self, *, greeting: Greeting = NONE, announces_end: bool = False, text_only: bool = False, asked: bool = True
    ) -> None:
        self.now = 0.0
        self.sent: list[dict[str, object]] = []
        ask = Ask(
            text="¿precio?",
            settle=SETTLE,
            deadline=DEADLINE,
            context="contexto",
            variables={"client_name": "Ana"},
            greeting=greeting,
            announces_end=announces_end,
            text_only=text_only,
        )
        self.turn = Turn(ask)
        self._note(self.turn.opened(0.0))
        if asked:
            self.hear(metadata())

    def _note(self, frames: list[str]) -> None:
        self.sent += [json.loads(frame) for frame in frames]

    def hear(self, *events: Event | str) -> Play:
        for event in events:
            self._note(self.turn.received(event, self.now))
        return self

    def wait(self, seconds: float) -> Play:
        """Lets time pass as the session does: a tick at each `wake_at`."""
        until = self.now + seconds
        for _ in range(100):
            if self.turn.end is not None or self.turn.wake_at > until:
                break
            self.now = max(self.now, self.turn.wake_at)
            self._note(self.turn.tick(self.now))
        else:
            pytest.fail("wake_at does not move on")
        if self.turn.end is None:
            self.now = until
        return self

    def close(self, code: int | None, reason: str = "") -> Play:
        self.turn.closed(code, reason)
        return self

    def kinds(self) -> list[object]:
        return [frame["type"] for frame in self.sent]

    @property
    def end(self) -> SessionEnd | None:
        return self.turn.end

    @property
    def answer(self) -> str:
        assert isinstance(self.end, Answered), self.end
        return self.end.text


# --- the shapes of an answer: what is heard after the question, and the answer after it settled ---

STREAM = (part("start"), part("delta", "El plan "), part("delta", "cuesta $99"), part("stop"))
PLAN = response("El plan cuesta $99")

SHAPES: dict[str, tuple[list[Event | str], str]] = {
    "a whole reply without parts": ([PLAN], "El plan cuesta $99"),
    "parts, the whole before their stop": ([*STREAM[:3], PLAN, STREAM[3]], "El plan cuesta $99"),
    "the whole before its parts": ([PLAN, *STREAM], "El plan cuesta $99"),
    "the whole after its parts": ([*STREAM, PLAN], "El plan cuesta $99"),
    "parts only": ([*STREAM], "El plan cuesta $99"),
    "parts only, the start got lost": ([*STREAM[1:]], "El plan cuesta $99"),
    "the text of the start and the stop part counts for nothing": ([*STREAM, part("stop")], "El plan cuesta $99"),
    "the whole twice": ([PLAN, PLAN], "El plan cuesta $99"),
    "the whole with other blanks than the parts": (
        [part("start"), part("delta", "El plan\ncuesta $99"), part("stop"), PLAN],
        "El plan cuesta $99",
    ),
    "a reply that grows under one id": ([response("El plan"), PLAN], "El plan cuesta $99"),
    "a reply repeated, but shorter": ([PLAN, response("El plan")], "El plan cuesta $99"),
    "a stream that begins before the last one stopped": (
        [part("start"), part("delta", "Uno"), part("start"), part("delta", "Dos"), part("stop")],
        "Uno\n\nDos",
    ),
    "a correction of the first of two under one id": (
        [response("Un momento, ya"), response("$99"), correction("Un momento, ya", "Un momento")],
        "Un momento\n\n$99",
    ),
    "a reply without an id": ([response("El plan cuesta $99", None)], "El plan cuesta $99"),
    "two replies around a tool, next id": (
        [response("Un momento…", 2), response("Cuesta $99", 3)],
        "Un momento…\n\nCuesta $99",
    ),
    "two replies around a tool, same id": (
        [response("Un momento…", 2), tool_request(), tool_response(), response("Cuesta $99", 2)],
        "Un momento…\n\nCuesta $99",
    ),
    "two streams around a tool, same id, both whole": (
        [
            part("start"),
            part("delta", "Un momento…"),
            response("Un momento…"),
            part("stop"),
            part("start"),
            part("delta", "Cuesta $99"),
            response("Cuesta $99"),
            part("stop"),
        ],
        "Un momento…\n\nCuesta $99",
    ),
    "two streams around a tool, same id, parts only": (
        [part("start"), part("delta", "Uno"), part("stop"), part("start"), part("delta", "Dos"), part("stop")],
        "Uno\n\nDos",
    ),
    "one whole that holds two streams": (
        [
            part("start"),
            part("delta", "Uno."),
            part("stop"),
            part("start"),
            part("delta", "Dos."),
            part("stop"),
            response("Uno. Dos."),
        ],
        "Uno. Dos.",
    ),
    "the same words twice under two ids": (
        [response("Un momento…", 2), response("Un momento…", 3), response("$99", 4)],
        "Un momento…\n\n$99",
    ),
    "an empty reply, then words": ([response("", 2), response("Cuesta $99", 3)], "Cuesta $99"),
    "an empty stream, then words": ([part("start"), part("stop"), response("Cuesta $99", 3)], "Cuesta $99"),
    "a correction": ([PLAN, correction("El plan cuesta $99", "El plan")], "El plan"),
    "a correction before its reply": ([correction("El plan cuesta $99", "El plan"), PLAN], "El plan"),
    "a correction of the first of two": (
        [response("Un momento, ya", 2), response("$99", 3), correction("Un momento, ya", "Un momento", 2)],
        "Un momento\n\n$99",
    ),
    "types nobody knows, and noise": (
        [
            {"type": "vad_score", "vad_score_event": {"vad_score": 1}},
            {"type": "brand_new"},
            {"no": "type"},
            {"type": 7},
            {"type": "agent_response"},
            {"type": "agent_response", "agent_response_event": "text"},
            {"type": "agent_response", "agent_response_event": {"agent_response": None}},
            {"type": "agent_chat_response_part", "text_response_part": []},
            "{not json",
            "[1]",
            "null",
            "[" * 100_000,
            PLAN,
            {"type": "interruption", "interruption_event": {"event_id": 2}},
            {"type": "context_usage", "context_usage_event": {}},
        ],
        "El plan cuesta $99",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_an_answer_is_found_after_it_settled(shape: str) -> None:
    """Each order of parts, wholes and tools gives the same text."""
    events, text = SHAPES[shape]
    play = Play().hear(*events)
    assert play.end is None
    play.wait(SETTLE * UNSEEN_WORK)
    assert play.answer == text


@pytest.mark.parametrize("shape", [name for name in SHAPES if "without an id" not in name])
def test_every_shape_ends_at_once_with_its_complete_event(shape: str) -> None:
    """An announced end needs no quiet."""
    events, text = SHAPES[shape]
    play = Play(announces_end=True).hear(*events)
    assert play.end is None
    play.hear(complete(9))
    assert play.answer == text
    assert play.now == 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_a_normal_close_returns_the_text_so_far(shape: str) -> None:
    """The agent may end the session itself, after any shape of an answer."""
    events, text = SHAPES[shape]
    assert Play().hear(*events).close(1000).answer == text


# --- the opening of a session ---


def test_the_question_follows_the_metadata() -> None:
    """Initiation first; context and question only once the session stands."""
    play = Play(asked=False)
    assert play.kinds() == ["conversation_initiation_client_data"]
    play.hear(metadata())
    assert play.kinds()[1:] == ["contextual_update", "user_message"]
    assert play.sent[0] == {"type": "conversation_initiation_client_data", "dynamic_variables": {"client_name": "Ana"}}
    assert play.sent[2]["text"] == "¿precio?"
    assert play.turn.session_id == "conv_text"


def test_only_the_text_only_override_is_ever_sent() -> None:
    """Any other override ends the session of an agent that does not allow it."""
    override = Play(text_only=True).sent[0]["conversation_config_override"]
    assert override == {"conversation": {"text_only": True}}


def test_metadata_twice_puts_the_question_once() -> None:
    """A repeated event repeats nothing of ours."""
    assert Play().hear(metadata()).kinds().count("user_message") == 1


def test_an_agent_that_sends_no_metadata_is_asked_after_a_while() -> None:
    """The list of an agent's events may leave the metadata out."""
    play = Play(asked=False).wait(METADATA_SECONDS)
    assert "user_message" in play.kinds()


@pytest.mark.parametrize("greeting", [HELLO, UNKNOWN])
def test_a_greeting_is_waited_for_and_discarded(greeting: Greeting) -> None:
    """Text before the question is never the answer."""
    play = Play(greeting=greeting)
    assert "user_message" not in play.kinds()
    play.hear(response("Hola Ana, soy Laura.", 1))
    assert play.kinds()[-2:] == ["contextual_update", "user_message"]
    assert play.hear(PLAN).wait(SETTLE).answer == "El plan cuesta $99"


@pytest.mark.parametrize("greeting", [HELLO, UNKNOWN])
def test_a_greeting_that_does_not_come_holds_the_question_back_for_three_seconds(greeting: Greeting) -> None:
    """The wait is bounded."""
    play = Play(greeting=greeting).wait(GREETING_SECONDS - 0.01)
    assert "user_message" not in play.kinds()
    play.wait(0.02)
    assert play.kinds().count("user_message") == 1


GREETING_SHAPES: dict[str, list[Event]] = {
    "whole": [response("Hola Ana, soy Laura.", 1)],
    "whole, then its parts": [
        response("Hola Ana, soy Laura.", 1),
        part("start", "", 1),
        part("delta", "Hola Ana, soy Laura.", 1),
        part("stop", "", 1),
    ],
    "parts, then whole": [
        part("start", "", 1),
        part("delta", "Hola Ana, ", 1),
        part("delta", "soy Laura.", 1),
        part("stop", "", 1),
        response("Hola Ana, soy Laura.", 1),
    ],
    "parts, the whole before their stop": [
        part("start", "", 1),
        part("delta", "Hola Ana, soy", 1),
        response("Hola Ana, soy Laura.", 1),
        part("stop", "", 1),
    ],
    "parts only": [part("start", "", 1), part("delta", "Hola Ana, soy Laura.", 1), part("stop", "", 1)],
    "with its own end": [response("Hola Ana, soy Laura.", 1), complete(1)],
    "twice": [response("Hola Ana, soy Laura.", 1), response("Hola Ana, soy Laura.", 1)],
}


@pytest.mark.parametrize("shape", GREETING_SHAPES)
@pytest.mark.parametrize("greeting", [HELLO, UNKNOWN])
def test_no_shape_of_a_greeting_is_taken_for_the_answer(shape: str, greeting: Greeting) -> None:
    """Also what trails in after the question was put, and the greeting's own end."""
    play = Play(greeting=greeting, announces_end=True).hear(*GREETING_SHAPES[shape])
    assert play.kinds().count("user_message") == 1
    assert play.end is None
    assert play.wait(20.0).end is None
    assert play.hear(PLAN, complete(2)).answer == "El plan cuesta $99"


@pytest.mark.parametrize("shape", GREETING_SHAPES)
def test_a_known_greeting_that_comes_late_is_dropped(shape: str) -> None:
    """It arrives after the question, equal to the first message with its variables filled in."""
    play = Play(greeting=HELLO).wait(GREETING_SECONDS).hear(*GREETING_SHAPES[shape])
    assert play.wait(20.0).end is None
    assert play.hear(PLAN).wait(SETTLE).answer == "El plan cuesta $99"


def test_a_greeting_that_is_cut_by_the_question_is_dropped() -> None:
    """It begins before the question and ends after it."""
    play = Play(greeting=HELLO).hear(part("start", "", 1), part("delta", "Hola", 1)).wait(GREETING_SECONDS)
    play.hear(part("delta", " Ana,", 1), part("stop", "", 1), response("Hola Ana, soy Laura.", 1))
    assert play.wait(10.0).end is None
    assert play.hear(PLAN).wait(SETTLE).answer == "El plan cuesta $99"


def test_a_greeting_before_the_metadata_is_not_waited_for_again() -> None:
    """Events may change places."""
    play = Play(greeting=HELLO, asked=False).hear(response("Hola Ana, soy Laura.", 1), metadata())
    assert play.kinds().count("user_message") == 1


def test_the_end_of_the_greeting_ends_no_answer_without_an_id() -> None:
    """It is known by the greeting's id."""
    play = Play(greeting=HELLO).hear(response("Hola Ana, soy Laura.", 1), response("Cuesta", None), complete(1))
    assert play.end is None


def test_an_answer_under_the_greetings_id_is_an_answer() -> None:
    """Ids are a hint: different text is not the greeting."""
    play = Play(greeting=HELLO).hear(response("Hola Ana, soy Laura.", 1), response("Cuesta $99", 1))
    assert play.wait(SETTLE).answer == "Cuesta $99"


def test_the_text_of_the_greeting_repeated_later_is_an_answer() -> None:
    """Once the greeting has come, the same text is an answer."""
    play = Play(greeting=HELLO).hear(response("Hola Ana, soy Laura.", 1), response("Hola Ana, soy Laura.", 2))
    assert play.wait(SETTLE).answer == "Hola Ana, soy Laura."


@pytest.mark.parametrize(
    ("first_message", "text", "same"),
    [
        ("Hola {{client_name}}.", "Hola Ana.", True),
        ("Hola {{ client_name }}.", "Hola  Ana.\n", True),
        ("Hola {{client_name}}.", "Hola Luis.", False),
        ("Buenas tardes, son las {{system__time}}.", "Buenas tardes, son las 3 (o 4).", True),
        ("Buenas tardes, son las {{system__time}}.", "Cuesta $99", False),
        ("{{saludo}}", "Cuesta $99", False),
        ("¿Sí? (a+b)", "¿Sí? (a+b)", True),
        ("¿Vip? {{vip}}", "¿Vip? true", True),
    ],
)
def test_a_greeting_is_recognised_by_its_text(first_message: str, text: str, same: bool) -> None:
    """Variables that we send are filled in; others stand for any words, if enough fixed words are left."""
    assert greeting_of(first_message, {"client_name": "Ana", "vip": True}).matches(text) is same


@pytest.mark.parametrize("first_message", [None, "", "  \n"])
def test_an_agent_without_first_message_has_no_greeting(first_message: str | None) -> None:
    """Nothing is waited for."""
    assert greeting_of(first_message, {}).expected is False


# --- the end of a turn ---


def test_an_answer_settles_after_the_quiet_and_not_before() -> None:
    """Each further text restarts the quiet; pings don't."""
    play = Play().hear(response("Uno", 2)).wait(SETTLE - 0.1).hear(response("Dos", 3), ping(1))
    play.wait(SETTLE - 0.1).hear(ping(2))
    assert play.end is None
    assert play.wait(0.2).answer == "Uno\n\nDos"
    assert play.now == pytest.approx(2 * SETTLE - 0.1)


def test_an_agent_that_announces_its_end_is_given_more_quiet_before_the_end() -> None:
    """An end that does not come costs some seconds, not the answer."""
    play = Play(announces_end=True).hear(PLAN).wait(SETTLE + 0.1)
    assert play.end is None
    assert play.wait(SETTLE * UNANNOUNCED_END).answer == "El plan cuesta $99"
    assert play.now == pytest.approx(SETTLE * UNANNOUNCED_END)


def test_an_end_that_comes_unannounced_counts() -> None:
    """Settings may be unknown, or older than the agent."""
    assert Play().hear(PLAN, complete(2)).answer == "El plan cuesta $99"


def test_an_end_without_an_id_counts_once_there_is_text() -> None:
    """The id is a hint only."""
    play = Play().hear(complete(None))
    assert play.end is None
    assert play.hear(PLAN, complete(None)).answer == "El plan cuesta $99"


def test_an_end_of_something_older_than_the_first_reply_is_ignored() -> None:
    """It belongs to the greeting, also when that was never heard."""
    play = Play().hear(response("El plan", 5), complete(1))
    assert play.end is None


def test_an_end_that_comes_before_its_reply_ends_the_turn_with_it() -> None:
    """Events may change places."""
    play = Play(announces_end=True).hear(complete(2))
    assert play.end is None
    assert play.hear(PLAN).answer == "El plan cuesta $99"


def test_an_end_takes_in_a_stream_whose_stop_is_missing() -> None:
    """The text so far is the answer."""
    assert Play().hear(*STREAM[:3], complete(2)).answer == "El plan cuesta $99"


def test_an_open_stream_holds_the_end_back() -> None:
    """A pause between two parts does not end the turn."""
    play = Play().hear(response("Un momento…", 2), part("start", "", 3), part("delta", "El plan ", 3)).wait(10.0)
    assert play.end is None
    play.hear(part("delta", "cuesta $99", 3), part("stop", "", 3))
    assert play.wait(SETTLE).answer == "Un momento…\n\nEl plan cuesta $99"


def test_a_stream_that_never_stops_is_taken_as_it_is() -> None:
    """After the quiet in which the service itself gives up on a model."""
    play = Play().hear(*STREAM[:3]).wait(SEEN_WORK_SECONDS)
    assert play.answer == "El plan cuesta $99"
    assert play.now == SEEN_WORK_SECONDS


def test_a_running_tool_holds_the_end_back() -> None:
    """The text before a tool stays; the real answer follows it."""
    play = Play().hear(response("Un momento…", 2), tool_request()).wait(15.0)
    assert play.end is None
    play.hear(tool_response()).wait(SETTLE + 0.5)
    assert play.end is None, "after a tool the agent speaks again"
    play.hear(response("Cuesta $99", 3))
    assert play.wait(SETTLE).answer == "Un momento…\n\nCuesta $99"


def test_each_of_several_tools_holds_the_end_back() -> None:
    """Requests are counted off by their ids."""
    play = Play().hear(response("Un momento…"), tool_request("a"), tool_request("b"), tool_response("a")).wait(15.0)
    assert play.end is None


def test_a_tool_that_never_answers_holds_the_end_back_for_so_long() -> None:
    """A lost tool response costs time, not the answer."""
    play = Play().hear(response("Un momento…", 2), tool_request()).wait(DEADLINE)
    assert play.answer == "Un momento…"
    assert play.now == SEEN_WORK_SECONDS


def test_a_tool_without_text_after_it_ends_the_turn_with_the_text_before() -> None:
    """Not every tool is followed by text."""
    play = Play().hear(response("Anotado", 2), tool_request(), tool_response()).wait(DEADLINE)
    assert play.answer == "Anotado"
    assert play.now == SETTLE * UNSEEN_WORK


def test_a_system_tool_is_followed_by_no_text() -> None:
    """The goodbye comes before end_call."""
    play = Play().hear(response("¡Adiós!"), tool_request("e", "system"), tool_response("e", "system", "end_call"))
    assert play.wait(SETTLE).answer == "¡Adiós!"


def test_end_call_and_a_normal_close_give_the_goodbye() -> None:
    """The agent's own way to end a session."""
    play = Play().hear(response("¡Adiós!"), tool_response("e", "system", "end_call")).close(1000, "")
    assert play.answer == "¡Adiós!"


def test_a_reply_after_the_end_changes_nothing() -> None:
    """Text after a slow tool comes too late."""
    play = Play().hear(PLAN, complete(2)).hear(response("Algo más", 3), ping(8))
    assert play.answer == "El plan cuesta $99"
    assert "pong" not in play.kinds()


@pytest.mark.parametrize("events", [[response("  ")], [part("start"), part("stop")], [response(""), complete(2)]])
def test_an_answer_without_text_asks_for_a_fresh_session(events: list[Event]) -> None:
    """Sooner than the deadline."""
    play = Play().hear(*events).wait(SETTLE * UNSEEN_WORK)
    assert isinstance(play.end, NoAnswer)


def test_an_announced_end_without_text_asks_for_a_fresh_session_at_once() -> None:
    """There is nothing to wait for."""
    assert isinstance(Play().hear(response(""), complete(2)).end, NoAnswer)


def test_an_empty_answer_while_a_tool_runs_is_not_the_end() -> None:
    """A model may call its tool without writing anything first."""
    play = Play().hear(response(""), tool_request()).wait(30.0)
    assert play.end is None
    assert play.hear(tool_response(), PLAN).wait(SETTLE).answer == "El plan cuesta $99"


def test_no_answer_at_all_ends_at_the_deadline() -> None:
    """A session may stay silent."""
    play = Play().wait(DEADLINE - 0.1)
    assert play.end is None
    assert isinstance(play.wait(0.2).end, NoAnswer)


def test_the_deadline_takes_what_is_there() -> None:
    """Text that never settles becomes an answer at the deadline."""
    play = Play()
    for number in range(40):
        play.hear(response(f"Frase {number}.", number)).wait(SETTLE - 0.5)
    assert play.answer.startswith("Frase 0.")
    assert play.now == DEADLINE


def test_a_session_that_never_begins_fails_and_may_be_tried_again() -> None:
    """Metadata did not come and the queue kept us."""
    play = Play(asked=False).hear(queue("waiting")).wait(DEADLINE)
    assert isinstance(play.end, Failed)
    assert "user_message" not in play.kinds()


def test_a_session_continues_once_the_queue_admits_it() -> None:
    """The metadata follows."""
    play = Play(asked=False).hear(queue("waiting")).wait(15.0).hear(queue("admitted"), metadata())
    assert play.hear(PLAN).wait(SETTLE).answer == "El plan cuesta $99"


def test_a_queue_that_gives_up_fails_and_may_be_tried_again() -> None:
    """Before any close comes."""
    play = Play(asked=False).hear(queue("waiting"), queue("timed_out"))
    assert isinstance(play.end, Failed)
    assert "queue" in play.end.reason


# --- requests that a client must answer ---


@pytest.mark.parametrize("asked", [True, False])
def test_each_ping_gets_its_pong_at_once(asked: bool) -> None:
    """At any time of the session."""
    play = Play(asked=asked).hear(ping(7))
    assert play.sent[-1] == {"type": "pong", "event_id": 7}


def test_a_client_tool_is_answered_with_a_clear_error_and_the_answer_awaited() -> None:
    """The result is text, and no success."""
    play = Play().hear(response("Déjame ver…", 2), client_tool())
    result = play.sent[-1]
    assert (result["type"], result["tool_call_id"], result["is_error"]) == ("client_tool_result", "t1", True)
    assert "not available in this channel" in str(result["result"])
    play.wait(SETTLE + 1)
    assert play.end is None
    assert play.hear(response("No puedo cotizar aquí", 3)).wait(SETTLE).answer == "Déjame ver…\n\nNo puedo cotizar aquí"


def test_a_client_tool_that_expects_no_response_gets_none() -> None:
    """A notice for the client's screen."""
    play = Play().hear(client_tool(expects_response=False))
    assert "client_tool_result" not in play.kinds()


def test_an_mcp_tool_that_waits_for_approval_is_refused() -> None:
    """Nobody is there to approve it."""
    play = Play().hear(mcp("loading"), mcp("awaiting_approval"))
    assert play.sent[-1] == {"type": "mcp_tool_approval_result", "tool_call_id": "m1", "is_approved": False}


def test_an_mcp_tool_at_work_holds_the_end_back() -> None:
    """Until it has succeeded or failed."""
    play = Play().hear(response("Un momento…"), mcp("loading")).wait(15.0)
    assert play.end is None
    assert play.hear(mcp("success"), response("$99", 3)).wait(SETTLE).answer == "Un momento…\n\n$99"


# --- closes and errors, with their sentences ---


def test_a_normal_close_after_the_question_and_without_text_is_silence() -> None:
    """The agent has nothing to say."""
    assert isinstance(Play().close(1000).end, ChoseSilence)
    assert isinstance(Play().hear(response("")).close(1000).end, ChoseSilence)


@pytest.mark.parametrize("reason", ["max_duration_exceeded", "Conversation exceeded its maximum duration"])
def test_the_longest_duration_is_not_silence(reason: str) -> None:
    assert isinstance(Play().close(1000, reason).end, NoAnswer)
    event = error("max_duration_exceeded", reason, code=1000)
    assert isinstance(Play().hear(event).close(1000, reason).end, NoAnswer)


def test_a_normal_close_before_the_question_is_not_silence() -> None:
    assert isinstance(Play(asked=False).close(1000).end, NoAnswer)


@pytest.mark.parametrize("name", ["skip_turn", "end_call"])
def test_a_system_tool_that_ends_the_turn_without_a_text_is_silence(name: str) -> None:
    """After the usual quiet, at the announced end, and whatever the close."""
    skip = tool_response(name=name, tool_type="system")
    assert isinstance(Play().hear(skip).wait(SETTLE * UNSEEN_WORK).end, ChoseSilence)
    assert isinstance(Play().hear(tool_request(name=name, tool_type="system"), complete(2)).end, ChoseSilence)
    assert isinstance(Play().hear(skip).close(1006).end, ChoseSilence)
    assert not Play().hear(skip).turn.tools_called


def test_a_goodbye_before_the_end_of_the_call_is_the_answer() -> None:
    skip = tool_response(name="end_call", tool_type="system")
    assert Play().hear(response("¡Adiós!"), skip).close(1000).answer == "¡Adiós!"
    assert Play().hear(skip, response("¡Adiós!")).wait(SETTLE).answer == "¡Adiós!"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "client_tool_call", "client_tool_call": {"tool_name": "x", "tool_call_id": "t1"}},
        {"type": "agent_tool_request", "agent_tool_request": {"tool_name": "x", "tool_call_id": "t1"}},
        {"type": "agent_tool_response", "agent_tool_response": {"tool_name": "x", "tool_type": "webhook"}},
        {"type": "mcp_tool_call", "mcp_tool_call": {"tool_name": "x", "state": "loading"}},
    ],
)
def test_a_tool_that_may_change_the_world_is_noticed(event: Event) -> None:
    play = Play()
    assert not play.turn.tools_called
    assert play.hear(event).turn.tools_called


def test_a_system_tool_changes_nothing_in_the_world() -> None:
    assert not Play().hear(tool_request(tool_type="system"), tool_response(tool_type="system")).turn.tools_called


@pytest.mark.parametrize(
    ("code", "reason", "full"),
    [
        (3008, "", True),
        (4300, "", True),
        (1008, "concurrent_limit_exceeded", True),
        (1011, "system_busy", True),
        (1011, "", False),
        (3000, "[quota_exceeded] over", False),
    ],
)
def test_a_close_for_lack_of_capacity_is_marked(code: int, reason: str, full: bool) -> None:
    outcome = Play().close(code, reason).end
    assert isinstance(outcome, Failed)
    assert outcome.no_capacity is full


def test_half_a_sentence_and_a_normal_close_ask_for_a_fresh_session() -> None:
    assert isinstance(Play().hear(*STREAM[:2]).close(1000).end, NoAnswer), "half a sentence is not an answer"


CLOSES = [
    (1002, "llm_timeout", "language model"),
    (1002, "", "error of its own"),
    (1008, "Override for field 'text_only' is not allowed by config.", "Overrides"),
    (1008, "Missing required dynamic variables in first message: {'plan'}", "dynamic variable"),
    (1008, "Could not authorize the conversation", "elevenlabs.api_key"),
    (1008, "invalid_message", "did not understand"),
    (1008, "", "agent's settings"),
    (1011, "", "internal error"),
    (3000, "[quota_exceeded] This request exceeds your quota", "quota"),
    (3008, "", "too many"),
    (4300, "", "queue"),
    (1006, "", "connection"),
    (None, "", "connection"),
    (1012, "", "restart"),
    (4999, "what?", "4999"),
]


@pytest.mark.parametrize(("code", "reason", "words"), CLOSES)
def test_each_close_is_explained(code: int | None, reason: str, words: str) -> None:
    """And says what to do about it."""
    outcome = Play().close(code, reason).end
    assert isinstance(outcome, Failed)
    assert words in outcome.reason


def test_an_error_event_says_more_than_the_close_after_it() -> None:
    """The close alone carries the number only."""
    play = Play().hear(error("missing_dynamic_variable", "Missing required dynamic variables: {'plan'}"))
    outcome = play.close(1008).end
    assert isinstance(outcome, Failed)
    assert "'plan'" in outcome.reason


def test_an_error_event_whose_close_does_not_come_ends_the_turn() -> None:
    """After two seconds, not at the deadline."""
    play = Play().hear(error("llm_error", code=1002)).wait(DEADLINE)
    assert isinstance(play.end, Failed)
    assert play.now == ERROR_SECONDS


def test_a_refused_override_is_distinguished() -> None:
    """The carrier may continue without it."""
    outcome = Play(text_only=True).close(1008, "Override for field 'text_only' is not allowed by config.").end
    assert isinstance(outcome, Failed)
    assert outcome.override_refused


def test_an_idle_close_asks_for_a_fresh_session() -> None:
    """60 s without input say nothing about the agent."""
    play = Play().hear(error("transport_receive_timeout", code=1002)).close(1002)
    assert isinstance(play.end, NoAnswer)


@pytest.mark.parametrize("code", [1011, 1006, None])
def test_a_broken_session_keeps_an_answer_that_was_whole(code: int | None) -> None:
    """The customer gets it, and no tool runs a second time."""
    assert Play().hear(PLAN).close(code).answer == "El plan cuesta $99"


@pytest.mark.parametrize(
    "events", [[response("Un momento…"), tool_request()], [response("Uno"), part("start", "", 3)], [*STREAM[:3]]]
)
def test_a_broken_session_with_half_an_answer_failed(events: list[Event]) -> None:
    """Half an answer does not count."""
    assert isinstance(Play().hear(*events).close(1011).end, Failed)


def test_the_services_text_can_not_break_a_line() -> None:
    """They go into a log."""
    outcome = Play().close(1011, "a\x1b[31m\nb" + "c" * 500).end
    assert isinstance(outcome, Failed)
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 300


def test_a_stream_of_nonsense_ends_the_turn() -> None:
    """Not only at the deadline."""
    play = Play()
    for _ in range(101):
        play.hear("nonsense")
    assert isinstance(play.end, Failed)


def test_a_stream_without_end_does_not_fill_the_memory() -> None:
    """Anything over the limit is left out."""
    play = Play().hear(part("start"))
    for _ in range(50):
        play.hear(part("delta", "x" * 10_000))
    assert len(play.hear(complete(2)).answer) <= 200_000
