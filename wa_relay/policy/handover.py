"""Decides which handler has a conversation (agent, person, or muted) and what changes that (contract 9.1).

A person comes by a takeover, or by writing. The customer, the agent or a failure may request one: until a person comes,
the agent stays silent for `handover_wait`. Every function here takes the present state and returns the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from wa_relay.model import Moment
from wa_relay.policy.hours import opens_at
from wa_relay.policy.rules import Rules
from wa_relay.text.keywords import LONGEST_REQUEST, request_form

Handler = Literal["agent", "human", "muted"]
Channel = Literal["console", "api", "cli"]
HandoverRequest = Literal["keyword", "tool", "failure"]
Mute = Literal["repeats_itself", "too_many_turns"]
HandlerReason = Channel | HandoverRequest | Mute
Ending = Literal["released", "time_over", "nobody_free", "mute_over"]
"""Why a conversation goes back to the agent."""

MUTED_FOR = 3600.0
LONGEST_HOURS = 720.0
LONGEST_HUMAN_MESSAGE = 1600
"""Characters: Twilio refuses more (21617)."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator who acts: the recorded name (a user's, `api` or `cli`), and the channel."""

    name: str
    channel: Channel


@dataclass(frozen=True, slots=True)
class Handling:
    """The handler of a conversation. `by` is None until a person comes to a customer who requested one.

    `waiting_since` is when a person was requested, None once one has written. `unread` counts the customer's messages
    since a person last looked or wrote. `unanswered_since` is the time of the first message without an answer.
    """

    handler: Handler = "agent"
    until: Moment | None = None
    reason: HandlerReason | None = None
    by: str | None = None
    waiting_since: Moment | None = None
    unread: int = 0
    unanswered_since: Moment | None = None

    @property
    def waiting(self) -> bool:
        """True while a person is requested and none has written yet."""
        return self.waiting_since is not None

    @property
    def is_requested(self) -> bool:
        """True while the agent is silent because a person was requested, and none has come."""
        return self.handler == "human" and self.by is None


def take_over(before: Handling, operator: Operator, hours: float | None, rules: Rules, now: Moment) -> Handling:
    """A person takes the conversation, for `hours` or for `handover_return_after`."""
    lasts = rules.handover_return_after if hours is None else hours * 3600.0
    return replace(
        before,
        handler="human",
        until=now + lasts,
        reason=operator.channel,
        by=operator.name,
        unread=before.unread if before.handler == "human" else 0,
    )


def write(before: Handling, operator: Operator, rules: Rules, now: Moment) -> Handling:
    """A person writes: that takes the conversation over, and answers everything before it. A reason stays."""
    kept = before.handler == "human"
    until = now + rules.handover_return_after
    return Handling(
        handler="human",
        until=max(until, before.until or until) if kept and before.by is not None else until,
        reason=before.reason if kept else operator.channel,
        by=operator.name,
    )


def request(before: Handling, reason: HandoverRequest, asked_at: Moment, rules: Rules, now: Moment) -> Handling | None:
    """A person is requested. None if a person has the conversation, or is requested already."""
    if before.handler == "human":
        return None
    return Handling(
        "human",
        now + rules.handover_wait,
        reason,
        waiting_since=before.waiting_since if before.waiting else now,
        unread=before.unread if before.waiting else 0,
        unanswered_since=asked_at,
    )


def give_back(before: Handling, ending: Ending) -> Handling:
    """Gives the conversation back to the agent. The request of a customer to whom no person came stays open."""
    return Handling(waiting_since=before.waiting_since, unread=before.unread) if ending == "nobody_free" else Handling()


def mute(before: Handling, reason: Mute, now: Moment) -> Handling | None:
    """Mutes the conversation for an hour. None if a person has it or is requested: the agent is silent then anyway."""
    if before.handler != "agent":
        return None
    return Handling("muted", now + MUTED_FOR, reason, waiting_since=before.waiting_since, unread=before.unread)


def ending_of(handling: Handling) -> Ending:
    """Why a conversation goes back to the agent when the handler's time is over."""
    if handling.handler == "muted":
        return "mute_over"
    return "nobody_free" if handling.is_requested else "time_over"


def may_speak(kind: str, handling: Handling) -> bool:
    """False for an opening or a reply that must not go out now.

    What the agent writes in the turn in which it requested a person still goes out, until a person comes.
    """
    if handling.handler != "human" or kind not in ("opening", "reply"):
        return True
    return kind == "reply" and handling.is_requested and handling.reason == "tool"


def is_request(rules: Rules, text: str) -> bool:
    """True if a whole message requests a person."""
    return len(text) <= LONGEST_REQUEST and request_form(text) in rules.handover_keywords


HumanRefusal = Literal["opted_out", "window_closed", "quiet_hours"]


def refuses_human_message(
    *,
    opted_out: bool,
    window_ends_at: Moment | None,
    template: bool,
    anyway: bool,
    phone: str,
    rules: Rules,
    now: Moment,
) -> HumanRefusal | None:
    """Returns why a person's message must not be sent, None if it may.

    A text needs an open window; a template needs none, but waits for no quiet hours: it is refused in them, unless the
    person sends it `anyway`.
    """
    if opted_out:
        return "opted_out"
    if not template:
        return "window_closed" if window_ends_at is None or window_ends_at <= now else None
    return None if anyway or opens_at(now, rules, phone) <= now else "quiet_hours"


STRICTNESS: dict[Handler, int] = {"agent": 0, "muted": 1, "human": 2}


def choose_stricter(one: Handling, other: Handling) -> Handling:
    """Combines the handlers of two merged conversations: a person before a mute before the agent.

    Of two equal ones the longer one wins, and a person who has come before one who was requested.
    """
    rank = max(one, other, key=lambda each: (STRICTNESS[each.handler], each.by is not None, each.until or 0.0))
    wanted = [each.waiting_since for each in (one, other) if each.waiting_since is not None]
    since = [each.unanswered_since for each in (one, other) if each.unanswered_since is not None]
    return replace(
        rank,
        waiting_since=min(wanted) if wanted else None,
        unread=one.unread + other.unread,
        unanswered_since=min(since) if since and rank.handler == "human" else None,
    )
