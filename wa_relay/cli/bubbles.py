"""A conversation as chat bubbles: the calls, then the thread, the customer on the left and us on the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo

from rich import box
from rich.align import Align
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from wa_relay.basics import Moment
from wa_relay.channel.errors import meaning
from wa_relay.cli.output import Paper
from wa_relay.reports.attachments import AttachmentEntry
from wa_relay.reports.conversation import CallEntry, Conversation, MessageEntry, Overview
from wa_relay.reports.tally import REASONS
from wa_relay.text.escaping import one_line

WIDEST, SHARE = 100, 0.75
CALLS_SHOWN = 5

MARKS = {
    # status: sign, in ASCII, style
    "queued": ("⏳", "...", "yellow"),
    "sending": ("⏳", "...", "yellow"),
    "sent": ("✓", "+", "dim"),
    "delivered": ("✓✓", "++", "dim"),
    "read": ("✓✓", "++", "bright_blue"),
    "failed": ("✗", "x", "bold red"),
    "uncertain": ("?", "?", "bold yellow"),
}
ATTACHMENTS = {
    "audio": "voice note",
    "image": "picture",
    "video": "video",
    "document": "document",
    "contact": "contact",
    "location": "place",
    "sticker": "sticker",
    "reaction": "reaction",
}
NOTICES = {
    "fallback": "notice: no answer yet",
    "opt_out": "notice: opt-out confirmed",
    "text_only": "notice: text only",
    "handover": "notice: a person will write",
}
SKIPPED = {
    "outcome_not_followed": "this outcome is not followed up",
    "opted_out": "the customer had opted out",
    "too_old": "the call was too old",
    "recent_opening": "another opening was sent shortly before",
    "too_short": "the call was too short",
    "condition": "the collected values do not meet the condition",
    "handed_over": "a person had taken the conversation over",
}


class Bubbles:
    """Draws a conversation on paper of any width, with local times."""

    def __init__(self, paper: Paper, timezone: tzinfo) -> None:
        self._paper, self._timezone = paper, timezone
        self._day: str | None = None

    def heading(self, conversation: Conversation) -> Iterator[RenderableType]:
        """Yields the customer and the calls."""
        clean = self._paper.clean
        name = (
            Text(clean(one_line(conversation.overview.client_name)), style="bold")
            if conversation.overview.client_name
            else Text()
        )
        customer = Text.assemble(name, "  " if name else "", (clean(conversation.phone), "bold cyan"))
        yield customer
        count = conversation.overview.message_count
        state = Text(f"{count} message{'' if count == 1 else 's'}", style="dim")
        if conversation.overview.status == "opted_out":
            state = Text.assemble(("opted out", "bold red"), self._dot(), state)
        if (handler := _name_handler(conversation.overview)) is not None:
            state = Text.assemble((clean(one_line(handler)), "bold yellow"), self._dot(), state)
        yield state
        calls = conversation.calls
        for call in reversed(calls[:CALLS_SHOWN]):
            yield from self.call(call)
        if len(calls) > CALLS_SHOWN:
            yield Text(f"and {len(calls) - CALLS_SHOWN} earlier calls", style="dim")

    def call(self, call: CallEntry) -> Iterator[RenderableType]:
        """One phone call: its time, outcome, agent and summary."""
        clean, dot = self._paper.clean, self._dot()
        when = "at an unknown time" if call.ended_at is None else self._long(call.ended_at)
        sign = self._paper.mark("☎", "*")
        outcome_style = "green" if call.outcome == "completed" else "yellow"
        yield Text("")
        yield Text.assemble((f"{sign} Call {when}", "bold"), dot, (clean(one_line(call.outcome)), outcome_style))
        about = [call.batch_name or call.batch_id, call.group_name, call.agent_name or call.agent_id]
        text = [Text(clean(one_line(each)), style="dim") for each in about if each]
        if text:
            yield Padding(dot.join(text), (0, 0, 0, 2))
        if call.skipped:
            yield Padding(Text(f"No opening was sent: {SKIPPED[call.skipped]}.", style="yellow"), (0, 0, 0, 2))
        if call.summary:
            yield Padding(Text(clean(call.summary.strip()), overflow="fold"), (0, 0, 0, 2))

    def thread(self, messages: Sequence[MessageEntry], *, of: int = 0) -> Iterator[RenderableType]:
        """The messages, with a line where a day begins; `of` is how many the whole thread has."""
        if of > len(messages):
            yield Text("")
            yield Text(
                f"{len(messages)} of {of} messages are shown; use --limit and --since to see others", style="dim"
            )
        for message in messages:
            day = self._date(message.at)
            if day != self._day:
                self._day = day
                yield Text("")
                yield Rule(Text(day, style="dim"), style="dim")
            yield self.bubble(message)

    def bubble(self, message: MessageEntry) -> RenderableType:
        """One message in its frame, with its time and its delivery."""
        ours = message.direction == "outbound"
        body, footer = self._body(message), self._footer(message)
        title = self._title(message)
        lines: list[RenderableType] = [body, Align.right(footer)]
        notes = self._notes(message)
        lines += notes
        widest = max(self._width(text) for text in (body, footer, *notes))
        width = min(max(widest, cell_len(title) + 2) + 4, self._most())
        panel = Panel(
            Group(*lines),
            box=box.ROUNDED,
            title=Text(title, style="dim") if title else None,
            title_align="left",
            border_style="green" if ours else "cyan",
            width=width,
        )
        return Align.right(panel, width=self._page()) if ours else panel

    def change(self, message: MessageEntry) -> RenderableType:
        """One line for a message that is already shown and has a new status."""
        start = self._paper.clean(one_line(message.content))
        short = start if len(start) <= 24 else start[:23] + self._paper.mark("…", "~")
        line = Text.assemble((f"message {message.id} ", "dim"), (f"{short} ", "dim italic"), self._footer(message))
        return Align.right(Group(line, *self._notes(message)), width=self._page())

    def _body(self, message: MessageEntry) -> Text:
        body = Text(self._paper.clean(message.content), overflow="fold")
        if message.attachment is not None:
            named = self._paper.clean(one_line(_describe_attachment(message.attachment)))
            body = Text.assemble((f"[{named}]", "italic"), "\n" if body else "", body, overflow="fold")
        return body

    def _footer(self, message: MessageEntry) -> Text:
        clock = datetime.fromtimestamp(message.at, self._timezone).strftime("%H:%M")
        if message.direction == "inbound":
            return Text(clock, style="dim")
        sign, plain, style = MARKS[message.status]
        text = message.status
        if message.status == "queued" and message.due_at is not None and message.due_at > message.created_at + 60.0:
            text = f"queued until {self._soon(message.due_at, message.at)}"
        return Text.assemble((f"{clock} ", "dim"), (f"{self._paper.mark(sign, plain)} {text}", style))

    def _notes(self, message: MessageEntry) -> list[Text]:
        if message.status == "uncertain":
            hint = f"It may or may not have been sent. Decide with:\nwa-relay resolve {message.id}"
            return [Text(hint, style="yellow", overflow="fold")]
        if message.status != "failed":
            return []
        return [Text(self._paper.clean(one_line(_explain_failure(message))), style="red", overflow="fold")]

    def _title(self, message: MessageEntry) -> str:
        if message.kind == "notice":
            return NOTICES.get(message.notice or "", "notice")
        if message.author is not None:
            return self._paper.clean(one_line(message.author))
        return "opening" if message.kind == "opening" else ""

    def _width(self, text: Text) -> int:
        return max((cell_len(line) for line in text.plain.split("\n")), default=0)

    def _page(self) -> int:
        return min(self._paper.console.width, WIDEST)

    def _most(self) -> int:
        page = self._page()
        return page if page < 40 else int(page * SHARE)

    def _dot(self) -> Text:
        return Text(f" {self._paper.mark('·', '-')} ", style="dim")

    def _date(self, moment: Moment) -> str:
        local = datetime.fromtimestamp(moment, self._timezone)
        return f"{local:%A} {local.day} {local:%B %Y}"

    def _long(self, moment: Moment) -> str:
        local = datetime.fromtimestamp(moment, self._timezone)
        return f"{local:%a} {local.day} {local:%b %Y %H:%M}"

    def _soon(self, moment: Moment, before: Moment) -> str:
        same = self._date(moment) == self._date(before)
        return datetime.fromtimestamp(moment, self._timezone).strftime("%H:%M") if same else self._long(moment)


def _name_handler(conversation: Overview) -> str | None:
    """Names the handler; None while the agent has the conversation and no person is requested."""
    if conversation.handler == "muted":
        return "muted"
    if conversation.waiting_since is not None:
        return "a person is requested"
    return f"taken over by {conversation.handler_by}" if conversation.handler == "human" else None


def _describe_attachment(attachment: AttachmentEntry) -> str:
    """Describes an attachment: its kind, a recording's length, a document's name, and if it could not be read."""
    kind = ATTACHMENTS.get(attachment.type, "file")
    parts = [kind if attachment.name is None else f"{kind} {attachment.name}"]
    if attachment.seconds is not None:
        parts.append(f"{int(attachment.seconds // 60)}:{int(attachment.seconds % 60):02d}")
    if attachment.failed:
        parts.append("not transcribed" if attachment.type == "audio" else "could not be opened")
    return ", ".join(parts)


def _explain_failure(message: MessageEntry) -> str:
    """Returns why a message failed, and what to do."""
    reason = message.reason or ""
    if message.error_code:
        return f"{reason}, {message.error_code}: {meaning(message.error_code)}"
    return f"{reason}: {message.error_message or REASONS.get(reason, 'nothing more is known')}"
