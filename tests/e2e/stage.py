"""The real daemon as a separate process, between the shipped stand-ins."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from tests import forking
from tests.forking import Started
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent, ElevenLabsStandin
from wa_relay.standins.port import free_port
from wa_relay.standins.twilio import Delays, TwilioStandin

T = TypeVar("T")
TOKEN = "e2e-token-0123456789abcdef"
AGENT = Agent("agent_4701k8fcsvhaes5s1h6tw894g98s", client_events=CHAT_EVENTS)
ANA, LUIS, EVA = "+573138539155", "+573001112233", "+573004445566"
OVERRIDES = "#rc=5&rp=all&ct=2000&rt=3000"
PAYLOAD: Mapping[str, Any] = {
    "batch_id": "btcal_9201k8pjch8teq3t428mqt82xe3d",
    "agent_id": AGENT.agent_id,
    "agent_name": "Agente Admin - test ana 4",
    "phone_number_id": "phnum_1401k8gyww19evptjqeqnm8hs3x5",
    "batch_name": "Llamada test ana 4 - 28/10/2025",
    "recipient": {
        "id": "rcpt_1901k8pjch8ve1c9v4d3jbmqamtn",
        "phone_number": ANA,
        "status": "completed",
        "conversation_id": "conv_9601k8pjchj6fnvamdmbsvdq5ptv",
        "created_at_unix": 1761694074,
        "updated_at_unix": 1761694074,
        "variables": {},
    },
    "call_metadata": {"client_name": "Ana García", "client_id": 42, "group_id": 5, "group_name": "Campaña Octubre"},
}
"""What the backend of the first users posts, to the letter."""

LISTENING = re.compile(r"listens on (http://\S+)")


def run(scenario: Coroutine[Any, Any, T], within: float = 300.0) -> T:
    """Plays a scenario for at most `within` seconds."""
    return asyncio.run(asyncio.wait_for(scenario, within))


def payload(
    key: str, phone: str = ANA, *, status: str = "completed", name: str | None = "Ana García"
) -> dict[str, Any]:
    """The backend's report of another call."""
    content: dict[str, Any] = json.loads(json.dumps(PAYLOAD))
    content["recipient"] |= {"phone_number": phone, "conversation_id": key, "status": status}
    content["call_metadata"]["client_name"] = name
    return content


async def until(condition: Callable[[], T | None], within: float = 90.0, what: str = "") -> T:
    """Returns the condition's value once it is true. Raises AssertionError after `within` seconds."""
    end = time.monotonic() + within
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, what or "it did not happen"
        await asyncio.sleep(0.01)


@dataclass(slots=True)
class Answer:
    """The daemon's answer: status, headers, and the body, as JSON if it is JSON."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class Relay:
    """One daemon's process, and the commands beside it."""

    def __init__(self, folder: Path, settings: Mapping[str, Mapping[str, Any]], env: Mapping[str, str]) -> None:
        self.folder, self.config, self.database = folder, folder / "config.toml", folder / "wa-relay.db"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings, self._env = settings, dict(env)
        self.process: Started | None = None
        self.log_path = folder / "stderr.log"
        self.write_config({})

    def write_config(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes the configuration: the daemon's own part, the stage's, and these changes over it."""
        own: dict[str, dict[str, Any]] = {
            "server": {"port": self.port, "public_url": self.url, "token": TOKEN},
            "database": {"path": str(self.database)},
            "reply": {"debounce_seconds": 0.1},
        }
        for layer in (self._settings, changes):
            for section, values in layer.items():
                own.setdefault(section, {}).update(values)
        if "url" in own["database"]:
            del own["database"]["path"]
        text = "".join(f"[{section}]\n" + "".join(map(_line, values.items())) for section, values in own.items())
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(0o600)

    @property
    def log(self) -> str:
        """All of the daemon's standard error, over all its starts."""
        return self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""

    async def start(self, *, real: bool = False) -> None:
        """Starts the daemon and waits until it listens."""
        self.process = await self.spawn("serve", real=real)
        assert self.process.stdout is not None
        line = (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode()
        assert LISTENING.search(line), f"no start: {line!r}\n{self.log[-3000:]}"

    async def spawn(self, *arguments: str, real: bool = False) -> Started:
        """Starts a command, its standard error going to the log. `real` starts the interpreter, as a user would."""
        with self.log_path.open("ab") as log:
            return await forking.spawn(
                ("--config", str(self.config), *arguments),
                env=self._environment(),
                folder=self.folder,
                stderr=log,
                real=real,
            )

    async def command(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Runs a command to its end: exit status, standard output, standard error."""
        done = await forking.run_async(
            ("--config", str(self.config), *arguments), env=self._environment(), folder=self.folder, stdin=stdin
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def _environment(self) -> dict[str, str]:
        return forking.environment(**self._env)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        return await asyncio.wait_for(process.wait(), 150)

    async def kill(self) -> None:
        """Kills the daemon, as a power cut would."""
        await self.stop(signal.SIGKILL)


@dataclass(slots=True)
class Stage:
    """A daemon between the two stand-ins, and a client of it."""

    relay: Relay
    twilio: TwilioStandin
    elevenlabs: ElevenLabsStandin
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, *, token: str | None = TOKEN, **request: Any) -> Answer:
        """Makes one request, with the service token by default."""
        headers = {**({"X-Service-Token": token} if token is not None else {}), **request.pop("headers", {})}
        async with self.http.request(method, self.relay.url + path, headers=headers, **request) as answer:
            return Answer(answer.status, answer.headers, (await answer.read()).decode("utf-8", "replace"))

    async def report(self, content: Mapping[str, Any] = PAYLOAD) -> Answer:
        """Posts a finished call as the backend does."""
        return await self.call("POST", "/api/call-completed", json=content)

    async def conversation(self, phone: str = ANA) -> Any:
        """The thread as the API shows it."""
        return (await self.call("GET", f"/api/conversations/{phone}")).json

    def bodies(self, phone: str = ANA) -> list[str]:
        """The messages that Twilio took for that person, oldest first: the truth about what was sent."""
        return [message.body for message in self.twilio.accepted(phone)]

    async def sent(self, count: int, phone: str = ANA, within: float = 40.0) -> list[str]:
        """Waits until Twilio has taken `count` messages for that person."""
        return await until(
            lambda: found if len(found := self.bodies(phone)) >= count else None,
            within,
            f"{len(self.bodies(phone))} of {count} messages\n{self.relay.log[-3000:]}",
        )


@asynccontextmanager
async def stage(
    folder: Path,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    start: bool = True,
    agent: Agent = AGENT,
    twilio: TwilioStandin | None = None,
) -> AsyncIterator[Stage]:
    """Sets everything up, gives the stand-in the webhook addresses, and takes it down again."""
    twilio = twilio or TwilioStandin(delays=Delays(0.02, 0.02, 0.02), enforce_window=False)
    elevenlabs = ElevenLabsStandin()
    elevenlabs.add_agent(agent)
    await twilio.start()
    await elevenlabs.start()
    own: dict[str, dict[str, Any]] = {
        "twilio": {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.settings.auth_token,
            "sender": twilio.senders[0],
            "base_url": twilio.url,
        },
        "elevenlabs": {
            "api_key": "sk_standin",
            "webhook_secret": "wsec_standin",
            "base_url": elevenlabs.url,
            "settle_seconds": 0.2,
        },
        "poll": {"enabled": False},
    }
    for section, values in (settings or {}).items():
        own.setdefault(section, {}).update(values)
    relay = Relay(folder, own, env or {})
    twilio.configure(webhook_url=f"{relay.url}/webhook/twilio/incoming{OVERRIDES}")
    elevenlabs.settings.webhook_url = f"{relay.url}/webhook/elevenlabs/post-call"
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            if start:
                await relay.start()
            yield Stage(relay, twilio, elevenlabs, http)
    finally:
        await relay.stop(signal.SIGKILL)
        await elevenlabs.stop()
        await twilio.stop()


def _line(pair: tuple[str, Any]) -> str:
    name, value = pair
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {json.dumps(text)}" for key, text in value.items())
        return f"{name} = {{ {inner} }}\n"
    return f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
