"""Keywords and phrases: whether a whole message is a keyword or one of the phrases that ask for no more messages.

Nothing is guessed: a message counts only if all of it is one of a list, once greetings and thanks are taken out.
"No alto" or "para el jueves" contain such words and ask for something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

from wa_relay.text.cleaning import keyword
from wa_relay.text.opt_out_phrases import COURTESY, ENGLISH, PORTUGUESE, SPANISH

LONGEST_REQUEST = 200
"""Characters beyond which a message is neither keyword nor phrase."""

_REPEATED = re.compile(r"([^\W\d_])\1+")
_PART = re.compile(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]")


@lru_cache(maxsize=64)
def request_form(text: str) -> str:
    """Returns what a message asks for, in a form to compare; "" if nothing is left of it.

    Case, accents, punctuation, emoji, repeated letters ("STOPPP") and courtesy words are ignored.
    """
    plain = _REPEATED.sub(r"\1", keyword(text))
    if _courtesy_words().isdisjoint(plain.split()):
        return plain
    return " ".join(_courtesies().sub(" ", f" {plain} ").split())


def request_forms(texts: Iterable[str]) -> frozenset[str]:
    """Returns the forms of several keywords. One without a letter is left out: it would match all such messages."""
    return frozenset(filter(None, map(request_form, texts)))


@cache
def opt_out_phrases() -> frozenset[str]:
    """Returns every built-in phrase in the form to compare."""
    templates = (*SPANISH, *ENGLISH, *PORTUGUESE)
    return request_forms(phrase for template in templates for phrase in expand(template))


def expand(template: str) -> Iterator[str]:
    """Yields the phrases of a template, innermost parts first."""
    found = _PART.search(template)
    if found is None:
        yield template
        return
    alternatives = found[1].split("|") if found[1] is not None else ["", *found[2].split("|")]
    for alternative in alternatives:
        yield from expand(template[: found.start()] + alternative + template[found.end() :])


@cache
def _courtesies() -> re.Pattern[str]:
    forms = (_REPEATED.sub(r"\1", keyword(courtesy)) for courtesy in COURTESY)
    return re.compile("(?<= )(?:" + "|".join(forms) + ")(?= )")


@cache
def _courtesy_words() -> frozenset[str]:
    """The last word of each courtesy: most messages have none, and need no search for the rest."""
    return frozenset(_REPEATED.sub(r"\1", keyword(courtesy)).split()[-1] for courtesy in COURTESY)
