"""ElevenLabs' conversational API, as frozen values. Pure: bytes and mappings in, values out.

`elevenlabs.py` fetches these shapes; `sources/postcall.py` gets the conversation pushed in the
same form. Both are read leniently: unneeded fields are ignored, a field of an
unexpected type counts as missing, and an unknown status is kept as written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import (
    AliasPath,
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from wa_relay.elevenlabs.texts import readable, transcript_text
from wa_relay.elevenlabs.variables import collected_values, variables_from
from wa_relay.model import Moment, PayloadError, Scalar

T = TypeVar("T")

FILE_LIMIT = 10
"""Files that a conversation takes unless the agent's settings say otherwise (the service's default)."""

_LATEST = 4_102_444_800.0  # the year 2100: a larger number is milliseconds or invalid


def _number(value: object) -> float | None:
    """Reads a finite number that is not negative; anything else is None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        return None
    return float(value)


def _moment(value: object) -> Moment | None:
    """Reads a moment; 0 stands for one that is not known."""
    return _number(value) or None


def _names(value: object) -> frozenset[str] | None:
    return frozenset(v for v in value if isinstance(v, str)) if isinstance(value, list) else None


_TOOL_EVENTS = frozenset({"agent_tool_request", "agent_tool_response"})
_HARMLESS_TOOLS = frozenset({"client", "system"})
"""Types of tools that a session always hears of, or that change nothing in the world."""


def _has_server_tools(prompt: object) -> bool:
    """True if a prompt's settings name webhook or MCP tools, or tools by an id that is not explained."""
    if not isinstance(prompt, Mapping):
        return False
    if prompt.get("mcp_server_ids") or prompt.get("native_mcp_server_ids"):
        return True
    listed = prompt.get("tools")
    types = [tool.get("type") for tool in listed if isinstance(tool, Mapping)] if isinstance(listed, list) else []
    named = prompt.get("tool_ids")
    unexplained = isinstance(named, list) and len(named) > sum(1 for kind in types if kind != "system")
    return unexplained or any(kind not in _HARMLESS_TOOLS for kind in types)


def _nodes_have_tools(nodes: object) -> bool:
    if not isinstance(nodes, Mapping):
        return False
    known = [node for node in nodes.values() if isinstance(node, Mapping)]
    return any(bool(node.get("tools") or node.get("additional_tool_ids")) for node in known)


def _flag(value: object) -> bool:
    return value is True


_Id = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_Text = Annotated[str | None, BeforeValidator(readable)]
_Moment = Annotated[float | None, BeforeValidator(_moment)]
_Number = Annotated[float | None, BeforeValidator(_number)]
_Flag = Annotated[bool, BeforeValidator(_flag)]
_Variables = Annotated[Mapping[str, Any], BeforeValidator(variables_from)]


def _at(*path: str) -> Any:
    return Field(validation_alias=AliasPath(*path))


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """One batch as the workspace's list shows it. Counters are calls; moments are Unix seconds."""

    id: _Id
    status: str
    agent_id: _Id
    name: _Text = None
    agent_name: _Text = None
    created_at: Annotated[_Moment, _at("created_at_unix")] = None
    updated_at: Annotated[_Moment, _at("last_updated_at_unix")] = None
    scheduled_for: Annotated[_Moment, _at("scheduled_time_unix")] = None
    scheduled: Annotated[_Number, _at("total_calls_scheduled")] = None
    dispatched: Annotated[_Number, _at("total_calls_dispatched")] = None
    finished: Annotated[_Number, _at("total_calls_finished")] = None
    retries: Annotated[_Number, _at("retry_count")] = None
    whatsapp: Annotated[bool, BeforeValidator(lambda params: params is not None), _at("whatsapp_params")] = False

    @property
    def mark(self) -> str:
        """Changes whenever something in the batch has changed: what was read at this mark need not be read again."""
        figures = (self.updated_at, self.scheduled, self.dispatched, self.finished, self.retries)
        return "|".join([self.status, *("" if figure is None else f"{figure:.0f}" for figure in figures)])


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient of a batch. `conversation_id` is None until a call was started."""

    id: _Id
    status: str
    phone: Annotated[_Text, _at("phone_number")] = None
    conversation_id: _Text = None
    created_at: Annotated[_Moment, _at("created_at_unix")] = None
    updated_at: Annotated[_Moment, _at("updated_at_unix")] = None
    variables: Annotated[_Variables, _at("conversation_initiation_client_data", "dynamic_variables")] = field(
        default_factory=dict
    )


def _none_if_invalid(entry: object, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(entry)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class _BatchDetail(BatchSummary):
    """A fetched batch. `recipients` is None without a list of them; an unreadable entry is None."""

    recipients: list[Annotated[Recipient | None, WrapValidator(_none_if_invalid)]] | None = None

    @property
    def summary(self) -> BatchSummary:
        return BatchSummary(**{name.name: getattr(self, name.name) for name in fields(BatchSummary)})


@dataclass(frozen=True, slots=True)
class BatchPage:
    """One page of the list. `next` continues it, None at the end; `skipped` counts unreadable entries."""

    batches: tuple[BatchSummary, ...]
    next: str | None
    skipped: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch with all of its recipients. `skipped` counts unreadable recipients."""

    summary: BatchSummary
    recipients: tuple[Recipient, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation with an agent: a phone call, or a text session.

    `phone` is the customer's number, None for anything but a phone call. `duration` is in seconds.
    `status` is `initiated`, `in-progress`, `processing`, `done` or `failed`; `summary` and
    `results` (the values of the data collection, by name) are None until it was analysed.
    """

    conversation_id: _Id
    agent_id: _Id
    status: str
    agent_name: _Text = None
    text_only: Annotated[_Flag, _at("metadata", "text_only")] = False
    direction: Annotated[_Text, _at("metadata", "phone_call", "direction")] = None
    phone: Annotated[_Text, _at("metadata", "phone_call", "external_number")] = None
    started_at: Annotated[_Moment, _at("metadata", "start_time_unix_secs")] = None
    duration: Annotated[_Number, _at("metadata", "call_duration_secs")] = None
    summary: Annotated[_Text, _at("analysis", "transcript_summary")] = None
    results: Annotated[
        Mapping[str, Any] | None, BeforeValidator(collected_values), _at("analysis", "data_collection_results")
    ] = None
    transcript: Annotated[str | None, BeforeValidator(transcript_text)] = None
    variables: Annotated[_Variables, _at("conversation_initiation_client_data", "dynamic_variables")] = field(
        default_factory=dict
    )
    batch_id: Annotated[_Text, _at("metadata", "batch_call", "batch_call_id")] = None
    batch_recipient_id: Annotated[_Text, _at("metadata", "batch_call", "batch_call_recipient_id")] = None

    @property
    def outbound_call(self) -> bool:
        """True for a phone call that the agent made: nothing else may ever be followed by an opening."""
        return self.direction == "outbound" and not self.text_only

    @property
    def over(self) -> bool:
        """True once the talk has ended; the analysis may still be under way."""
        return self.status in ("processing", "done", "failed")

    @property
    def length(self) -> float | None:
        """The call's duration in seconds, None during the call or where that is unknown."""
        return self.duration if self.over else None

    @property
    def collected(self) -> Mapping[str, Scalar] | None:
        """The values of the data collection, by name; None while the analysis may still bring them."""
        return self.results or ({} if self.status in ("done", "failed") else None)

    @property
    def ended_at(self) -> Moment | None:
        """The start plus the duration, None during the call or where either is unknown."""
        if not self.over or self.started_at is None or self.duration is None:
            return None
        return self.started_at + self.duration


_CONVERSATION = ("conversation_config", "conversation")
_FILES = (*_CONVERSATION, "file_input")
_OVERRIDES = ("platform_settings", "overrides", "conversation_config_override")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The settings of an agent that a text turn needs.

    `first_message` is "" for an agent that waits to be spoken to, None when the settings do not say.
    `text_only_override` says if a session may ask for text only. `client_events` is None when
    the agent sends the default ones. `prompt_tools` and `workflow_tools` say if it may call tools that ElevenLabs
    runs itself (webhooks, MCP). `takes_files` is true unless file input is turned off.
    """

    agent_id: _Id
    first_message: Annotated[
        str | None,
        BeforeValidator(lambda text: text if isinstance(text, str) else None),
        _at("conversation_config", "agent", "first_message"),
    ] = None
    text_only: Annotated[_Flag, _at(*_CONVERSATION, "text_only")] = False
    text_only_override: Annotated[_Flag, _at(*_OVERRIDES, "conversation", "text_only")] = False
    client_events: Annotated[frozenset[str] | None, BeforeValidator(_names), _at(*_CONVERSATION, "client_events")] = (
        None
    )
    prompt_tools: Annotated[bool, BeforeValidator(_has_server_tools), _at("conversation_config", "agent", "prompt")] = (
        False
    )
    workflow_tools: Annotated[bool, BeforeValidator(_nodes_have_tools), _at("workflow", "nodes")] = False
    takes_files: Annotated[bool, BeforeValidator(lambda flag: flag is not False), _at(*_FILES, "enabled")] = True
    max_files: Annotated[_Number, _at(*_FILES, "max_files_per_conversation")] = None

    @property
    def file_limit(self) -> int:
        """The number of files that a conversation takes; the service's own 10 if the settings lack it."""
        return int(FILE_LIMIT if self.max_files is None else self.max_files) if self.takes_files else 0

    @property
    def tools_unseen(self) -> bool:
        """True if the agent may call a tool without a session hearing of it."""
        seen = self.client_events is not None and self.client_events >= _TOOL_EVENTS
        return (self.prompt_tools or self.workflow_tools) and not seen


_summaries = TypeAdapter(BatchSummary)
_details = TypeAdapter(_BatchDetail)
_conversations = TypeAdapter(Conversation)
_settings = TypeAdapter(AgentSettings)


def page_from(data: Mapping[str, object]) -> BatchPage:
    """Reads a page of the workspace's batches (`GET /v1/convai/batch-calling/workspace`).

    Raises PayloadError without a list in it. One bad entry does not spoil the others.
    """
    entries = data.get("batch_calls")
    if not isinstance(entries, list):
        raise _no_list("batch_calls")
    batches = tuple(summary for entry in entries if (summary := _summary(entry)) is not None)
    more = data.get("has_more") is not False
    return BatchPage(batches, readable(data.get("next_doc")) if more else None, len(entries) - len(batches))


def _summary(entry: object) -> BatchSummary | None:
    try:
        return _summaries.validate_python(entry)
    except ValidationError:
        return None


def batch_from(body: bytes) -> Batch:
    """Reads a batch with its recipients from the bytes of `GET /v1/convai/batch-calling/{id}`.

    Raises PayloadError when it has no id, status, agent or list of recipients, and ValueError for anything but a
    JSON object.
    """
    # For 10,000 recipients (2.9 MB): 47 ms in a thread, during which the event loop stalls for 9 ms at most.
    try:
        detail = _details.validate_json(body)
    except ValidationError as error:
        # Only Python's decoder takes a byte order mark and lone surrogates, which are rare.
        malformed = any(fault["type"] == "json_invalid" for fault in error.errors(include_input=False))
        detail = _one(_details, json_object(body)) if malformed else _refuse(error)
    if detail.recipients is None:
        raise _no_list("recipients")
    recipients = tuple(entry for entry in detail.recipients if entry is not None)
    return Batch(detail.summary, recipients, len(detail.recipients) - len(recipients))


def conversation_from(data: Mapping[str, object]) -> Conversation:
    """Reads a conversation, fetched, or sent by the post-call webhook.

    Raises PayloadError (`invalid_payload`) when it has no id, agent or status.
    """
    return _one(_conversations, data)


def settings_from(data: Mapping[str, object]) -> AgentSettings:
    """Reads an agent's settings (`GET /v1/convai/agents/{id}`). Raises PayloadError when it has no id."""
    return _one(_settings, data)


def _one(adapter: TypeAdapter[T], data: object) -> T:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        _refuse(error)


def _refuse(error: ValidationError) -> NoReturn:
    places = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors(include_input=False)]
    wanted = "; ".join(f"{path}: {message}" for path, message in places)
    raise PayloadError(f"not what ElevenLabs documents: {wanted}", code="invalid_payload", fields=places) from None


def _no_list(name: str) -> PayloadError:
    return PayloadError(f"the list {name} is missing", code="invalid_payload", fields=[(name, "a list is wanted")])


def json_object(body: bytes) -> dict[str, object]:
    """Decodes a JSON object; raw control characters in its texts are taken. Raises ValueError for anything else."""
    try:
        value = json.loads(body.decode("utf-8-sig"), strict=False)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("the JSON is not an object")
    return value
