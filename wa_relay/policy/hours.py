"""Quiet hours: when an opening may go out."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo

from wa_relay.model import Moment
from wa_relay.policy.rules import Rules


def after_quiet(moment: Moment, rules: Rules) -> Moment:
    """The first moment from `moment` on that is outside quiet hours, in the rules' timezone."""
    if rules.quiet is None:
        return moment
    start, end = rules.quiet
    if not _is_quiet(moment, rules.timezone, start, end):
        return moment
    local = datetime.fromtimestamp(moment, rules.timezone)
    day = local.date() if local.time() < end else local.date() + timedelta(days=1)
    opens = datetime.combine(day, end, tzinfo=rules.timezone)
    # In a change of clocks the same wall time comes twice, or never: the first that is ahead and not quiet again.
    ends = sorted(opens.replace(fold=fold).astimezone(UTC).timestamp() for fold in (0, 1))
    return next((one for one in ends if one >= moment and not _is_quiet(one, rules.timezone, start, end)), moment)


def _is_quiet(moment: Moment, timezone: tzinfo, start: time, end: time) -> bool:
    clock = datetime.fromtimestamp(moment, timezone).time()
    return start <= clock < end if start < end else clock >= start or clock < end
