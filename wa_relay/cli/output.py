"""Outputs of commands: a console for people, UTF-8 for programs, and files that are replaced in one step."""

from __future__ import annotations

import codecs
import os
import select
import sys
import tempfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn, TextIO

import typer
from rich.console import Console

from wa_relay.basics import RelayError
from wa_relay.text.escaping import printable

_PLAIN = "wa_relay.plain"
_LOOKALIKES = str.maketrans("¿¡“”„«»‘’–—‑•·", '?!"""""\'\'---**')


class ResultConsole(Console):
    """A console that prints texts unchanged. A reader that closes the pipe ends the command without an error."""

    def __init__(self, stream: TextIO, *, no_color: bool, width: int | None = None) -> None:
        # Without a colour system bold and dim go too: users who turn colours off want no escape codes in files either.
        super().__init__(
            file=stream,
            no_color=no_color or None,
            color_system=None if no_color or os.environ.get("NO_COLOR") else "auto",
            force_terminal=None if width is None else False,
            width=width,
            markup=False,
            highlight=False,
            emoji=False,
        )

    def on_broken_pipe(self) -> None:
        """Ends the command with 0."""
        leave()


@dataclass(frozen=True, slots=True)
class Paper:
    """The output of a command. `ascii` is true where nothing else can be shown."""

    console: Console
    encoding: str
    ascii: bool

    def clean(self, text: str) -> str:
        """Makes a customer's text harmless, and replaces what this output can't show."""
        shown = printable(text)
        if not self.ascii:
            return shown
        return shown.encode(self.encoding, errors=_PLAIN).decode(self.encoding)

    def mark(self, mark: str, plain: str) -> str:
        """One of our own signs, or its replacement in ASCII."""
        return plain if self.ascii else mark


def results(*, no_color: bool) -> Paper:
    """Standard output for people: colours on a terminal only, and only signs that it can show."""
    stream = sys.stdout
    shows_all = _is_unicode(stream.encoding) and not _plain_locale(os.environ)
    encoding = stream.encoding if shows_all or not _is_unicode(stream.encoding) else "ascii"
    if not shows_all and isinstance(stream, TextIOWrapper):
        stream.reconfigure(encoding=encoding, errors=_PLAIN)
    return Paper(ResultConsole(stream, no_color=no_color), encoding or "ascii", not shows_all)


def on_file(stream: TextIO, *, width: int) -> Paper:
    """Paper that becomes a file: no colours, all signs."""
    return Paper(ResultConsole(stream, no_color=True, width=width), "utf-8", False)


def write_document(text: str) -> None:
    """Writes a text for programs to standard output, in UTF-8 whatever the locale is."""
    stream = sys.stdout
    try:
        stream.flush()
        stream.buffer.write(text.encode("utf-8", errors="backslashreplace"))
        stream.buffer.flush()
    except BrokenPipeError:
        leave()


def write_file(path: Path, text: str) -> None:
    """Writes a file in UTF-8 in one step: readers see either the old one or the new one.

    Raises `RelayError` when it can't be written.
    """
    body = text.encode("utf-8", errors="backslashreplace")
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device takes what it is given: it can't be replaced.
            path.write_bytes(body)
        else:
            _replace(path.resolve(), body)
    except OSError as error:
        raise RelayError(f"{path} can't be written: {error.strerror or error}.") from error


def leave_if_unread() -> None:
    """Ends the command if standard output is a pipe that nobody reads: `history --follow | head` has nothing to print.

    A write would show the same, and a quiet customer may write nothing for days.
    """
    looked = select.poll()
    looked.register(sys.stdout.fileno(), 0)
    if any(events & (select.POLLERR | select.POLLHUP) for _, events in looked.poll(0)):
        leave()


def leave() -> NoReturn:
    """Ends the command quietly after the reader closed the pipe."""
    # Python would still flush its buffer to the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(0)


def _replace(path: Path, body: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            os.fchmod(file.fileno(), _mode(path))
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _mode(path: Path) -> int:
    """Returns the file's present mode, or that of a new file."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _is_unicode(encoding: str | None) -> bool:
    return (encoding or "").lower().startswith("utf")


def _plain_locale(env: Mapping[str, str]) -> bool:
    """True for a C locale that was set on purpose: Python writes UTF-8 there, which the terminal may not show."""
    if env.get("PYTHONIOENCODING") or env.get("PYTHONUTF8") == "1":
        return False
    category = env.get("LC_CTYPE", "")
    if category == "C.UTF-8" and env.get("LANG") in {"C", "POSIX"}:
        # Python itself sets this one at its start, in place of C (PEP 538).
        category = ""
    return (env.get("LC_ALL") or category or env.get("LANG")) in {"C", "POSIX"}


def _describe_error(error: UnicodeError) -> tuple[str, int]:
    """Replaces what an encoding can't show: by the letter without its accent, a look-alike, or a name."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_plain(character) for character in lost), error.end


def _plain(character: str) -> str:
    alike = character.translate(_LOOKALIKES)
    if alike.isascii():
        return alike
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", character) if letter.isascii())
    if letters:
        return letters
    if unicodedata.combining(character) or character in "\u200d\ufe0e\ufe0f":
        return ""
    return f":{unicodedata.name(character, 'sign').lower().replace(' ', '_')}:"


codecs.register_error(_PLAIN, _describe_error)
