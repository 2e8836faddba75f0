"""One sweep of a list of Twilio's that a test has prepared."""

from __future__ import annotations

from wa_relay.channel.attachments import ListedFile
from wa_relay.channel.inbound import listed_inbound
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.bell import Wakers
from wa_relay.loops.health_signs import Signs
from wa_relay.loops.reconcile import Reconciler
from wa_relay.model import Listed, Moment, Page
from wa_relay.policy import Rules


class InboundList:
    """Twilio's list, asked for nothing but pages of inbound messages."""

    senders: tuple[str | None, ...] = (None,)

    async def inbound_page(self, following: str | None, sender: str | None, /) -> Page:
        """One page: `following` is the continuation that the page before it named."""
        raise AssertionError(f"a test's list says what its pages are: {following}, {sender}")

    async def files_of(self, sid: str, /) -> tuple[ListedFile, ...]:
        """No message here has a file."""
        raise AssertionError(f"nothing has a file: {sid}")

    async def find(self, to: str, since: float, sender: str | None, /) -> tuple[Listed, ...]:
        """Nothing: no send is looked up here."""
        raise AssertionError(f"nothing is looked up: {to}, {since}, {sender}")

    async def fetch(self, sid: str) -> Listed | None:
        """Nothing: no receipt is asked for here."""
        raise AssertionError(f"no receipt is asked for: {sid}")


async def sweep(ledger: LedgerThread, pages: InboundList, rules: Rules, now: Moment) -> None:
    """Stores the listed messages in the ledger."""
    await Reconciler(
        ledger,
        pages,
        lambda: now,
        rules,
        Wakers(),
        Signs(),
        read_inbound=listed_inbound,
        on_adopted=lambda: None,
    ).sweep()
