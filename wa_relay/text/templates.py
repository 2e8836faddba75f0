"""Openings and template variables: placeholders filled in, and taken out cleanly where nothing is known."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wa_relay.text.plain import clean

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
LONGEST_VARIABLE = 250
"""Characters of a template variable (Twilio recommends fewer than 250)."""

_GAP = "\x00"


def placeholders(template: str) -> frozenset[str]:
    """Returns the names that a template asks for."""
    return frozenset(_PLACEHOLDER.findall(template))


def render(template: str, values: Mapping[str, object]) -> str:
    """Fills a template in. A placeholder without a value goes with the blank that set it off.

    Values are customers' words: braces in them are not filled in again.
    """
    filled = _PLACEHOLDER.sub(lambda found: _value(values, found.group(1)) or _GAP, template.replace(_GAP, ""))
    return _close_gaps(filled) if _GAP in filled else filled


def render_variable(template: str, values: Mapping[str, object]) -> str:
    """Fills in a template variable: one line, single blanks, 250 characters at most (errors 21656, 63013)."""
    line = " ".join(render(template, values).split())
    if len(line) <= LONGEST_VARIABLE:
        return line
    cut = line[:LONGEST_VARIABLE]
    head, blank, _ = cut.rpartition(" ")
    return head if blank and len(head) > LONGEST_VARIABLE // 2 else cut


def _value(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "sí" if value else "no"
    return clean(str(value)).replace(_GAP, "").strip()


def _close_gaps(text: str) -> str:
    """Takes the gaps out: `Hola {x}, …` is `Hola, …`, and `{x}, ¿cómo …` is `¿cómo …`."""
    text = re.sub(rf"(?m)^{_GAP}[,;:.!]*[ \t]*", "", text)
    text = re.sub(rf"[ \t]*{_GAP}(?=[,;:.!?)\n]|$)", "", text)
    return re.sub(rf"[ \t]*{_GAP}[ \t]*", " ", text)
