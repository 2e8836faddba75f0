"""Prints a conversation: for people or for programs, once or followed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import tzinfo
from typing import Protocol

from wa_relay.cli.bubbles import Bubbles
from wa_relay.cli.output import Paper, results, write_document
from wa_relay.reports.conversation import Conversation, MessageEntry


class Page(Protocol):
    """The output of `history`."""

    def begin(self, conversation: Conversation) -> None:
        """Prints the conversation in its present state."""

    def go_on(self, conversation: Conversation) -> None:
        """Prints what is new since the last time."""


def page_for(*, as_json: bool, one_line: bool, no_color: bool, timezone: tzinfo) -> Page:
    """The page that was asked for; `one_line` makes each JSON object a line."""
    if as_json:
        return JsonPage(one_line=one_line)
    paper = results(no_color=no_color)
    return BubblePage(paper, Bubbles(paper, timezone))


class Changes:
    """Remembers what was shown, and finds what is new or has a new status."""

    def __init__(self) -> None:
        self._newest = 0
        self._shown: dict[int, str] = {}
        self._calls: set[str] = set()

    def note(self, conversation: Conversation) -> None:
        """Remembers what was printed at the beginning."""
        self._calls = {call.key for call in conversation.calls}
        self._newest = conversation.newest
        self._shown = {message.id: message.status for message in conversation.messages}

    def new_calls(self, conversation: Conversation) -> Iterator[int]:
        """The indexes in `calls` of new calls, the oldest first."""
        for place in reversed(range(len(conversation.calls))):
            key = conversation.calls[place].key
            if key not in self._calls:
                self._calls.add(key)
                yield place

    def messages(self, conversation: Conversation) -> Iterator[tuple[MessageEntry, bool]]:
        """Messages that are new or have a new status; true beside the new ones."""
        for message in conversation.messages:
            new = message.id > self._newest
            if new or self._shown.get(message.id, message.status) != message.status:
                self._newest = max(self._newest, message.id)
                self._shown[message.id] = message.status
                yield message, new


class JsonPage:
    """The conversation as one object, then each message that is new or has changed as one line."""

    def __init__(self, *, one_line: bool) -> None:
        self._one_line = one_line
        self._changes = Changes()

    def begin(self, conversation: Conversation) -> None:
        """Prints the object."""
        self._changes.note(conversation)
        indent = None if self._one_line else 2
        write_document(json.dumps(conversation.to_json(time.time()), ensure_ascii=False, indent=indent) + "\n")

    def go_on(self, conversation: Conversation) -> None:
        """Prints a line for each message that is new or has changed."""
        for message, _ in self._changes.messages(conversation):
            write_document(json.dumps(message.to_json(), ensure_ascii=False) + "\n")


class BubblePage:
    """Prints the conversation as chat bubbles; each new status gets its own line."""

    def __init__(self, paper: Paper, bubbles: Bubbles) -> None:
        self._print, self._bubbles = paper.console.print, bubbles
        self._changes = Changes()

    def begin(self, conversation: Conversation) -> None:
        """Prints the customer, the calls and the thread."""
        self._changes.note(conversation)
        for part in self._bubbles.heading(conversation):
            self._print(part)
        for part in self._bubbles.thread(conversation.messages, of=conversation.overview.message_count):
            self._print(part)

    def go_on(self, conversation: Conversation) -> None:
        """Prints new calls and messages, and a line for each message with a new status."""
        for place in self._changes.new_calls(conversation):
            for part in self._bubbles.call(conversation.calls[place]):
                self._print(part)
        for message, new in self._changes.messages(conversation):
            if not new:
                self._print(self._bubbles.change(message))
                continue
            for part in self._bubbles.thread([message]):
                self._print(part)
