"""Makes the background loops of a daemon from its storage and its upstreams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wa_relay.channel.inbound import listed_inbound
from wa_relay.config import Config
from wa_relay.loops.alarms import Alarms, database_folder
from wa_relay.loops.alerting import Alerting, alerting_of
from wa_relay.loops.answering import TurnWorker
from wa_relay.loops.bell import Wakers
from wa_relay.loops.follow_ups import FollowUps
from wa_relay.loops.forgetting import Copies, Forgetter
from wa_relay.loops.handovers import HandoverKeeper
from wa_relay.loops.indexing import Indexer
from wa_relay.loops.media import MediaWorker
from wa_relay.loops.new_calls import NewCalls
from wa_relay.loops.polling import Polling
from wa_relay.loops.rates import Rates
from wa_relay.loops.reconcile import Reconciler
from wa_relay.loops.sending import SendWorker
from wa_relay.loops.signs import Signs
from wa_relay.loops.storage import Storage
from wa_relay.loops.typing import TypingIndicator
from wa_relay.loops.upstreams import Upstreams
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
    new_calls: NewCalls
    polling: Polling
    follow_ups: FollowUps
    reconciler: Reconciler
    alerting: Alerting | None
    handovers: HandoverKeeper
    indexer: Indexer
    forgetting: Forgetter


def make_loops(common: Common, storage: Storage, upstreams: Upstreams, rates: Rates) -> Loops:
    """Makes the loops; none of them runs yet."""
    config, rules, clock, wakers = common.config, common.rules, common.clock, common.wakers
    ledger = storage.ledger
    sending = SendWorker(ledger, upstreams.twilio, wakers, clock, rates=rates)
    new_calls = NewCalls(clock, wakers)
    polling = Polling(
        ledger,
        upstreams.elevenlabs,
        clock,
        wakers.poll,
        new_calls,
        agent_ids=config.poll.agent_ids,
        horizon=rules.horizon,
    )
    follow_ups = FollowUps(ledger, upstreams.elevenlabs, clock, wakers.follow_up, new_calls)
    answering = TurnWorker(
        ledger,
        upstreams.agent,
        clock,
        rules,
        storage.threads,
        wakers,
        fetch_details=follow_ups.fetch_details,
        typing=TypingIndicator(storage.threads, upstreams.twilio.show_typing) if rules.typing else None,
    )
    reconciler = Reconciler(
        ledger,
        upstreams.twilio,
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
        ledger, upstreams.media, upstreams.elevenlabs, storage.files, wakers, clock, rules, language=language
    )
    handovers = HandoverKeeper(ledger, clock, wakers)
    alarms = Alarms(common.signs, lambda: polling.health.consecutive_failures, database_folder(config))
    alerting = alerting_of(config, rules, ledger, storage.events, clock, alarms)
    forgetting = Forgetter(ledger, clock, Copies(upstreams.twilio, upstreams.elevenlabs), config.retention.threads_days)
    indexer = Indexer(ledger, storage.events)
    return Loops(
        sending=sending,
        answering=answering,
        media=files,
        new_calls=new_calls,
        polling=polling,
        follow_ups=follow_ups,
        reconciler=reconciler,
        alerting=alerting,
        handovers=handovers,
        indexer=indexer,
        forgetting=forgetting,
    )
