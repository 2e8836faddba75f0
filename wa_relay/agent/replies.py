"""What the agent said in one turn, put together from parts, whole replies and corrections.

Pure. The service sends a reply as parts, as a whole, or both, in any order; around tools it sends several.
"""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay.agent.greeting import squeezed

_MAX_SAID = 200
_MAX_CHARACTERS = 200_000  # a service gone wild must not fill the memory before the deadline


@dataclass(slots=True)
class _Said:
    event_id: int | None
    text: str
    streamed: bool  # known from its parts only
    open: bool  # its parts still come


class Replies:
    """Collects one turn's replies. A reply with an id that was heard before is never doubled."""

    __slots__ = ("_early", "_said", "_size", "empty_ids", "lowest_id")

    def __init__(self) -> None:
        self._said: list[_Said] = []
        self._size = 0
        self._early: dict[int | None, tuple[str, str]] = {}
        self.empty_ids: set[int | None] = set()
        self.lowest_id: int | None = None

    @property
    def streaming(self) -> bool:
        """True while the parts of a reply still come."""
        return any(said.open for said in self._said)

    def start(self, event_id: int | None) -> None:
        """A stream of parts begins."""
        self.stop(event_id)
        self._append(_Said(event_id, "", streamed=True, open=True))

    def delta(self, event_id: int | None, text: str) -> None:
        """The next piece of a stream; one whose start got lost begins here."""
        self._size += len(text)
        if self._size > _MAX_CHARACTERS:
            return
        said = next((said for said in self._said if said.open and said.event_id == event_id), None)
        if said is None:
            said = _Said(event_id, "", streamed=True, open=True)
            self._append(said)
        said.text += text

    def stop(self, event_id: int | None) -> str:
        """The stream ends; returns what it said, empty when there was none."""
        ended = [said for said in self._said if said.open and said.event_id == event_id]
        for said in ended:
            said.open = False
            if not said.text.strip():
                self.empty_ids.add(event_id)
        return ended[-1].text.strip() if ended else ""

    def whole(self, event_id: int | None, text: str) -> None:
        """A whole reply: takes the place of its own parts, else stands beside the earlier ones."""
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
            self._append(_Said(event_id, text, streamed=False, open=False))

    def correct(self, event_id: int | None, original: str, corrected: str) -> None:
        """Replaces what was said under that id; kept for later when it comes before the reply."""
        same_id = [said for said in self._said if said.event_id == event_id]
        exact = [said for said in same_id if squeezed(said.text) == squeezed(original)]
        for said in (exact or same_id)[-1:]:
            said.text, said.streamed, said.open = corrected.strip(), False, False
        if not same_id:
            self._early[event_id] = (squeezed(original), corrected.strip())

    def forget(self, event_id: int | None) -> None:
        """Takes back everything said under that id."""
        self._said = [said for said in self._said if said.event_id != event_id]
        self.lowest_id = min((said.event_id for said in self._said if said.event_id is not None), default=None)

    def text(self, *, unfinished: bool = False) -> str:
        """The answer: the distinct replies in their order, parted by a blank line; empty when there is none.

        What was said before a tool call stays: when nothing comes after the tool it is all
        there is. A stream that has not ended counts only if `unfinished`.
        """
        chosen: list[str] = []
        for said in self._said:
            text = said.text.strip()
            if not text or text in chosen or (said.open and not unfinished) or self._covered(said):
                continue
            chosen.append(text)
        return "\n\n".join(chosen)

    def _append(self, said: _Said) -> None:
        self._size += len(said.text)
        if len(self._said) >= _MAX_SAID or self._size > _MAX_CHARACTERS:
            return
        self._said.append(said)
        if said.event_id is not None:
            self.lowest_id = said.event_id if self.lowest_id is None else min(self.lowest_id, said.event_id)

    def _parts_of(self, event_id: int | None, text: str) -> _Said | None:
        parts = [said for said in self._said if said.streamed and said.event_id == event_id]
        exact = [said for said in parts if squeezed(said.text) == squeezed(text)]
        return next(iter(exact or parts[-1:]), None)

    def _grown(self, event_id: int | None, text: str) -> bool:
        for said in self._said:
            if said.event_id != event_id or event_id is None or not said.text:
                continue
            if said.text.startswith(text):
                return True
            if text.startswith(said.text):
                said.text = text
                return True
        return False

    def _corrected(self, event_id: int | None, text: str) -> str:
        early = self._early.get(event_id)
        return early[1] if early is not None and early[0] == squeezed(text) else text

    def _covered(self, said: _Said) -> bool:
        """Parts that came after their whole reply, or of which one whole reply holds several."""
        if not said.streamed:
            return False
        wanted = squeezed(said.text)
        return any(
            not other.streamed and other.event_id == said.event_id and wanted in squeezed(other.text)
            for other in self._said
        )
