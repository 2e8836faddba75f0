"""The read side: the outcome of the calls, read from the database beside its writer.

Every function takes a connection from `ledger.file.open_for_reading` and answers with frozen
values that know their JSON. `conversation` is one customer's thread, `statistics` the report,
`spans` the time it is about, `decisions` what waits for an operator.
"""

from wa_relay.reports.call_list import CallRow, calls_csv, list_calls
from wa_relay.reports.conversation import CallEntry, Conversation, MessageEntry, Overview, conversation
from wa_relay.reports.decisions import Standing, Undecided, standing, uncertain
from wa_relay.reports.figures import Failure, Figures, Group, Statistics, StoppedTemplate
from wa_relay.reports.spans import Span, SpanError, span, span_before
from wa_relay.reports.statistics import Grouping, stats
from wa_relay.reports.tally import REASONS
from wa_relay.reports.why import Decision, why

__all__ = [
    "REASONS",
    "CallEntry",
    "CallRow",
    "Conversation",
    "Decision",
    "Failure",
    "Figures",
    "Group",
    "Grouping",
    "MessageEntry",
    "Overview",
    "Span",
    "SpanError",
    "Standing",
    "Statistics",
    "StoppedTemplate",
    "Undecided",
    "calls_csv",
    "conversation",
    "list_calls",
    "span",
    "span_before",
    "standing",
    "stats",
    "uncertain",
    "why",
]
