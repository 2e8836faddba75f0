"""The funnel: the steps from a call to a customer's reply, and how many calls get that far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wa_relay.reports.figures import Figures

StepName = Literal["calls", "sent", "delivered", "read", "replied"]
Whole = Literal["calls", "sent"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `share` is its part of the calls, 0 to 1.

    `part` is its part of `whole`, the step that it is compared with; None where there is nothing to compare with.
    """

    name: StepName
    count: int
    share: float
    whole: Whole | None = None
    part: float | None = None

    @property
    def series(self) -> int:
        """The colour of its bar: replies stand out."""
        return 3 if self.name == "replied" else 2


def funnel_of(figures: Figures) -> list[Step]:
    """Returns the steps in their order. Openings are compared with calls, everything after them with openings."""
    openings, calls = figures.openings, figures.calls
    sizes: dict[Whole, int] = {"calls": calls, "sent": openings.sent}
    counts: tuple[tuple[StepName, int, Whole], ...] = (
        ("sent", openings.sent, "calls"),
        ("delivered", openings.delivered, "sent"),
        ("read", openings.read, "sent"),
        ("replied", figures.replied, "sent"),
    )
    steps = [Step("calls", calls, 1.0 if calls else 0.0)]
    for name, count, whole in counts:
        share = count / calls if calls else 0.0
        compared = sizes[whole] > 0
        steps.append(Step(name, count, share, whole if compared else None, count / sizes[whole] if compared else None))
    return steps
