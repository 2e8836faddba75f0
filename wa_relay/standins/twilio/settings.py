"""Settings that can change while the stand-in runs, and the state that its parts share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from wa_relay.model import Moment
from wa_relay.standins.journal import Journal
from wa_relay.standins.twilio.connection import Caller
from wa_relay.standins.twilio.faults import FaultPlan
from wa_relay.standins.twilio.registry import Registry
from wa_relay.standins.twilio.state import Rules, World

_MOST_TRIES_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds from each status to the next; None ends there."""

    sent: float | None = 0.05
    delivered: float | None = 0.05
    read: float | None = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """The behaviour of the service.

    `delays` None delivers nothing automatically. `list_lag` are the seconds after which a message is listed.
    `messages_per_second` is each sender's (None: no limit), `sender_rates` those of some, by address; `pair_limit` is
    Meta's for one customer, `users_per_day` Meta's for how many get a template in 24 hours. `auth_token` is what signs
    and what clients show. `queue_seconds` is how long a message is taken to wait in Twilio's queue: one whose
    ValidityPeriod is shorter fails with 30036. `trial` refuses free text with 21654. With `advanced_opt_out` Twilio
    answers STOP, START and HELP itself (`OptOutType`), and refuses later messages by receipt.

    `api_keys` are secrets by their `SK…`, good for everything but the account itself. `forbidden` are operations that
    are refused with 403. `clock_skew` is added to the `Date` header. `typing_status` other than 200 refuses the typing
    indicator.
    """

    auth_token: str
    webhook_url: str = ""
    fallback_url: str = ""
    delays: Delays | None = field(default_factory=Delays)
    enforce_window: bool = True
    strict: bool = True
    messages_per_second: float | None = None
    pair_limit: bool = False
    list_lag: float = 0.0
    media_lag: float = 0.0
    sender_rates: Mapping[str, float] = field(default_factory=dict)
    users_per_day: int | None = None
    queue_seconds: float = 0.0
    trial: bool = False
    advanced_opt_out: bool = False
    api_keys: Mapping[str, str] = field(default_factory=dict)
    forbidden: tuple[str, ...] = ()
    clock_skew: float = 0.0
    typing_status: int = 200

    @property
    def rules(self) -> Rules:
        """Those by which the world decides."""
        return Rules(self.enforce_window, self.pair_limit, self.users_per_day)


class Stage:
    """The world, the settings, the faults and the journal, and the background tasks."""

    def __init__(
        self, account_sid: str, senders: tuple[str, ...], world: World, settings: Settings, clock: Callable[[], Moment]
    ) -> None:
        self.account_sid = account_sid
        self.senders = senders
        self.world = world
        self.settings = settings
        self.clock = clock
        self.registry = Registry()
        self.journal, self.faults, self.caller = Journal(clock), FaultPlan(), Caller()
        self.url = self.elsewhere_url = ""
        self._last_tried: OrderedDict[str, str] = OrderedDict()
        self._overtaking: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    def go(self, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Runs something in the background, beside the request that began it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def quiet(self) -> None:
        """Ends all tasks, and the connections to webhooks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.caller.close()

    async def let_pass(self, phone: str, seconds: float) -> None:
        """Waits until the customer's next message was posted, for `seconds` at most."""
        event = self._overtaking.setdefault(phone, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    def passed(self, phone: str) -> None:
        """Releases the messages that wait for one to that phone to pass."""
        event = self._overtaking.pop(phone, None)
        if event is not None:
            event.set()

    def remember_send(self, to: str, text: str) -> None:
        """Keeps the text last tried for a phone, also when no message came of it."""
        self._last_tried[to] = text
        self._last_tried.move_to_end(to)
        if len(self._last_tried) > _MOST_TRIES_KEPT:
            self._last_tried.popitem(last=False)

    def last_tried(self, to: str) -> str:
        """Returns the text last tried for a phone."""
        return self._last_tried.get(to, "")
