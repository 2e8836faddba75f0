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
    from markdown_it.token import Token

_SOMETHING = re.compile(r"[*_~`#\[\]|]|^\s*([-+*]|\d+[.)])\s|^\s*(-{3,}|={3,})\s*$", re.MULTILINE)
_BLANKS = re.compile(r"\n{3,}")
LONGEST = 100_000
"""Characters beyond which a text is taken as it is: no agent writes so much on purpose."""


def to_whatsapp(markdown: str) -> str:
    """Turns Markdown into WhatsApp's marks; text without any comes through unchanged.

    Line breaks stay where they are, code stays as it is, addresses are not touched.
    """
    text = clean(markdown).strip()
    if not _SOMETHING.search(text) or len(text) > LONGEST:
        return text
    return _BLANKS.sub("\n\n", _blocks(_parser().parse(text))).strip()


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # heavy: only an answer with marks needs it

    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    # Four blanks of indentation are a habit of writers, not code; HTML is text to a customer.
    parser.disable(["code", "html_block", "html_inline", "entity", "reference"])
    return parser


def _blocks(tokens: Sequence[Token]) -> str:
    """The text of a run of block tokens."""
    page = _Page()
    for token in tokens:
        handler = _HANDLERS.get(token.type)
        if handler is not None:
            handler(page, token)
    return "\n".join(page.lines)


class _Page:
    """The lines written so far, and where the next one stands: in which list, quote, heading or table."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._lists: list[int | None] = []
        self._bullet = ""
        self._cells: list[str] | None = None
        self._heading = self._quoted = False

    def list_opens(self, token: Token) -> None:
        self._lists.append(int(token.attrGet("start") or 1) if token.type.startswith("ordered") else None)

    def list_closes(self, _token: Token) -> None:
        self._lists.pop()
        if not self._lists:
            self.lines.append("")

    def item_opens(self, _token: Token) -> None:
        number = self._lists[-1]
        self._bullet = "  " * (len(self._lists) - 1) + ("- " if number is None else f"{number}. ")
        self._lists[-1] = None if number is None else number + 1

    def quote(self, token: Token) -> None:
        self._quoted = token.nesting > 0

    def heading(self, token: Token) -> None:
        self._heading = token.nesting > 0

    def row_opens(self, _token: Token) -> None:
        self._cells = []

    def row_closes(self, _token: Token) -> None:
        self.lines.append(" | ".join(self._cells or ()))
        self._cells = None

    def table_closes(self, _token: Token) -> None:
        self.lines.append("")

    def code(self, token: Token) -> None:
        self.lines += [f"```{token.content.rstrip()}```", ""]

    def inline(self, token: Token) -> None:
        words = _inline(token.children or [])
        if self._cells is not None:
            self._cells.append(words)
            return
        line = self._bullet + (_bold(words) if self._heading else words)
        prefix = "> " if self._quoted else ""
        self.lines.append("\n".join(prefix + part for part in line.split("\n")))
        self._bullet = ""
        if not self._lists:
            self.lines.append("")


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
    "table_close": _Page.table_closes,
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
    for token in tokens:
        if token.type == "text":
            out.append(token.content)
        elif token.type in _OPEN_CLOSE:
            out.append(_OPEN_CLOSE[token.type])
        elif token.type in ("softbreak", "hardbreak"):
            out.append("\n")
        elif token.type == "code_inline":
            out.append(f"`{token.content}`")
        elif token.type == "image":
            out.append(str(token.attrGet("src") or token.content))
        elif token.type == "link_open":
            links.append((len(out), str(token.attrGet("href") or "")))
        elif token.type == "link_close" and links:
            start, address = links.pop()
            words = "".join(out[start:])
            out[start:] = [address if words in ("", address) else f"{words}: {address}"]
    return "".join(out)
