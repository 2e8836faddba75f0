"""May this session begin: overrides against the agent's settings, variables against its texts. Pure.

Close reasons are the service's own text, which clients recognise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wa_relay.model import Scalar
from wa_relay.standins.elevenlabs.state import Agent
from wa_relay.standins.elevenlabs.talk import filled, placeholders

_IGNORED = frozenset({"asr.keywords"})
_MISPLACED = {"text_only": "conversation.text_only"}
"""The Python SDK asks for text at the top of the override; it means the one of the conversation."""


@dataclass(frozen=True, slots=True)
class Initiation:
    """The first message of a client: its agent and its request."""

    variables: Mapping[str, Scalar]
    overrides: Mapping[str, object]
    user_id: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a session is closed with 1008."""

    error_type: str
    reason: str


def initiation_of(frame: Mapping[str, object] | None) -> Initiation | Refusal:
    """Reads the first frame; anything but initiation data is refused."""
    if frame is None or frame.get("type") != "conversation_initiation_client_data":
        return Refusal("invalid_message", "The first message has to be conversation_initiation_client_data.")
    variables = frame.get("dynamic_variables") or {}
    override = frame.get("conversation_config_override") or {}
    if not isinstance(variables, Mapping) or not isinstance(override, Mapping):
        return Refusal("value_error", "dynamic_variables and conversation_config_override have to be objects.")
    wrong = [name for name, value in variables.items() if not isinstance(value, str | int | float | bool)]
    if wrong:
        return Refusal("value_error", f"Dynamic variable '{wrong[0]}' has to be a string, number or boolean.")
    user_id, source = frame.get("user_id"), frame.get("source_info")
    return Initiation(
        variables=dict(variables),
        overrides={_MISPLACED.get(path, path): value for path, value in _leaves(override)},
        user_id=user_id if isinstance(user_id, str) else None,
        source=str(source.get("source")) if isinstance(source, Mapping) else None,
    )


def _leaves(tree: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def refusal_of(agent: Agent, initiation: Initiation) -> Refusal | None:
    """Returns what the agent's settings forbid or lack; None when the session may begin."""
    for path in initiation.overrides:
        if path not in agent.overrides and path not in _IGNORED:
            field = path.rsplit(".", 1)[-1]
            return Refusal("override_error", f"Override for field '{field}' is not allowed by config.")
    missing = [name for name in _needed(agent, initiation) if name not in initiation.variables]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        return Refusal("missing_dynamic_variable", f"Missing required dynamic variables in prompt: {{{listed}}}")
    return None


def greeting_of(agent: Agent, initiation: Initiation) -> str:
    """Returns the agent's greeting, its variables filled in; empty for one that waits for the user."""
    return filled(_first_message(agent, initiation), initiation.variables)


def _first_message(agent: Agent, initiation: Initiation) -> str:
    asked = initiation.overrides.get("agent.first_message")
    return asked if isinstance(asked, str) else agent.first_message


def _needed(agent: Agent, initiation: Initiation) -> list[str]:
    """The variables that the agent's texts use, each once, without those that the service supplies."""
    asked = initiation.overrides.get("agent.prompt.prompt")
    texts = (asked if isinstance(asked, str) else agent.prompt, _first_message(agent, initiation))
    names = [name for text in texts for name in placeholders(text)]
    return [name for name in dict.fromkeys(names) if not name.startswith("system__")]
