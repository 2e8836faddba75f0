"""Makes the background loops of a daemon from its storage and its service clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wa_relay.channel.inbound import listed_inbound
from wa_relay.config import Config
from wa_relay.loops.alarms import Alarms, database_folder
from wa_relay.loops.alert_delivery import AlertDelivery, alert_delivery_of
from wa_relay.loops.answering import TurnWorker
from wa_relay.loops.bell import Wakers
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.loops.call_facts import CallFacts
from wa_relay.loops.forgetting import Copies, Forgetter
from wa_relay.loops.handovers import HandoverKeeper
from wa_relay.loops.health_signs import Signs
from wa_relay.loops.indexing import Indexer
from wa_relay.loops.media import MediaWorker
from wa_relay.loops.open_database import Storage
from wa_relay.loops.polling import Polling
from wa_relay.loops.rates import Rates
from wa_relay.loops.reconcile import Reconciler
from wa_relay.loops.sending import SendWorker
from wa_relay.loops.service_clients import ServiceClients
from wa_relay.loops.typing import TypingIndicator
from wa_relay.model import Moment
from wa_relay.policy import Rules


@dataclass(frozen=True, slots=True)
class Common:
    """The objects that every part may use."""

    config: Config
    rules: Rules
    clock: Callable[[], Moment]
    wakers: Wakers
    signs: Signs


@dataclass(frozen=True, slots=True)
class Loops:
    """The background loops and their state."""

    sending: SendWorker
    answering: TurnWorker
    media: MediaWorker
    announcements: CallAnnouncements
    polling: Polling
    call_facts: CallFacts
    reconciler: Reconciler
    alert_delivery: AlertDelivery | None
    handovers: HandoverKeeper
    indexer: Indexer
    forgetting: Forgetter


def make_loops(common: Common, storage: Storage, clients: ServiceClients, rates: Rates) -> Loops:
    """Makes the loops; none of them runs yet."""
    config, rules, clock, wakers = common.config, common.rules, common.clock, common.wakers
    ledger = storage.ledger
    sending = SendWorker(ledger, clients.twilio, wakers, clock, rates=rates)
    announcements = CallAnnouncements(clock, wakers)
    polling = Polling(
        ledger,
        clients.elevenlabs,
        clock,
        wakers.poll,
        announcements,
        agent_ids=config.poll.agent_ids,
        horizon=rules.horizon,
    )
    call_facts = CallFacts(ledger, clients.elevenlabs, clock, wakers.follow_up, announcements)
    answering = TurnWorker(
        ledger,
        clients.agent,
        clock,
        rules,
        storage.threads,
        wakers,
        fetch_details=call_facts.fetch_details,
        typing=TypingIndicator(storage.threads, clients.twilio.show_typing) if rules.typing else None,
    )
    reconciler = Reconciler(
        ledger,
        clients.twilio,
        clock,
        rules,
        wakers,
        common.signs,
        read_inbound=listed_inbound,
        # A send that Twilio turns out to have accepted was not a failure of Twilio.
        on_adopted=sending.circuit.succeeded,
    )
    language = config.media.language
    files = MediaWorker(
        ledger, clients.media, clients.elevenlabs, storage.files, wakers, clock, rules, language=language
    )
    handovers = HandoverKeeper(ledger, clock, wakers)
    alarms = Alarms(common.signs, lambda: polling.health.consecutive_failures, database_folder(config))
    alert_delivery = alert_delivery_of(config, rules, ledger, storage.events, clock, alarms)
    forgetting = Forgetter(ledger, clock, Copies(clients.twilio, clients.elevenlabs), config.retention.threads_days)
    indexer = Indexer(ledger, storage.events)
    return Loops(
        sending=sending,
        answering=answering,
        media=files,
        announcements=announcements,
        polling=polling,
        call_facts=call_facts,
        reconciler=reconciler,
        alert_delivery=alert_delivery,
        handovers=handovers,
        indexer=indexer,
        forgetting=forgetting,
    )
