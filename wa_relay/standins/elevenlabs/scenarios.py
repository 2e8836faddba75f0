"""The behaviour of an agent in a session: the order of its events, for every known way. Pure.

A scenario turns the answer's text into steps; `session.py` carries them out. Beside the orders of events there are the
silences (`skip_turn`, `end_call`, `hang_up`: a close with 1000 and no text), the tools (`server_tool`, `client_tool`,
`mcp_tool`) and `spoken`, whose answer holds marks for a voice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from wa_relay.standins.elevenlabs import events
from wa_relay.standins.elevenlabs.events import Event

MOMENT = "Un momento, por favor."
"""The agent's text before it uses a tool."""

GOODBYE = "¡Hasta luego!"


@dataclass(frozen=True, slots=True)
class Send:
    """Sends one event, if the agent's settings include its type."""

    event: Event


@dataclass(frozen=True, slots=True)
class Wait:
    """Lets time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AwaitTool:
    """Waits for the client's result of a tool call."""

    call_id: str


@dataclass(frozen=True, slots=True)
class RunTool:
    """Runs a tool: its effect in the world, which a second run would repeat. Recorded, whatever events are sent."""

    name: str
    call_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Close:
    """Closes the session; an `error_type` goes ahead in an error event."""

    code: int
    reason: str
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Breaks the connection without a close."""


Step = Send | Wait | AwaitTool | RunTool | Close | Drop


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to answer, by the name of `NAMES`.

    `complete` announces the end of the turn (to agents whose settings include that event). `before` seconds pass
    before the first event, `between` seconds before what a scenario sends late. `code` and `reason` belong to
    `close`, `extra` is the text of a second answer.

    The scenarios with a tool (`server_tool`, `client_tool`, `mcp_tool`) call `tool`, which fails with `tool_fails`.
    `then` is what follows it: `answer`, `silence` (nothing more, the session stays open), `close` (with `code`) or
    `drop`. `aside=False` leaves out what the agent says before the tool.
    """

    name: str = "plain"
    complete: bool = True
    before: float = 0.0
    between: float = 0.0
    code: int = 1011
    reason: str = ""
    error_type: str | None = None
    extra: str = ""
    tool: str = ""
    tool_fails: bool = False
    then: Literal["answer", "silence", "close", "drop"] = "answer"
    aside: bool = True

    def __post_init__(self) -> None:
        """Refuses a name that no scenario has."""
        if self.name not in _SCRIPTS:
            raise ValueError(f"no scenario {self.name!r}: there are {', '.join(NAMES)}")


def steps(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    """The steps of one turn; events of the turn carry `event_id`, tool calls an id made from it."""
    if scenario.before:
        yield Wait(scenario.before)
    yield from _SCRIPTS[scenario.name](scenario, answer, event_id)


def _plain(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield Send(events.response(answer, event_id))
    yield from _end(scenario, event_id)


def _parts(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    *pieces, stop = _pieces(answer, event_id)
    yield from pieces
    yield Send(events.response(answer, event_id))
    yield stop
    yield from _end(scenario, event_id)


def _response_first(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield Send(events.response(answer, event_id))
    yield from _pieces(answer, event_id)
    yield from _end(scenario, event_id)


def _response_last(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield from _pieces(answer, event_id)
    yield Send(events.response(answer, event_id))
    yield from _end(scenario, event_id)


def _parts_only(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield from _pieces(answer, event_id)
    yield from _end(scenario, event_id)


def _server_tool(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    tool, call = scenario.tool or "consultar_precios", f"tool_{event_id}"
    yield from _aside(scenario, event_id)
    yield Send(events.tool_request(tool, call, event_id))
    yield Wait(scenario.between)
    yield RunTool(tool, call, "webhook")
    yield Send(events.tool_response(tool, call, event_id, is_error=scenario.tool_fails))
    yield from _after_tool(scenario, answer, event_id)


def _client_tool(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    tool, call = scenario.tool or "abrir_pagina", f"tool_{event_id}"
    yield from _aside(scenario, event_id)
    yield RunTool(tool, call, "client")
    yield Send(events.client_tool_call(tool, call, event_id))
    yield AwaitTool(call)
    yield Send(events.tool_response(tool, call, event_id, kind="client", is_error=scenario.tool_fails))
    yield from _after_tool(scenario, answer, event_id)


def _mcp_tool(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    tool, call = scenario.tool or "reservar_cita", f"tool_{event_id}"
    yield from _aside(scenario, event_id)
    yield Send(events.mcp_tool_call(tool, call, "loading"))
    yield Wait(scenario.between)
    yield RunTool(tool, call, "mcp")
    yield Send(events.mcp_tool_call(tool, call, "failure" if scenario.tool_fails else "success"))
    yield from _after_tool(scenario, answer, event_id)


def _aside(scenario: Scenario, event_id: int) -> Iterator[Step]:
    if scenario.aside:
        yield Send(events.response(scenario.extra or MOMENT, event_id))


def _after_tool(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    match scenario.then:
        case "answer":
            yield Send(events.response(answer, event_id + 1))
            yield from _end(scenario, event_id + 1)
        case "silence":
            yield from _end(scenario, event_id)
        case "close":
            yield Close(scenario.code, scenario.reason, scenario.error_type)
        case "drop":
            yield Drop()


def _skip_turn(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    del answer
    yield from _system_tool("skip_turn", event_id)
    yield from _end(scenario, event_id)


def _end_call(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    del answer
    yield from _system_tool("end_call", event_id)
    yield Wait(scenario.between)
    yield Close(1000, "Agent ended call")


def _hang_up(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    del answer, event_id
    yield Wait(scenario.between)
    yield Close(1000, scenario.reason)


def _system_tool(name: str, event_id: int) -> Iterator[Step]:
    call = f"tool_{event_id}"
    yield Send(events.tool_request(name, call, event_id, kind="system"))
    yield Send(events.tool_response(name, call, event_id, kind="system"))


def _spoken(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield from _plain(scenario, f'[laughs] {answer} <break time="1s"/>', event_id)


def _correction(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    spoken = scenario.extra or f"{answer} Además te cuento que"
    yield Send(events.response(spoken, event_id))
    yield Send(events.correction(spoken, answer, event_id))
    yield from _end(scenario, event_id)


def _empty(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    del answer
    yield Send(events.response("", event_id))
    yield from _end(scenario, event_id)


def _late(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield from _plain(scenario, answer, event_id)
    yield Wait(scenario.between)
    yield Send(events.response(scenario.extra or "¿Sigues ahí?", event_id + 1))
    yield from _end(scenario, event_id + 1)


def _silence(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    del scenario, answer, event_id
    return iter(())


def _midway(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield from list(_pieces(answer, event_id))[:2]
    yield Wait(scenario.between)
    yield Close(1000, scenario.reason)


def _goodbye(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield Send(events.response(f"{answer} {scenario.extra or GOODBYE}", event_id))
    yield Send(events.tool_response("end_call", f"tool_{event_id}", event_id, kind="system"))
    yield Wait(scenario.between)
    yield Close(1000, "Agent ended call")


def _close(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    del answer, event_id
    yield Close(scenario.code, scenario.reason, scenario.error_type)


def _answer_close(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield Send(events.response(answer, event_id))
    yield Wait(scenario.between)
    yield Close(scenario.code, scenario.reason, scenario.error_type)


def _drop(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    del scenario, answer, event_id
    yield Drop()


def _drop_midway(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    yield from list(_pieces(answer, event_id))[:2]
    yield Wait(scenario.between)
    yield Drop()


def _pieces(answer: str, event_id: int) -> Iterator[Send]:
    yield Send(events.part("start", "", event_id))
    words = answer.split(" ")
    for position, word in enumerate(words):
        yield Send(events.part("delta", word if position == 0 else f" {word}", event_id))
    yield Send(events.part("stop", "", event_id))


def _end(scenario: Scenario, event_id: int) -> Iterator[Step]:
    if scenario.complete:
        yield Send(events.complete(event_id))


_SCRIPTS: dict[str, Callable[[Scenario, str, int], Iterator[Step]]] = {
    "plain": _plain,
    "parts": _parts,
    "response_before_parts": _response_first,
    "response_after_stop": _response_last,
    "parts_only": _parts_only,
    "server_tool": _server_tool,
    "client_tool": _client_tool,
    "mcp_tool": _mcp_tool,
    "skip_turn": _skip_turn,
    "end_call": _end_call,
    "hang_up": _hang_up,
    "spoken": _spoken,
    "correction": _correction,
    "empty": _empty,
    "late": _late,
    "silence": _silence,
    "close_midway": _midway,
    "goodbye": _goodbye,
    "close": _close,
    "answer_then_close": _answer_close,
    "drop": _drop,
    "drop_midway": _drop_midway,
}

NAMES = tuple(_SCRIPTS)
"""The name of every scenario."""
