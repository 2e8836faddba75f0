"""Finds the dynamic variables that an agent and its tools take from outside. Pure.

Source: the schemas GetAgentResponseModel, PromptAgentAPIModel and the tool configurations of the API's description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wa_relay.elevenlabs.shapes import AgentSettings, settings_from

_NAMED = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Variables:
    """`required` have to be given at the start of a session, unless a tool `assigned` them."""

    required: frozenset[str] = frozenset()
    assigned: frozenset[str] = frozenset()

    def __or__(self, other: Variables) -> Variables:
        return Variables(self.required | other.required, self.assigned | other.assigned)

    @property
    def from_outside(self) -> frozenset[str]:
        """Returns the variables that a session has to set: not assigned by a tool, not supplied by the service."""
        return frozenset(name for name in self.required - self.assigned if not name.startswith("system__"))


@dataclass(frozen=True, slots=True)
class AgentSetup:
    """An agent's settings, the variables of its texts and inline tools, and the tools that are elsewhere."""

    settings: AgentSettings
    variables: Variables
    tool_ids: tuple[str, ...]


def setup_from(data: Mapping[str, object]) -> AgentSetup:
    """Reads an agent (`GET /v1/convai/agents/{id}`). Raises `PayloadError` without an id."""
    agent = _table(_table(data.get("conversation_config")).get("agent"))
    prompt = _table(agent.get("prompt"))
    found = Variables(frozenset(_named_in(prompt.get("prompt"), agent.get("first_message"))))
    for tool in _list(prompt.get("tools")):
        found |= _variables_of(tool)
    ids = tuple(each for each in _list(prompt.get("tool_ids")) if isinstance(each, str))
    return AgentSetup(settings_from(data), found, ids)


def variables_of_tool(data: Mapping[str, object]) -> Variables:
    """Reads a tool (`GET /v1/convai/tools/{id}`)."""
    return _variables_of(data.get("tool_config"))


def _variables_of(config: object) -> Variables:
    required: set[str] = set()
    assigned: set[str] = set()
    for name, value, path in _walk(config):
        if name == "dynamic_variable" and isinstance(value, str) and value:
            (assigned if "assignments" in path else required).add(value)
        elif name == "variable_name" and "request_headers" in path and isinstance(value, str) and value:
            required.add(value)
        elif name == "url" or "request_headers" in path:
            required.update(_named_in(value))
    return Variables(frozenset(required), frozenset(assigned))


def _walk(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object, tuple[str, ...]]]:
    """Yields every entry of nested tables and lists: its name, its value, the names above it."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield str(name), part, path
            yield from _walk(part, (*path, str(name)))
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, path)


def _named_in(*texts: object) -> Iterator[str]:
    for text in texts:
        if isinstance(text, str):
            yield from _NAMED.findall(text)


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
