"""The faults that doctor must find, each by itself, and how each is planted."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.doctor.healthy import GOOD_AGENT, HX, SENDER
from tests.e2e.stage import AGENT, OVERRIDES, Stage, until
from wa_relay.model import Moment
from wa_relay.standins.elevenlabs import Fault as ElevenLabsFault
from wa_relay.standins.port import free_port
from wa_relay.standins.twilio import Fault, Template
from wa_relay.standins.twilio.registry import MessagingService, Sender

SERVICE = "MG" + "5" * 32
OTHER_HX = "HX" + "b" * 32


@dataclass(slots=True)
class Ground:
    """A healthy set-up in which faults are planted. `changes` are written to its configuration."""

    stage: Stage
    opened: AsyncExitStack
    changes: dict[str, dict[str, Any]]
    clock: Callable[[], Moment] = time.time

    def set(self, section: str, **values: Any) -> None:
        """Changes the configuration that doctor reads; the daemon has begun with the one before."""
        self.changes.setdefault(section, {}).update(values)
        mode = self.stage.relay.config.stat().st_mode & 0o777
        self.stage.relay.write_config(self.changes)
        self.stage.relay.config.chmod(mode)

    def hook(self, url: str, **more: Any) -> None:
        """Gives the sender another webhook for incoming messages."""
        self.stage.twilio.register(Sender(SENDER, callback_url=url, **more))

    @property
    def hook_url(self) -> str:
        """The webhook as it should be."""
        return f"{self.stage.relay.url}/webhook/twilio/incoming{OVERRIDES}"


Plant = Callable[[Ground], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault: its name in the contract, how it is planted, and doctor's finding. Faults of the same `place` can't be
    planted together.
    """

    name: str
    plant: Plant
    check: str
    status: str
    says: str
    place: str
    needs_restart: bool = False


async def _open_file(g: Ground) -> None:
    g.stage.relay.config.chmod(0o644)


async def _sample(g: Ground) -> None:
    g.set("elevenlabs", api_key="your-api-key")


async def _zone(g: Ground) -> None:
    g.set("general", timezone="America/Bogotta")


async def _damaged(g: Ground) -> None:
    await g.stage.relay.stop()
    path = g.stage.relay.database
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        size = db.execute("pragma page_size").fetchone()[0]
        root = db.execute("select rootpage from sqlite_master where name = 'console_users'").fetchone()[0]
    with path.open("r+b") as raw:
        raw.seek((root - 1) * size)
        raw.write(b"\x7f" * size)
    await g.stage.relay.start()


async def _newer(g: Ground) -> None:
    with closing(sqlite3.connect(g.stage.relay.database, isolation_level=None)) as db:
        db.execute("pragma user_version = 999")


async def _small_disk(g: Ground) -> None:
    relay = g.stage.relay
    await relay.stop()
    folder = relay.folder / "small"
    folder.mkdir(mode=0o700)
    mount = ("mount", "-t", "tmpfs", "-o", "size=40m,mode=0700", "tmpfs", str(folder))
    done = await asyncio.create_subprocess_exec(*mount, stderr=asyncio.subprocess.DEVNULL)
    if await done.wait():
        raise MountRefused
    g.opened.callback(lambda: subprocess.run(("umount", "-l", str(folder)), check=True))
    for file in relay.folder.glob("wa-relay.db*"):
        (folder / file.name).write_bytes(file.read_bytes())
        (folder / file.name).chmod(0o600)
    g.set("database", path=str(folder / "wa-relay.db"))
    await relay.start()


class MountRefused(Exception):
    """This user may not mount a file system."""


async def _clock(g: Ground) -> None:
    g.clock = lambda: time.time() + 45.0


async def _credentials(g: Ground) -> None:
    g.stage.twilio.configure(auth_token="f" * 32)


async def _api_key(g: Ground) -> None:
    g.set("twilio", auth_token="SK" + "a1" * 16)


async def _unknown_sender(g: Ground) -> None:
    g.stage.twilio.register(Sender("whatsapp:+573159999999", callback_url=g.hook_url))


async def _no_hook(g: Ground) -> None:
    g.hook("")


async def _other_host(g: Ground) -> None:
    g.hook(f"https://old.relay.co/webhook/twilio/incoming{OVERRIDES}")


async def _other_path(g: Ground) -> None:
    g.hook(f"{g.stage.relay.url}/twilio{OVERRIDES}")


async def _get_hook(g: Ground) -> None:
    g.hook(g.hook_url, callback_method="GET")


async def _no_retries(g: Ground) -> None:
    g.hook(g.hook_url.partition("#")[0])


async def _not_in_service(g: Ground) -> None:
    g.stage.twilio.register(MessagingService(SERVICE, ("whatsapp:+573151111111",), inbound_request_url=g.hook_url))
    g.set("twilio", messaging_service_sid=SERVICE)


async def _dropping_service(g: Ground) -> None:
    g.stage.twilio.register(MessagingService(SERVICE, (SENDER,)))
    g.set("twilio", messaging_service_sid=SERVICE)


async def _no_template(g: Ground) -> None:
    g.set("opening.completed", content_sid=OTHER_HX)


def _template(approval: str, body: str = "Hola {{1}}, gracias.", samples: dict[str, str] | None = None) -> Plant:
    async def plant(g: Ground) -> None:
        g.stage.twilio.template(Template(HX, body, {"1": "Ana"} if samples is None else samples, approval=approval))

    return plant


async def _stopped(g: Ground) -> None:
    g.stage.twilio.trouble(HX, 63041)
    await g.stage.report()

    def held() -> bool:
        with closing(sqlite3.connect(g.stage.relay.database)) as db:
            return bool(db.execute("select 1 from holds where subject = 'template'").fetchone())

    await until(held)


async def _wrong_key(g: Ground) -> None:
    g.set("elevenlabs", api_key="sk_" + "0" * 40)


async def _no_permission(g: Ground) -> None:
    g.stage.elevenlabs.settings.missing_permissions = ("convai_write",)


async def _no_agent(g: Ground) -> None:
    g.set("poll", agent_ids=["agent_gone"])


def _agent(**changes: Any) -> Plant:
    async def plant(g: Ground) -> None:
        g.stage.elevenlabs.add_agent(replace(GOOD_AGENT, **changes))

    return plant


async def _no_post_call(g: Ground) -> None:
    with closing(sqlite3.connect(g.stage.relay.database, isolation_level=None)) as db:
        db.execute("update relay set post_call_at = null")


async def _nothing(g: Ground) -> None:
    g.set("server", public_url=f"http://127.0.0.1:{free_port()}")
    g.hook(f"{g.changes['server']['public_url']}/webhook/twilio/incoming{OVERRIDES}")


def _behind(answer: Callable[[Ground, web.BaseRequest], Awaitable[web.StreamResponse]]) -> Plant:
    """Lets the public address lead to something else."""

    async def plant(g: Ground) -> None:
        url = await g.opened.enter_async_context(_served(lambda request: answer(g, request)))
        g.set("server", public_url=url)
        g.hook(f"{url}/webhook/twilio/incoming{OVERRIDES}")
        await _restarted(g)

    return plant


@asynccontextmanager
async def _served(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _bad_gateway(_: Ground, __: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")


async def _other_program(_: Ground, __: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="Welcome to nginx!")


async def _other_relay(g: Ground, _: web.BaseRequest) -> web.StreamResponse:
    health = (await g.stage.call("GET", "/health")).json | {"instance": "0123456789abcdef"}
    return web.json_response(health)


async def _losing_blanks(g: Ground, request: web.BaseRequest) -> web.StreamResponse:
    """A proxy that leaves out empty fields."""
    body = "&".join(part for part in (await request.read()).decode().split("&") if not part.endswith("="))
    headers = {
        name: value for name, value in request.headers.items() if name.lower() in ("content-type", "x-twilio-signature")
    }
    async with (
        aiohttp.ClientSession() as http,
        http.request(
            request.method, g.stage.relay.url + request.raw_path, data=body.encode() or None, headers=headers
        ) as answer,
    ):
        return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


async def _restarted(g: Ground, **env: str) -> None:
    relay = g.stage.relay
    await relay.stop()
    relay._env.update(env)
    await relay.start()


async def _poller(g: Ground) -> None:
    g.set("poll", enabled=True, interval_seconds=1)
    g.stage.elevenlabs.faults.next("workspace", ElevenLabsFault(status=500), 1000)
    await _restarted(g)
    end = asyncio.get_running_loop().time() + 40
    while (await g.stage.call("GET", "/health")).json["poller"]["consecutive_failures"] < 3:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.1)


async def _uncertain(g: Ground) -> None:
    g.stage.twilio.faults.next("create", Fault("F5"))
    assert (await g.stage.report()).status == 202


async def _version(g: Ground) -> None:
    folder = g.stage.relay.folder / "other-version"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import wa_relay\nwa_relay.__version__ = '0.0.1'\n")
    root = Path(__file__).parents[2]
    await _restarted(g, PYTHONPATH=os.pathsep.join((str(folder), str(root))))


FAULTS = (
    Planted("file readable by others", _open_file, "configuration file", "warn", "others can read", "mode"),
    Planted("sample value left in", _sample, "configuration: elevenlabs.api_key", "fail", "sample value", "key"),
    Planted("unknown time zone", _zone, "configuration: general.timezone", "fail", "Bogotta", "zone"),
    Planted("database damaged", _damaged, "database", "fail", "is damaged", "database"),
    Planted("database newer", _newer, "database", "fail", "newer version", "database"),
    Planted("file system nearly full", _small_disk, "disk space", "warn", "free: without room", "database"),
    Planted("clock off", _clock, "clock", "warn", "s ahead of that of", "clock"),
    Planted("wrong Twilio credentials", _credentials, "Twilio account", "fail", "refuses the credentials", "twilio"),
    Planted("API key instead of the auth token", _api_key, "Twilio account", "fail", "is an API key", "twilio"),
    Planted("sender unknown", _unknown_sender, "Twilio sender", "fail", "not a WhatsApp sender", "sender"),
    Planted("no incoming webhook", _no_hook, "Twilio webhook", "fail", "has no webhook", "sender"),
    Planted("webhook at another host", _other_host, "Twilio webhook", "fail", "another host", "sender"),
    Planted("webhook at another path", _other_path, "Twilio webhook", "fail", "another path", "sender"),
    Planted("webhook by GET", _get_hook, "Twilio webhook", "fail", "uses GET", "sender"),
    Planted("webhook without retries", _no_retries, "Twilio webhook", "warn", "no retries", "sender"),
    Planted("service without the sender", _not_in_service, "messaging service", "fail", "does not contain", "sender"),
    Planted("service drops messages", _dropping_service, "Twilio webhook", "fail", "no request URL", "sender"),
    Planted("template missing", _no_template, "opening.completed", "fail", "has no template", "template"),
    Planted("template rejected", _template("rejected"), "opening.completed", "fail", "not approved", "template"),
    Planted("template pending", _template("pending"), "opening.completed", "fail", "being reviewed", "template"),
    Planted("template paused", _template("paused"), "opening.completed", "fail", "is paused", "template"),
    Planted("template disabled", _template("disabled"), "opening.completed", "fail", "is disabled", "template"),
    Planted(
        "template with missing variables",
        _template("approved", "Hola {{1}}, de {{2}}."),
        "opening.completed",
        "fail",
        "also needs 2",
        "template",
    ),
    Planted(
        "template with too many variables",
        _template("approved", "Hola, gracias.", {}),
        "opening.completed",
        "fail",
        "has no variable 1",
        "template",
    ),
    Planted("template stopped", _stopped, "opening.completed", "fail", "is stopped since", "template"),
    Planted("wrong ElevenLabs key", _wrong_key, "ElevenLabs key", "fail", "refuses the credentials", "key"),
    Planted("key without the permission", _no_permission, "ElevenLabs key", "fail", "lacks a permission", "key"),
    Planted("agent missing", _no_agent, "agent agent_gone", "fail", "no such agent", "agent"),
    Planted(
        "no agent_response",
        _agent(client_events=("audio",)),
        f"agent {AGENT.agent_id}",
        "fail",
        "does not send agent_response",
        "agent",
    ),
    Planted(
        "text only forbidden", _agent(overrides=frozenset()), f"agent {AGENT.agent_id}", "warn", "forbids", "agent"
    ),
    Planted(
        "variable not brought",
        _agent(first_message="Hola {{apodo}}"),
        f"agent {AGENT.agent_id}",
        "fail",
        "requires the variables apodo",
        "agent",
    ),
    Planted(
        "tools that are not reported",
        _agent(client_events=("agent_response",), tools=({"type": "webhook", "name": "crm"},)),
        f"agent {AGENT.agent_id}",
        "warn",
        "without reporting it",
        "agent",
    ),
    Planted("no post-call webhook", _no_post_call, "ElevenLabs webhook", "warn", "has ever arrived", "post-call"),
    Planted("nothing behind the URL", _nothing, "public URL", "fail", "nothing answers", "url"),
    Planted("proxy without the relay", _behind(_bad_gateway), "public URL", "fail", "HTTP 502", "url"),
    Planted("another program", _behind(_other_program), "public URL", "fail", "another program", "url"),
    Planted("another wa-relay", _behind(_other_relay), "public URL", "fail", "another wa-relay", "url"),
    Planted("proxy that changes the body", _behind(_losing_blanks), "public URL", "fail", "a proxy at", "url"),
    Planted("poller failing", _poller, "poller", "warn", "in a row", "poller", needs_restart=True),
    Planted("uncertain sends", _uncertain, "uncertain sends", "warn", "unknown outcome", "sends"),
    Planted("another version", _version, "daemon", "warn", "is version 0.0.1", "version", needs_restart=True),
)
