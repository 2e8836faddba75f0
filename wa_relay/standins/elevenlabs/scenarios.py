"""What an agent does when it is spoken to: the order of its events, for every way that is known. Pure.

A scenario turns the answer's text into steps; `session.py` carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wa_relay.standins.elevenlabs import events
from wa_relay.standins.elevenlabs.events import Event

MOMENT = "Un momento, por favor."
"""What an agent says before it uses a tool."""

GOODBYE = "¡Hasta luego!"


@dataclass(frozen=True, slots=True)
class Send:
    """Sends one event, if the agent's settings include its type."""

    event: Event


@dataclass(frozen=True, slots=True)
class Wait:
    """Lets so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AwaitTool:
    """Waits for the client's result of a tool call."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Closes the session; an `error_type` is told in an error event before."""

    code: int
    reason: str
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Breaks the connection without a close."""


Step = Send | Wait | AwaitTool | Close | Drop


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to answer, by the name of `NAMES`.

    `complete` announces the end of the turn (to agents whose settings include that event). `before` seconds pass
    before the first event, `between` seconds before what a scenario sends late. `code` and `reason` belong to
    `close`, `extra` is the text of a second answer.
    """

    name: str = "plain"
    complete: bool = True
    before: float = 0.0
    between: float = 0.0
    code: int = 1011
    reason: str = ""
    error_type: str | None = None
    extra: str = ""

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
    tool, call = "consultar_precios", f"tool_{event_id}"
    yield Send(events.response(scenario.extra or MOMENT, event_id))
    yield Send(events.tool_request(tool, call, event_id))
    yield Wait(scenario.between)
    yield Send(events.tool_response(tool, call, event_id))
    yield Send(events.response(answer, event_id + 1))
    yield from _end(scenario, event_id + 1)


def _client_tool(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    call = f"tool_{event_id}"
    yield Send(events.response(scenario.extra or MOMENT, event_id))
    yield Send(events.client_tool_call("abrir_pagina", call, event_id))
    yield AwaitTool(call)
    yield Send(events.tool_response("abrir_pagina", call, event_id, kind="client"))
    yield Send(events.response(answer, event_id + 1))
    yield from _end(scenario, event_id + 1)


def _correction(scenario: Scenario, answer: str, event_id: int) -> Iterator[Step]:
    said = scenario.extra or f"{answer} Además te cuento que"
    yield Send(events.response(said, event_id))
    yield Send(events.correction(said, answer, event_id))
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
