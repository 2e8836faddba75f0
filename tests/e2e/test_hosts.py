"""Several hosts on one PostgreSQL database, seen from outside: contract 12, statement by statement."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from tests import forking
from tests.cli.running import COMPLETE
from tests.e2e.stage import ANA, LUIS, Relay, payload, stage, until
from tests.e2e.test_several import Several, several
from tests.engines import Cluster
from tests.pg_proxy import CuttingProxy
from tests.story import Story
from wa_relay.ledger.file import SCHEMA_VERSION
from wa_relay.standins.elevenlabs import Scenario
from wa_relay.standins.port import free_port

T = TypeVar("T")
SECRET = "clave-secreta-4711"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and all that it printed."""

    code: int
    out: str
    err: str


def command(*arguments: str, folder: Path, **env: str) -> Ended:
    """Runs a command to its end; no output may hold the password."""
    done = forking.run(
        arguments,
        env=forking.environment(**env),
        folder=folder,
        timeout=40,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    assert SECRET not in out + err
    return Ended(done.returncode, out, err)


class Live:
    """Two daemons that all tests of this module share, on an event loop of their own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._opened = several(folder, url, 2)
        self.daemons: Several = self.wait(self._opened.__aenter__())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something on the loop, and returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """Ends the daemons and the loop."""
        self.wait(self._opened.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def command(self, *arguments: str, host: int = 0) -> Ended:
        """Runs a command on one of the hosts."""
        return Ended(*self.wait(self.daemons.relays[host].command(*arguments)))

    def health(self, host: int = 0) -> Any:
        """The health that a host reports."""
        return self.wait(self.daemons.health(self.daemons.relays[host])).json

    def differing(self, changes: dict[str, dict[str, Any]]) -> Relay:
        """A further host with other settings, which is not started."""
        first = self.daemons.relays[0]
        folder = first.folder / f"other{free_port()}"
        folder.mkdir()
        relay = Relay(folder, first._settings, {})
        relay.write_config(changes)
        return relay


@pytest.fixture(scope="module")
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    url = cluster.create()
    running = Live(tmp_path_factory.mktemp("hosts"), url)
    yield running
    running.close()
    cluster.drop(url)


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[str]:
    made = cluster.create()
    yield made
    cluster.drop(made)


# --- how a start ends ---


@pytest.mark.parametrize("arguments", [("serve",), ("history", ANA)])
def test_a_server_that_is_not_there_ends_with_75(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    url = f"postgresql://relay:{SECRET}@127.0.0.1:{free_port()}/relay"
    ended = command(*arguments, folder=tmp_path, DATABASE_URL=url, **COMPLETE)
    assert (ended.code, ended.out) == (75, "")
    assert "PostgreSQL is not available" in ended.err


def test_a_wrong_password_ends_with_78(cluster: Cluster, tmp_path: Path) -> None:
    cluster.require_password("with_password", "another")
    url = cluster.url_of("postgres").replace("postgres:@", f"with_password:{SECRET}@")
    assert SECRET in url
    ended = command("serve", folder=tmp_path, WA_RELAY_DATABASE_URL=url, **COMPLETE)
    assert ended.code == 78, ended
    assert "password" in ended.err


def test_a_role_that_is_not_there_ends_with_78(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.url_of("postgres").replace("postgres:@", "nobody_at_all:@")
    ended = command("serve", folder=tmp_path, DATABASE_URL=url, **COMPLETE)
    assert ended.code == 78, ended
    assert "nobody_at_all" in ended.err


def test_a_database_that_is_not_there_ends_with_74(cluster: Cluster, tmp_path: Path) -> None:
    ended = command("serve", folder=tmp_path, DATABASE_URL=cluster.url_of("nobody_made_it"), **COMPLETE)
    assert ended.code == 74, ended
    assert "nobody_made_it" in ended.err


@pytest.mark.parametrize("arguments", [("history", ANA), ("database", "info")])
def test_without_tables_a_command_that_only_reads_ends_with_74(
    empty: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert command(*arguments, folder=tmp_path, DATABASE_URL=empty, **COMPLETE).code == 74


def test_a_path_and_a_url_together_end_with_78_and_both_are_named(tmp_path: Path) -> None:
    url = f"postgresql://relay:{SECRET}@127.0.0.1/relay"
    ended = command("serve", folder=tmp_path, DATABASE_URL=url, WA_RELAY_DATABASE_PATH="x.db", **COMPLETE)
    assert ended.code == 78, ended
    assert "database.path" in ended.err
    assert "database.url" in ended.err


def test_the_url_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"postgresql://relay:{SECRET}@127.0.0.1:{free_port()}/relay\n")
    for name in ("DATABASE_URL_FILE", "WA_RELAY_DATABASE_URL_FILE"):
        assert command("stats", folder=tmp_path, **{name: str(tmp_path / "url")}).code == 75


@pytest.mark.parametrize("arguments", [("serve",), ("history", ANA)])
def test_a_newer_schema_ends_with_65(cluster: Cluster, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    url = cluster.copy(0.0)
    with closing(psycopg.connect(url, autocommit=True)) as db:
        db.execute("update wa_relay_schema set version = 999")
    ended = command(*arguments, folder=tmp_path, DATABASE_URL=url, **COMPLETE)
    assert ended.code == 65, ended
    assert "999" in ended.err
    cluster.drop(url)


def test_a_connection_that_is_lost_during_the_start_ends_with_75(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.copy(0.0)
    host = url.rpartition("host=")[2]
    with CuttingProxy(Path(host)) as proxy:
        # The start commits twice before its first operation: the check of the schema and the account.
        proxy.cut("before", skip=1)
        ended = command("serve", folder=tmp_path, DATABASE_URL=url.replace(host, str(proxy.folder)), **COMPLETE)
        assert proxy.cuts == 1
    assert ended.code == 75, ended
    assert "tried again automatically" not in ended.err
    cluster.drop(url)


# --- beside daemons that run ---


def test_other_limits_than_those_of_the_daemons_that_run_end_with_78_and_are_named(live: Live) -> None:
    changes: dict[str, dict[str, Any]] = {
        "twilio": {"sender": "whatsapp:+14155230000", "messages_per_second": 3},
        "opening": {"burst_limit": 7, "daily_limit": 7},
    }
    ended = Ended(*live.wait(live.differing(changes).command("serve")))
    assert (ended.code, ended.out) == (78, "")
    for key in ("twilio.sender", "twilio.messages_per_second", "opening.burst_limit", "opening.daily_limit"):
        assert key in ended.err


def test_another_account_ends_with_78(live: Live) -> None:
    ended = Ended(*live.wait(live.differing({"twilio": {"account_sid": "AC" + "9" * 32}}).command("serve")))
    assert ended.code == 78
    assert "AC" + "9" * 32 in ended.err


def test_a_difference_that_customers_would_notice_is_a_warning_and_doctor_names_the_key(live: Live) -> None:
    relay = live.differing({"reply": {"fallback": "Otro texto."}, "quiet_hours": {"start": "22:00", "end": "07:00"}})
    live.wait(relay.start())
    live.wait(relay.stop())
    (line,) = [line for line in relay.log.splitlines() if "settings_differ" in line]
    assert "reply.fallback" in line
    assert "quiet_hours.start" in line
    checks = json.loads(live.wait(relay.command("doctor", "--json"))[1])["checks"]
    (check,) = [check for check in checks if check["name"] == "settings of the daemons"]
    assert check["status"] == "warn"
    assert "reply.fallback" in check["fix"]


def test_a_migration_waits_for_the_daemons_of_the_older_version_and_names_them(live: Live) -> None:
    with closing(psycopg.connect(live.url, autocommit=True)) as db:
        db.execute("update wa_relay_schema set version = %s", (SCHEMA_VERSION - 1,))
        try:
            ended = Ended(*live.wait(live.differing({}).command("serve")))
        finally:
            db.execute("update wa_relay_schema set version = %s", (SCHEMA_VERSION,))
    assert ended.code == 75, ended
    process = live.daemons.relays[0].process
    assert process is not None
    assert str(process.pid) in ended.err


def test_health_lists_the_daemons_of_the_last_15_s(live: Live) -> None:
    for host in (0, 1):
        found = live.health(host)
        assert abs(found["clock_offset_seconds"]) < 1.0
        assert {daemon["pid"] for daemon in found["daemons"]} >= {
            relay.process.pid for relay in live.daemons.relays if relay.process is not None
        }
        assert set(found["daemons"][0]) == {"host", "pid", "version", "since", "last_seen_at", "leader"}
        assert sum(daemon["leader"] for daemon in found["daemons"]) == 1


def test_the_daemons_are_shown_to_nobody_outside(live: Live) -> None:
    async def ask(headers: dict[str, str]) -> dict[str, Any]:
        url = live.daemons.relays[0].url + "/health"
        async with live.daemons.stage.http.get(url, headers=headers) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    assert "daemons" in live.wait(ask({}))
    assert not {"daemons", "templates", "poller"} & live.wait(ask({"X-Forwarded-For": "203.0.113.9"})).keys()


def test_a_pause_on_one_host_holds_on_every_other(live: Live) -> None:
    assert live.command("pause", host=1).code == 0
    try:
        assert [live.health(host)["paused"] for host in (0, 1)] == ["operator", "operator"]
    finally:
        assert live.command("resume", host=0).code == 0
    assert [live.health(host)["paused"] for host in (0, 1)] == [None, None]


def test_say_goes_out_by_any_daemon_that_is_alive(live: Live) -> None:
    first, second = live.daemons.relays
    live.wait(live.daemons.call(first, "POST", "/api/call-completed", payload("conv_say", ANA)))
    live.wait(live.daemons.stage.sent(1, ANA))
    live.wait(live.daemons.stage.twilio.customer_writes(ANA, "hola"))
    elsewhere = live.differing({})
    ended = Ended(*live.wait(elsewhere.command("say", ANA, "Te escribe una persona", "--wait", "20")))
    assert ended.code == 0, ended
    assert "Te escribe una persona" in live.daemons.stage.bodies(ANA)
    assert second.process is not None


def test_a_copy_from_or_to_a_database_that_is_served_ends_with_75(live: Live, empty: str, tmp_path: Path) -> None:
    story = Story(tmp_path / "story.db")
    story.call("conv_1")
    story.close()
    away = live.command("database", "copy", "-", empty)
    assert away.code == 75, away
    process = live.daemons.relays[0].process
    assert process is not None
    assert f"pid {process.pid}" in away.err


def test_info_counts_the_daemons(live: Live) -> None:
    found = json.loads(live.command("database", "info", "--json").out)
    assert list(found) == ["engine", "version", "schema", "size_bytes", "rows", "daemons"]
    assert (found["engine"], found["schema"]) == ("postgresql", SCHEMA_VERSION)
    assert len(found["daemons"]) >= 2
    assert found["rows"]["calls"] >= 0


@pytest.mark.parametrize("arguments", [("backup", "copy.db"), ("restore", "copy.db", "--yes")])
def test_backup_and_restore_end_with_2_and_name_the_servers_own_tools(live: Live, arguments: tuple[str, ...]) -> None:
    ended = live.command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "pg_dump" in ended.err


# --- no daemon ---


def test_say_ends_with_75_when_no_daemon_is_alive(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.copy(0.0)
    ended = command("say", ANA, "hola", folder=tmp_path, DATABASE_URL=url, **COMPLETE)
    assert ended.code == 75, ended
    cluster.drop(url)


def test_a_moved_file_is_served_no_more_and_its_copy_has_all_of_it(empty: str, tmp_path: Path) -> None:
    story = Story(tmp_path / "story.db")
    story.call("conv_1")
    story.close()
    env = {"WA_RELAY_DATABASE_PATH": str(story.path), **COMPLETE}
    plain = command("database", "copy", "-", str(tmp_path / "other.db"), folder=tmp_path, **env)
    assert plain.code == 0, plain
    assert "Two databases can write to the same customers" in plain.out
    again = command("database", "copy", "-", str(tmp_path / "other.db"), folder=tmp_path, **env)
    assert again.code == 1, again
    moved = command("database", "copy", "-", empty, "--move", folder=tmp_path, **env)
    assert moved.code == 0, moved
    refused = command("serve", folder=tmp_path, **env)
    assert refused.code == 65, refused
    assert empty.partition("?")[0].rpartition("/")[2] in refused.err
    there = command("history", ANA, folder=tmp_path, DATABASE_URL=empty)
    here = command("history", ANA, folder=tmp_path, WA_RELAY_DATABASE_PATH=str(story.path))
    assert (there.code, there.out) == (0, here.out)


def test_a_host_whose_clock_is_off_says_so(cluster: Cluster, tmp_path: Path, empty: str) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() + 9.0\n")

    async def scenario() -> None:
        path = os.pathsep.join((str(tmp_path), *sys.path))
        async with stage(tmp_path, {"database": {"url": empty}}, env={"PYTHONPATH": path}) as s:
            health = (await s.call("GET", "/health")).json
            assert 8.0 < health["clock_offset_seconds"] < 10.0
            assert health["status"] == "degraded"
            # Due times follow the database's clock: nothing is early or late by 9 s.
            await s.report()
            await s.sent(1, within=5)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_host_that_is_cut_off_sends_nothing_and_starts_again_by_itself(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.create()
    host = url.rpartition("host=")[2]

    async def scenario() -> None:
        with CuttingProxy(Path(host)) as proxy:
            through = url.replace(host, str(proxy.folder))
            async with several(tmp_path, through, 1) as daemons:
                cut = daemons.relays[0]
                (folder := tmp_path / "other").mkdir()
                other = Relay(folder, cut._settings, {})
                other.write_config({"database": {"url": url}})
                await daemons.call(cut, "POST", "/api/call-completed", payload("conv_ana"))
                await daemons.stage.sent(1, ANA)
                daemons.stage.elevenlabs.scenarios.next(Scenario("plain", before=8.0))
                await daemons.stage.twilio.customer_writes(ANA, "¿Precio?")
                await until(lambda: "agent_asked" in cut.log, 10, cut.log[-2000:])
                # Only now: either of two daemons may take a turn.
                await other.start()
                try:
                    proxy.isolate()
                    await until(lambda: "taken_over daemons=1" in other.log, 15)
                    await daemons.until_health(cut, 503, 15)
                    proxy.reconnect()
                    await until(lambda: "lease_lost" in cut.log, 10, cut.log[-2000:])
                    await daemons.until_health(cut, 200, 15)
                    # The turn that it had begun is asked again by the other, and answered once.
                    assert len(await daemons.stage.sent(2, ANA)) == 2
                    await daemons.call(cut, "POST", "/api/call-completed", payload("conv_cut", LUIS))
                    await daemons.stage.sent(1, LUIS)
                    assert len(daemons.stage.bodies(ANA)) == 2
                    assert "_fault" not in cut.log
                finally:
                    await other.kill()

    asyncio.run(asyncio.wait_for(scenario(), 90))
    cluster.drop(url)
