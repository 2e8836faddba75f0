"""Openings and template variables: fills placeholders in, and removes those without a value cleanly."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wa_relay.text.cleaning import clean, visible
from wa_relay.text.fixed_phrases import SPANISH
from wa_relay.text.graphemes import shorten

_PLACEHOLDER = re.compile(r"\{([^\W\d][\w.-]*)\}")
"""The author of an agent names a call's variables: `{dirección}` and `{fecha-cita}` are names too."""

LONGEST_VARIABLE = 250
"""Characters of a template variable (Twilio recommends fewer than 250)."""

_GAP = "\x00"


def placeholders(template: str) -> frozenset[str]:
    """Returns the names that a template asks for."""
    return frozenset(_PLACEHOLDER.findall(template))


def render(template: str, values: Mapping[str, object]) -> str:
    """Fills a template in. A placeholder without a value goes with the blank that set it off.

    Values come from customers: braces in them are not filled in again.
    """
    known = {name: value for name in placeholders(template) if (value := _value(values.get(name)))}
    # The gaps are closed before any value is in: only what was configured is searched for blanks and commas.
    gaps = _PLACEHOLDER.sub(
        lambda found: found.group() if found.group(1) in known else _GAP, template.replace(_GAP, "")
    )
    closed = _close_gaps(gaps) if _GAP in gaps else gaps
    return _PLACEHOLDER.sub(lambda found: known.get(found.group(1), ""), closed)


def render_variable(template: str, values: Mapping[str, object]) -> str:
    """Fills in a template variable: one line, single blanks, 250 characters at most (errors 21656, 63013)."""
    line = " ".join(render(template, values).split())
    if len(line) <= LONGEST_VARIABLE:
        return line
    cut = shorten(line, LONGEST_VARIABLE)
    head, blank, _ = cut.rpartition(" ")
    return head if blank and len(head) > LONGEST_VARIABLE // 2 else cut


def _value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return SPANISH.yes if value else SPANISH.no
    text = clean(str(value)).strip()
    return text if visible(text) else ""


_BRACKETED = re.compile(rf"""\(\s*{_GAP}\s*\)|\[\s*{_GAP}\s*\]|«\s*{_GAP}\s*»|“{_GAP}”|"{_GAP}"|([*_~]){_GAP}\1""")
_STEPS = (
    (re.compile(rf"(?m)^[ \t]*{_GAP}[ \t]*\n"), ""),  # alone on a line
    (re.compile(rf"(?m)(^[ \t]*|[¡¿])[ \t]*{_GAP}[ \t]*[,;:.!]*[ \t]*"), r"\1"),  # the first word
    (re.compile(rf"[ \t]*,?[ \t]*{_GAP}[ \t]*(?=[,;:.!?…)\]»”\n]|$)"), ""),  # before a stop: its comma goes too
    (re.compile(rf"[ \t]*{_GAP}[ \t]*"), " "),
)


def _close_gaps(text: str) -> str:
    """Removes the gaps: `Hola {x}, …` becomes `Hola, …`, and `{x}, ¿cómo …` becomes `¿cómo …`."""
    text = _BRACKETED.sub(_GAP, text)
    text = re.sub(rf"{_GAP}(?:[ \t]*{_GAP})+", _GAP, text)
    for pattern, instead in _STEPS:
        text = pattern.sub(instead, text)
    return text
