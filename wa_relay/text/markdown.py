"""Turns agents' Markdown into WhatsApp's marks: `**x**` is `*x*`, a heading bold, a link its text and address.

The parser is CommonMark's (markdown-it); the text between its tokens stays unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from wa_relay.text.cleaning import clean
from wa_relay.text.voice_markup import without_voice_marks
from wa_relay.text.whatsapp_marks import (
    ADDRESS,
    Run,
    Style,
    has_address,
    outer_addresses,
    pieces_of,
    without_marks_at_addresses,
    write,
)

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

_SOMETHING = re.compile(
    r"[*_~`#\[\]|]|^[ \t]*(?:[-+*]|\d+[.)])[ \t]|^[ \t]*(?:-{3,}|={3,})[ \t]*$"
    r"|<[A-Za-z][^\s<>]*[:@]|  $|\\[!-/:-@\[-`{-~\n]",
    re.MULTILINE,
)
_BLANKS = re.compile(r"\n{3,}")
_ADDRESS = re.compile(ADDRESS)
_SCHEME = re.compile(r"(?<![^\W_])https?$", re.IGNORECASE)
_BOLD_BEFORE_ADDRESS = re.compile(r"(\*\*[^*\n]+[:.,;!?)]\*\*)(?=https?://)")
"""For CommonMark these stars close nothing: `**Ver:**https://x.co`."""

_STARS = re.compile(r"\*+")
LONGEST = 20_000
"""Characters beyond which a text stays unconverted: no agent writes that much on purpose."""


def to_whatsapp(markdown: str) -> str:
    """Turns Markdown into WhatsApp's marks; text without any comes through unchanged.

    Line breaks and code stay unchanged, addresses are not touched.
    """
    text = _BOLD_BEFORE_ADDRESS.sub(r"\1 ", without_voice_marks(clean(markdown).strip()))
    if len(text) > LONGEST or not _SOMETHING.search(text):
        return text
    return _BLANKS.sub("\n\n", _blocks(_parser().parse(text), text.split("\n"))).strip()


@cache
def _parser() -> MarkdownIt:
    # A slow import, which only an answer with marks needs.
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    # Four blanks of indentation are a habit of writers, not code; HTML is text to a customer.
    parser.disable(["code", "html_block", "html_inline", "entity", "reference"])
    parser.inline.ruler.before("emphasis", "address", _bare_address)
    parser.inline.ruler.before("emphasis", "within_word", _within_word)
    # An address is sent as written: percent signs would make it long and hard to read.
    parser.normalizeLink = parser.normalizeLinkText = str  # type: ignore[assignment, method-assign]
    return parser


def _bare_address(state: StateInline, silent: bool) -> bool:
    """Keeps a bare `https://…` unchanged: a `*` or `_` in it is not a mark."""
    if not state.src.startswith("://", state.pos) or not _SCHEME.search(state.src[max(0, state.pos - 6) : state.pos]):
        return False
    found = _ADDRESS.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.pending += found.group()
    state.pos = found.end()
    return True


def _within_word(state: StateInline, silent: bool) -> bool:
    """Leaves stars inside a word (`2*3`) as they are: WhatsApp shows no mark there."""
    found = _STARS.match(state.src, state.pos, state.posMax)
    if found is None or not state.pos:
        return False
    before, after = state.src[state.pos - 1], state.src[found.end() : found.end() + 1]
    if not (before.isalnum() and after.isalnum()):
        return False
    if not silent:
        state.pending += found.group()
    state.pos = found.end()
    return True


def _blocks(tokens: Sequence[Token], source: Sequence[str]) -> str:
    """The text of a run of block tokens, with the blank lines that stand between them in the source."""
    page = _Page(source)
    for token in tokens:
        handler = _HANDLERS.get(token.type)
        if handler is not None:
            handler(page, token)
    return "\n".join(page.lines)


class _Page:
    """The lines written so far, and the place of the next one: its list, quote, heading or table."""

    def __init__(self, source: Sequence[str]) -> None:
        self.lines: list[str] = []
        self._source = source
        self._lists: list[int | None] = []
        self._bullet = ""
        self._cells: list[str] | None = None
        self._heading = self._quoted = False

    def list_opens(self, token: Token) -> None:
        # -1: numbered, and no number yet.
        self._lists.append(-1 if token.type.startswith("ordered") else None)

    def list_closes(self, _token: Token) -> None:
        self._lists.pop()

    def item_opens(self, token: Token) -> None:
        last = self._lists[-1]
        bullet = "- "
        if last is not None:
            # Numbers stay as written; an agent that writes 1. before every item wants them counted.
            self._lists[-1] = written if (written := int(token.info)) > last else last + 1
            bullet = f"{self._lists[-1]}. "
        self._bullet = "  " * (len(self._lists) - 1) + bullet

    def quote(self, token: Token) -> None:
        self._quoted = token.nesting > 0

    def heading(self, token: Token) -> None:
        self._heading = token.nesting > 0

    def row_opens(self, token: Token) -> None:
        self._cells, self._row = [], token

    def row_closes(self, _token: Token) -> None:
        self._write(self._row, " | ".join(self._cells or ()))
        self._cells = None

    def code(self, token: Token) -> None:
        code = token.content.rstrip()
        first, last = outer_addresses(code)
        apart = "\n" if first or last < len(code) else ""
        self._write(token, f"```{apart}{code}{apart}```" if code.strip() else "")

    def _write(self, token: Token, text: str) -> None:
        """Adds lines, after a blank one where the source has one there."""
        start = token.map[0] if token.map else 0
        if self.lines and start and not self._source[start - 1].strip("> \t"):
            self.lines.append("")
        self.lines.append(text)

    def inline(self, token: Token) -> None:
        runs = _inline(token.children or [])
        if self._cells is not None:
            self._cells.append(write(runs))
            return
        line = self._bullet + write(_bold(runs) if self._heading else runs)
        prefix = "> " if self._quoted else ""
        self._write(token, "\n".join(prefix + part for part in line.split("\n")))
        self._bullet = ""


_HANDLERS: Mapping[str, Callable[[_Page, Token], None]] = {
    "bullet_list_open": _Page.list_opens,
    "ordered_list_open": _Page.list_opens,
    "bullet_list_close": _Page.list_closes,
    "ordered_list_close": _Page.list_closes,
    "list_item_open": _Page.item_opens,
    "blockquote_open": _Page.quote,
    "blockquote_close": _Page.quote,
    "heading_open": _Page.heading,
    "heading_close": _Page.heading,
    "tr_open": _Page.row_opens,
    "tr_close": _Page.row_closes,
    "fence": _Page.code,
    "code_block": _Page.code,
    "inline": _Page.inline,
}


def _bold(runs: Iterable[Run]) -> list[Run]:
    """A heading's runs. Other bold marks in it would be visible."""
    pieces = [piece for run in runs for piece in pieces_of(run)]
    return [
        replace(piece, text=piece.text if piece.address else piece.text.replace("*", ""), style=_with_bold(piece.style))
        for piece in pieces
    ]


def _with_bold(style: Style) -> Style:
    return ("*", *(mark for mark in style if mark != "*"))


_OPEN_CLOSE = {
    "strong_open": "*",
    "strong_close": "*",
    "em_open": "_",
    "em_close": "_",
    "s_open": "~",
    "s_close": "~",
}


class _Inline:
    """Collects the runs of one block's inline tokens."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._marks: list[str] = []
        self._links: list[tuple[int, str]] = []

    def take(self, token: Token) -> None:
        """Takes in the next token."""
        if token.type == "text":
            self._add(token.content)
        elif token.type in _OPEN_CLOSE:
            self._mark(_OPEN_CLOSE[token.type], token.nesting)
        elif token.type in ("softbreak", "hardbreak"):
            self._add("\n")
        elif token.type == "code_inline":
            # A backtick that touches an address becomes part of it.
            code = token.content
            self._add(without_marks_at_addresses(code) if has_address(code) else f"`{code}`")
        elif token.type == "image":
            source = token.attrGet("src")
            self._add(str(source or token.content), address=bool(source))
        elif token.type == "link_open":
            self._links.append((len(self.runs), str(token.attrGet("href") or "")))
        elif token.type == "link_close" and self._links:
            self._close_link(*self._links.pop())

    def _add(self, text: str, *, address: bool = False) -> None:
        # A repeated mark would be visible: `_*a*_` is italic only once.
        self.runs.append(Run(text, tuple(dict.fromkeys(self._marks)), address))

    def _mark(self, mark: str, nesting: int) -> None:
        if nesting > 0:
            self._marks.append(mark)
        elif mark in self._marks:
            del self._marks[len(self._marks) - 1 - self._marks[::-1].index(mark)]

    def _close_link(self, start: int, address: str) -> None:
        shown = address.removeprefix("mailto:")
        text = "".join(run.text for run in self.runs[start:])
        if text in ("", address, shown):
            del self.runs[start:]
        else:
            self._add(": ")
        self._add(shown, address=True)


def _inline(tokens: Sequence[Token]) -> list[Run]:
    inline = _Inline()
    for token in tokens:
        inline.take(token)
    return inline.runs
