"""Texts for customers: templates filled in, Markdown turned into WhatsApp's marks, long answers cut.

Pure, and linear in the length of what it is given: customers and language models write it.
"""

from wa_relay.text.markup import to_whatsapp
from wa_relay.text.plain import clean, keyword, visible
from wa_relay.text.splitting import split
from wa_relay.text.templates import placeholders, render, render_variable

__all__ = ["clean", "keyword", "placeholders", "render", "render_variable", "split", "to_whatsapp", "visible"]
