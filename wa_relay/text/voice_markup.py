"""Removes what an agent wrote for a voice: audio tags (`[laughs]`), speech and HTML tags. Pure and linear."""

from __future__ import annotations

import html
import re
import unicodedata

from wa_relay.text.voice_tags import (
    BREAKING_TAGS,
    CUES,
    HIDDEN_TAGS,
    HTML_TAGS,
    QUALIFIERS,
    SPEECH_TAGS,
    TONES,
)

_LONGEST_CUE = 60
_MOST_WORDS = 4
_GAP = "\x00"
"""Marks a removed tag until the blanks around it are adjusted. No cleaned text contains it."""

_MARKUP = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)"
    r"|(?P<comment><!--.{0,300}?-->|<\?[^<>]*\?>)"
    r"|<(?P<closing>/?)(?P<name>[A-Za-z][\w-]*(?::[A-Za-z][\w-]*)?)(?P<rest>(?:\s[^<>]*)?/?)>"
    rf"|\[(?P<cue>[^\[\]\n]{{1,{_LONGEST_CUE}}})\](?!\()",
    re.DOTALL,
)
_HREF = re.compile(r"""\bhref\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_EMPTY_MARKS = re.compile(rf"(\*\*|__|~~|\*|_){_GAP}+\1")
_GAP_LINE = re.compile(rf"(?m)^[ \t]*{_GAP}[ \t{_GAP}]*(?:\n|\Z)")
_GAPS_FIRST = re.compile(rf"(?m)^([ \t]*){_GAP}[ \t{_GAP}]*")
_GAPS_LAST = re.compile(rf"(?m)(?<![ \t])[ \t]*{_GAP}[ \t{_GAP}]*(?=$|[,.;:!?…)])")
_GAPS = re.compile(rf"(?<![ \t])([ \t]*){_GAP}([ \t{_GAP}]*)")
_BLANK_LINES = re.compile(r"\n{3,}")


def without_voice_marks(text: str) -> str:
    """Returns the text without audio, speech and HTML tags; what stands between two tags stays.

    Code stays unchanged. A link of HTML becomes one of Markdown.
    """
    if "[" not in text and "<" not in text:
        return text
    shown = _Reader().read(text)
    if shown == text:
        return text
    return _BLANK_LINES.sub("\n\n", _close_gaps(shown)).strip()


class _Reader:
    """Reads a text once, and remembers the open tags that hide or link their content."""

    def __init__(self) -> None:
        self._hidden = ""
        self._links: list[str] = []

    def read(self, text: str) -> str:
        """The text with a gap for each tag."""
        out: list[str] = []
        at = 0
        for found in _MARKUP.finditer(text):
            if not self._hidden:
                out.append(text[at : found.start()])
            out.append(self._shown(found))
            at = found.end()
        return "".join(out) + ("" if self._hidden else text[at:])

    def _shown(self, found: re.Match[str]) -> str:
        name = (found["name"] or "").lower()
        if self._hidden:
            if found["closing"] and name == self._hidden:
                self._hidden = ""
            return ""
        if found["comment"]:
            return _GAP
        if found["cue"]:
            return _GAP if _is_cue(found["cue"]) else found.group()
        if found["code"] or (name not in HTML_TAGS and name not in SPEECH_TAGS):
            return found.group()
        return self._tag(name, found)

    def _tag(self, name: str, found: re.Match[str]) -> str:
        opening = not found["closing"] and not found["rest"].endswith("/")
        if name in HIDDEN_TAGS and opening:
            self._hidden = name
        if name == "a":
            return self._link(found, opening=opening)
        if name == "li" and opening:
            return "\n- "
        return "\n" if name in BREAKING_TAGS else _GAP

    def _link(self, found: re.Match[str], *, opening: bool) -> str:
        if opening:
            address = _HREF.search(found["rest"])
            self._links.append(html.unescape(address[1]) if address else "")
            return "[" if address else _GAP
        address_before = self._links.pop() if self._links else ""
        return f"]({address_before})" if address_before else _GAP


def _is_cue(content: str) -> bool:
    words = "".join(mark if mark.isalpha() else " " for mark in unicodedata.normalize("NFC", content)).lower().split()
    if not 0 < len(words) <= _MOST_WORDS or any(mark.isdigit() for mark in content):
        return False
    if len(words) > 1 and (words[0] in TONES or words[-1] in TONES):
        return True
    return any(word in CUES for word in words) and all(word in CUES or word in QUALIFIERS for word in words)


def _close_gaps(text: str) -> str:
    text = _EMPTY_MARKS.sub(_GAP, text)
    text = _GAP_LINE.sub("", text)
    text = _GAPS_FIRST.sub(r"\1", text)
    text = _GAPS_LAST.sub("", text)
    return _GAPS.sub(lambda gap: " " if gap[1] or gap[2].strip(_GAP) else "", text)
