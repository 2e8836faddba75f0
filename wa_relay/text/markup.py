"""What agents write in Markdown, in WhatsApp's marks: `**x**` is `*x*`, a heading bold, a link its words and address.

The parser is CommonMark's (markdown-it); the text between its tokens stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from wa_relay.text.plain import clean

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
_ADDRESS = re.compile(r"://[^\s<>\[\]`\\|]*[^\s<>\[\]`\\|*_~.,;:!?'\")]")
_SCHEME = re.compile(r"(?<![^\W_])https?$", re.IGNORECASE)
_STARS = re.compile(r"\*+")
LONGEST = 20_000
"""Characters beyond which a text is taken as it is: no agent writes so much on purpose."""


def to_whatsapp(markdown: str) -> str:
    """Turns Markdown into WhatsApp's marks; text without any comes through unchanged.

    Line breaks stay where they are, code stays as it is, addresses are not touched.
    """
    text = clean(markdown).strip()
    if len(text) > LONGEST or not _SOMETHING.search(text):
        return text
    return _BLANKS.sub("\n\n", _blocks(_parser().parse(text), text.split("\n"))).strip()


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # heavy: only an answer with marks needs it

    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    # Four blanks of indentation are a habit of writers, not code; HTML is text to a customer.
    parser.disable(["code", "html_block", "html_inline", "entity", "reference"])
    parser.inline.ruler.before("emphasis", "address", _bare_address)
    parser.inline.ruler.before("emphasis", "within_word", _within_word)
    # An address is sent as it was written: percent signs would make it long and hard to read.
    parser.normalizeLink = parser.normalizeLinkText = str  # type: ignore[assignment, method-assign]
    return parser


def _bare_address(state: StateInline, silent: bool) -> bool:
    """Takes a bare `https://…` as it is: a `*` or `_` in it is no mark."""
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
    """The lines written so far, and where the next one stands: in which list, quote, heading or table."""

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
            # Numbers stay as they were written; who writes 1. before every item wants them counted.
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
        self._write(token, f"```{token.content.rstrip()}```" if token.content.strip() else "")

    def _write(self, token: Token, text: str) -> None:
        """Adds lines, after a blank one where the source has one there."""
        start = token.map[0] if token.map else 0
        if self.lines and start and not self._source[start - 1].strip("> \t"):
            self.lines.append("")
        self.lines.append(text)

    def inline(self, token: Token) -> None:
        words = _inline(token.children or [])
        if self._cells is not None:
            self._cells.append(words)
            return
        line = self._bullet + (_bold(words) if self._heading else words)
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


def _bold(line: str) -> str:
    inner = line.replace("*", "")
    return f"*{inner}*" if inner.strip() else ""


_OPEN_CLOSE = {
    "strong_open": "*",
    "strong_close": "*",
    "em_open": "_",
    "em_close": "_",
    "s_open": "~",
    "s_close": "~",
}


def _inline(tokens: Sequence[Token]) -> str:
    out: list[str] = []
    links: list[tuple[int, str]] = []
    marks: list[str] = []
    for token in tokens:
        if token.type == "text":
            out.append(token.content)
        elif token.type in _OPEN_CLOSE:
            mark = _OPEN_CLOSE[token.type]
            if token.nesting < 0:
                marks.reverse()
                marks.remove(mark)
                marks.reverse()
            # The same mark twice would show: `_*a*_` is italic once.
            if mark not in marks:
                out.append(mark)
            if token.nesting > 0:
                marks.append(mark)
        elif token.type in ("softbreak", "hardbreak"):
            # WhatsApp's marks hold within one line.
            shown = list(dict.fromkeys(marks))
            out += [*reversed(shown), "\n", *shown]
        elif token.type == "code_inline":
            out.append(f"`{token.content}`")
        elif token.type == "image":
            out.append(str(token.attrGet("src") or token.content))
        elif token.type == "link_open":
            links.append((len(out), str(token.attrGet("href") or "")))
        elif token.type == "link_close" and links:
            start, address = links.pop()
            words = "".join(out[start:])
            out[start:] = [
                address.removeprefix("mailto:")
                if words in ("", address, address.removeprefix("mailto:"))
                else f"{words}: {address}"
            ]
    return "".join(out)
