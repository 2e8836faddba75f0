"""Collects the agent's text of one turn from parts, whole replies and corrections.

Pure. The service sends a reply as parts, as a whole, or both, in any order; around tools it sends several.
"""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay.agent.greeting import squeezed

_MAX_REPLIES = 200
_MAX_CHARACTERS = 200_000  # a service that misbehaves must not fill the memory before the deadline


@dataclass(slots=True)
class _Reply:
    event_id: int | None
    text: str
    streamed: bool  # known from its parts only
    open: bool  # its parts still come


class Replies:
    """Collects one turn's replies. A reply with a known id never appears twice."""

    __slots__ = ("_early", "_replies", "_size", "empty_ids", "lowest_id")

    def __init__(self) -> None:
        self._replies: list[_Reply] = []
        self._size = 0
        self._early: dict[int | None, tuple[str, str]] = {}
        self.empty_ids: set[int | None] = set()
        self.lowest_id: int | None = None

    @property
    def streaming(self) -> bool:
        """True while the parts of a reply still come."""
        return any(reply.open for reply in self._replies)

    def start(self, event_id: int | None) -> None:
        """A stream of parts begins."""
        self.stop(event_id)
        self._append(_Reply(event_id, "", streamed=True, open=True))

    def delta(self, event_id: int | None, text: str) -> None:
        """The next piece of a stream; one whose start got lost begins here."""
        self._size += len(text)
        if self._size > _MAX_CHARACTERS:
            return
        reply = next((reply for reply in self._replies if reply.open and reply.event_id == event_id), None)
        if reply is None:
            reply = _Reply(event_id, "", streamed=True, open=True)
            self._append(reply)
        reply.text += text

    def stop(self, event_id: int | None) -> str:
        """Ends the stream. Returns its text, empty without one."""
        ended = [reply for reply in self._replies if reply.open and reply.event_id == event_id]
        for reply in ended:
            reply.open = False
            if not reply.text.strip():
                self.empty_ids.add(event_id)
        return ended[-1].text.strip() if ended else ""

    def whole(self, event_id: int | None, text: str) -> None:
        """Adds a whole reply: it replaces its own parts, and follows earlier replies."""
        text = self._corrected(event_id, text.strip())
        parts = self._parts_of(event_id, text)
        if not text:
            self.empty_ids.add(event_id)
            if parts is not None:
                parts.open = False
            return
        if parts is not None:
            parts.text, parts.streamed, parts.open = text, False, False
        elif not self._grown(event_id, text):
            self._append(_Reply(event_id, text, streamed=False, open=False))

    def correct(self, event_id: int | None, original: str, corrected: str) -> None:
        """Replaces what was written under that id; kept for later when it comes before the reply."""
        same_id = [reply for reply in self._replies if reply.event_id == event_id]
        exact = [reply for reply in same_id if squeezed(reply.text) == squeezed(original)]
        for reply in (exact or same_id)[-1:]:
            reply.text, reply.streamed, reply.open = corrected.strip(), False, False
        if not same_id:
            self._early[event_id] = (squeezed(original), corrected.strip())

    def forget(self, event_id: int | None) -> None:
        """Removes everything written under that id."""
        self._replies = [reply for reply in self._replies if reply.event_id != event_id]
        self.lowest_id = min((reply.event_id for reply in self._replies if reply.event_id is not None), default=None)

    def text(self, *, unfinished: bool = False) -> str:
        """The answer: the distinct replies in their order, joined by a blank line; empty without any.

        What was written before a tool call stays: when nothing comes after the tool it is all
        there is. A stream that has not ended counts only if `unfinished`.
        """
        chosen: list[str] = []
        for reply in self._replies:
            text = reply.text.strip()
            if not text or text in chosen or (reply.open and not unfinished) or self._covered(reply):
                continue
            chosen.append(text)
        return "\n\n".join(chosen)

    def _append(self, reply: _Reply) -> None:
        self._size += len(reply.text)
        if len(self._replies) >= _MAX_REPLIES or self._size > _MAX_CHARACTERS:
            return
        self._replies.append(reply)
        if reply.event_id is not None:
            self.lowest_id = reply.event_id if self.lowest_id is None else min(self.lowest_id, reply.event_id)

    def _parts_of(self, event_id: int | None, text: str) -> _Reply | None:
        parts = [reply for reply in self._replies if reply.streamed and reply.event_id == event_id]
        exact = [reply for reply in parts if squeezed(reply.text) == squeezed(text)]
        return next(iter(exact or parts[-1:]), None)

    def _grown(self, event_id: int | None, text: str) -> bool:
        for reply in self._replies:
            if reply.event_id != event_id or event_id is None or not reply.text:
                continue
            if reply.text.startswith(text):
                return True
            if text.startswith(reply.text):
                reply.text = text
                return True
        return False

    def _corrected(self, event_id: int | None, text: str) -> str:
        early = self._early.get(event_id)
        return early[1] if early is not None and early[0] == squeezed(text) else text

    def _covered(self, reply: _Reply) -> bool:
        """Parts that came after their whole reply, or of which one whole reply holds several."""
        if not reply.streamed:
            return False
        wanted = squeezed(reply.text)
        return any(
            not other.streamed and other.event_id == reply.event_id and wanted in squeezed(other.text)
            for other in self._replies
        )
