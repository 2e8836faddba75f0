"""The actors while the daemon dies: a backend that repeats itself, customers who write, an operator who decides.

Every text contains a unique number, so that an answer shows its question: `k12x` is a call, `q7x` a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from tests.crash.daemons import Daemons
from tests.crash.operators import Deeds, Operators
from tests.crash.traffic import SALES, Addresses, agent_of, serving
from tests.crash.verdict import ASKED
from tests.e2e.stage import AGENT, TOKEN, payload, until
from wa_relay.ledger.engine import Queries
from wa_relay.standins.elevenlabs import Asked, ElevenLabsStandin, Recipient
from wa_relay.standins.twilio import SANDBOX, Attachment, Delivery, TwilioStandin

CANARY = "Zanahoria"
"""A word in every name and every text; it must never appear in a log."""

CALLED = re.compile(r"k(\d+)x")
FALLBACK = "En este momento no podemos responderte. Te escribiremos pronto."
CONFIRMATION = "Listo, no te escribiremos más. Escribe ALTA si cambias de idea."
GREETING = "¡Hola! Soy Valentina, de la campaña Zanahoria."
PEOPLE_A_SECOND = 2.5
MOST_QUEUED = 150
"""The length of the queue from which no further customers come."""

BATCH = 12


@dataclass(slots=True)
class Expected:
    """What the actors did, for the judge: numbers of calls, and their customers by phone.

    `spoken` are the questions in voice notes, with their SIDs; `early` those that were written before any conversation,
    true if the webhook was answered then.
    """

    calls: dict[int, str] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    history: set[int] = field(default_factory=set)
    old_questions: set[int] = field(default_factory=set)
    old_messages: set[str] = field(default_factory=set)
    resent: set[int] = field(default_factory=set)
    spoken: dict[int, str] = field(default_factory=dict)
    early: dict[int, bool] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=Addresses)
    deeds: Deeds = field(default_factory=Deeds)
    pending: int = 0


def answer(asked: Asked) -> str:
    """Answers with the numbers of the question; every fifth in two messages."""
    numbers = ASKED.findall(asked.text)
    named = " ".join(f"q{number}x" for number in numbers)
    words = f"Claro, {CANARY}: sobre {named} te cuento que cuesta **$99/mes**."
    if numbers and int(numbers[0]) % 5 == 0:
        return f"{words} {'Incluye soporte. ' * 12}\n\nSegunda parte de {named}: " + "y mucho más. " * 14
    return words


class Crowd:
    """The backend, the customers and the operator around the daemons. `read` opens their database."""

    def __init__(
        self,
        twilio: TwilioStandin,
        agents: ElevenLabsStandin,
        daemons: Daemons,
        url: str,
        read: Callable[[], Queries],
        seed: int,
        kinds: frozenset[str],
    ) -> None:
        self._twilio = twilio
        self._agents = agents
        self._daemons = daemons
        self._url = url
        self._read = read
        self._kinds = kinds
        self._dice = random.Random(f"people {seed}")
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=7.0))
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = self._questions = 0
        self._batch, self._place = "", BATCH
        self._operators = Operators(self._http, url, CANARY)
        self.known = Expected(deeds=self._operators.deeds)
        self.busy = True

    async def close(self) -> None:
        """Ends what is still running."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()

    async def write_history(self) -> None:
        """Makes what happened before the database was created: no message may follow from it."""
        phone = self._phone()
        self.known.history.add(self._calls)
        for text in (self._question(), "BAJA"):
            self.known.old_questions.add(self._questions)
            self.known.old_messages.add((await self._twilio.customer_writes(phone, text, deliver=False)).sid)

    async def arrive(self) -> None:
        """Runs until `busy` ends: new customers at random moments, unless the queue is long.

        On a busy machine the daemon dies before it has done much, and the queue would grow without end.
        """
        while self.busy:
            await asyncio.sleep(self._dice.expovariate(PEOPLE_A_SECOND))
            if self.busy and self._queued() < MOST_QUEUED:
                self._go(self._person())

    def _queued(self) -> int:
        # The server may be away for a moment.
        with contextlib.suppress(Exception), contextlib.closing(self._read()) as db:
            found = db.execute("select count(*) from conversation_messages where status = 'queued'").fetchone()
            return int(found[0])
        return 0

    async def operate(self, hold: float) -> None:
        """Runs until `busy` ends: decides about sends that are uncertain for longer than any late acceptance.

        The operator checks Twilio's console first: the daemon's look-ups may have met a faulty list each time.
        """
        while self.busy:
            await asyncio.sleep(self._dice.uniform(2.0, 4.0))
            old = self._uncertain(2.0 * hold)
            if not old:
                continue
            message = self._dice.choice(old)
            taken = self._taken(message)
            choice = ("--sent", taken) if taken else (self._dice.choice(("--resend", "--resend", "--cancel")),)
            if not taken:
                self.known.resent.add(message)
            await self._daemons.command("resolve", str(message), *choice, "--yes")

    def _uncertain(self, patience: float) -> list[int]:
        """Sends that began that long ago and are uncertain."""
        with contextlib.closing(self._read()) as db:
            found = db.execute(
                "select id from conversation_messages where status = 'uncertain' and attempted_at < ?",
                (time.time() - patience,),
            )
            return [row[0] for row in found if row[0] not in self.known.resent]

    def _taken(self, message: int) -> str | None:
        """The SID under which Twilio has a message, as its console shows it."""
        for one in self._twilio.accepted():
            if one.callback and parse_qs(urlsplit(one.callback).query).get("m") == [str(message)]:
                return one.sid
        return None

    def uncertain_now(self, number: int) -> int | None:
        """The id of a call's opening once it is uncertain."""
        with contextlib.closing(self._read()) as db:
            row = db.execute(
                "select m.id from conversation_messages m join calls c on c.id = m.call_id"
                " where m.kind = 'opening' and m.status = 'uncertain' and c.elevenlabs_conversation_id = ?",
                (self.known.keys[number],),
            ).fetchone()
        return None if row is None else int(row[0])

    def call_once(self) -> int:
        """Reports a call without anything that follows. Returns its number."""
        phone = self._phone()
        number = self._calls
        self._record_call(number, phone)
        self._go(self._push(number, phone))
        return number

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        self.known.pending += 1

        async def counted() -> None:
            try:
                await work
            finally:
                self.known.pending -= 1

        task = asyncio.create_task(counted())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- one customer ---

    async def _person(self) -> None:
        phone, number, dice = self._phone(), self._calls, random.Random(self._dice.random())
        if dice.random() < 0.06:
            self._twilio.contact(phone, blocked=True)
        if "senders" in self._kinds and dice.random() < 0.2:
            self.known.addresses.sales.add(phone)
        if "merges" in self._kinds and dice.random() < 0.15:
            await self._person_of_two_numbers(phone, number, dice)
            return
        if dice.random() < 0.06:
            self.known.history.add(number)
            await self._push(number, phone, ended_at=int(time.time() - 7200))
        elif dice.random() < 0.15:
            await self._call_in_batch(number, phone, dice)
            if not self._written_to(phone):
                return
        else:
            copies = dice.choice((1, 1, 2, 5))
            missed = "templates" in self._kinds and dice.random() < 0.2
            await asyncio.gather(*(self._push(number, phone, missed=missed) for _ in range(copies)))
        if "handovers" in self._kinds and dice.random() < 0.25:
            self._go(self._operators.handle(phone, random.Random(dice.random())))
        for _ in range(dice.randint(0, 3)):
            await asyncio.sleep(dice.uniform(0.0, 1.5))
            await self._write(phone, dice)
        if dice.random() < 0.1:
            await self._send(phone, dice.choice(("BAJA", "¡Stop!", "no molestar")))
            await asyncio.sleep(dice.uniform(0.0, 1.0))
            await self._send(phone, self._question())

    async def _person_of_two_numbers(self, first: str, number: int, dice: random.Random) -> None:
        """A customer with a call to each of two numbers, whose WhatsApp shows one user behind both in the end.

        Half of them hide their number, and write by the user's id alone. Some have written before any call: they are
        strangers then.
        """
        user, second = f"CO.{number:08d}Ab", self._phone()
        other = self._calls
        self.known.addresses.users[user] = first
        self.known.addresses.are_one(first, second)
        self.known.addresses.sales -= {first, second}
        self._twilio.contact(first, user_id=user)
        if dice.random() < 0.3:
            question, early = self._question(), self._questions
            self.known.early[early] = False
            self.known.early[early] = (await self._send(first, question, hidden=True)).status == 200
            await asyncio.sleep(1.1)  # the list's times are whole seconds
        await self._push(number, first)
        await self._push(other, second)
        if "handovers" in self._kinds and dice.random() < 0.25:
            self._go(self._operators.handle(dice.choice((first, second)), random.Random(dice.random())))
        hides = dice.random() < 0.5
        for _ in range(dice.randint(1, 2)):
            await asyncio.sleep(dice.uniform(0.0, 1.5))
            if hides and self._knows(user):
                await self._send(first, self._question(), hidden=True)
            else:
                await self._write(first, dice)
        if dice.random() < 0.15:
            await self._send(dice.choice((first, second)), "BAJA")
        self._twilio.contact(second, user_id=user)
        for _ in range(2):
            await self._write(second, dice)
            await asyncio.sleep(dice.uniform(0.0, 1.5))
        await self._write(first, dice)

    def _knows(self, address: str) -> bool:
        with contextlib.closing(self._read()) as db:
            return db.execute("select 1 from addresses where address = ?", (address,)).fetchone() is not None

    async def _send(self, phone: str, text: str, **more: Any) -> Delivery:
        """Writes to the number of ours from which this customer is written to."""
        return await self._twilio.customer_writes(phone, text, to=self._ours(phone), **more)

    def _ours(self, phone: str) -> str:
        return SALES if phone in self.known.addresses.sales else SANDBOX

    async def _write(self, phone: str, dice: random.Random) -> None:
        chance = dice.random()
        if chance < 0.12:
            texts = [self._question() for _ in range(3)]
            await self._twilio.customer_burst(phone, texts, order=dice.sample(range(3), 3), to=self._ours(phone))
        elif chance < 0.2:
            # Only in the list, like a webhook that Twilio could not deliver.
            await self._send(phone, self._question(), deliver=False)
        elif chance < 0.32 and "voices" in self._kinds:
            await self._speak(phone, dice, deliver=chance < 0.3)
        elif chance < 0.4 and "pictures" in self._kinds:
            data = f"picture {self._questions}".encode()
            picture = Attachment("image/jpeg", data, serving=serving(dice, self._kinds))
            await self._send(phone, self._question(), media=picture)
        else:
            delivery = await self._send(phone, self._question())
            if dice.random() < 0.1:
                await self._twilio.redeliver(delivery.sid)

    async def _speak(self, phone: str, dice: random.Random, *, deliver: bool) -> None:
        """Sends a question as a voice note; without `deliver` it is only in the list."""
        transcript = self._question()
        note = Attachment("audio/ogg", f"OggS {transcript}".encode(), serving=serving(dice, self._kinds))
        self._agents.set_transcript(note.data, transcript)
        number = self._questions
        delivery = await self._send(phone, "", media=note, deliver=deliver)
        self.known.spoken[number] = delivery.sid

    async def _push(self, number: int, phone: str, *, ended_at: int | None = None, missed: bool = False) -> None:
        """Reports a call until it is answered, as a backend does. A missed call is followed up by a template."""
        if number not in self.known.keys:
            self._record_call(number, phone)
        key, status = self.known.keys[number], "voicemail" if missed else "completed"
        reports = payload(key, phone, status=status, name=f"{CANARY} k{number}x")
        reports["agent_id"] = agent_of(phone, self.known.addresses).agent_id
        if ended_at is not None:
            reports["ended_at_unix"] = ended_at
        headers = {"X-Service-Token": TOKEN}
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._http.post(f"{self._url}/api/call-completed", json=reports, headers=headers) as heard:
                    if heard.status in (200, 202):
                        return
                    assert heard.status == 503, await heard.text()
            await asyncio.sleep(self._dice.uniform(0.03, 0.2))

    def _record_call(self, number: int, phone: str) -> None:
        """The agent service knows the conversation that the backend reports."""
        key = self.known.keys[number] = f"conv_crash_{number}"
        agent = agent_of(phone, self.known.addresses)
        spoken = self._agents.world._begin(agent.agent_id, time.time(), {"plan": "Premium"}, key)
        spoken.status, spoken.analysed, spoken.summary = "done", True, f"{CANARY}: se interesó por el plan Premium."

    async def _call_in_batch(self, number: int, phone: str, dice: random.Random) -> None:
        """A call that polling finds and the webhook reports; half of them the backend reports as well."""
        if self._place == BATCH:
            self._place = 0
            self._batch = self._agents.add_batch(
                name=f"Campaña {number}",
                agent_id=AGENT.agent_id,
                recipients=[Recipient("+573000000000", outcome="voicemail") for _ in range(BATCH)],
            )
        row = self._agents.world.batches[self._batch].rows[self._place]
        # The agent of the batch called.
        self.known.addresses.sales.discard(phone)
        row.plan = Recipient(phone, {"client_name": f"{CANARY} k{number}x"})
        place, self._place = self._place, self._place + 1
        key = self._agents.finish_call(self._batch, place)
        assert key is not None
        self.known.keys[number] = key
        if dice.random() < 0.5:
            await self._push(number, phone)
            return
        # A customer who writes before having a conversation is a stranger, and gets no answer.
        with contextlib.suppress(AssertionError):
            await until(lambda: self._written_to(phone), within=4.0)

    def _written_to(self, phone: str) -> bool:
        return any(True for _ in self._twilio._stage.world.newest_first(f"whatsapp:{phone}"))

    def _phone(self) -> str:
        self._calls += 1
        phone = f"+5731{self._calls:08d}"
        self.known.calls[self._calls] = phone
        return phone

    def _question(self) -> str:
        self._questions += 1
        return f"{CANARY} q{self._questions}x ¿cuánto cuesta?"
