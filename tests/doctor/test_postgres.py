"""Doctor's checks of a database on a PostgreSQL server."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from tests.engines import Cluster
from wa_relay.config import Config, load
from wa_relay.doctor import Check, postgres
from wa_relay.doctor.database import DATABASE
from wa_relay.ledger.location import Location
from wa_relay.loops.lease import settings_of
from wa_relay.standins.port import free_port

ACCOUNT = "AC" + "1" * 32


def config_of(**env: str) -> Config:
    return load(None, {"TWILIO_ACCOUNT_SID": ACCOUNT, **env}, cwd=Path("/"))


def examined(url: str, config: Config | None = None) -> dict[str, Check]:
    return {check.name: check for check in postgres.examine(Location(Path("/nowhere"), url), config or config_of())}


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    made = cluster.copy(1_795_000_000.0)
    yield made
    cluster.drop(made)


def a_daemon_runs(url: str, settings: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as db:
        db.execute(
            "insert into runs (started_at, host, pid, version, settings, seen_at, lease_until) values "
            "(1, 'relay-2', 77, '0.1.0', %s, extract(epoch from clock_timestamp()), "
            "extract(epoch from clock_timestamp()) + 60)",
            (settings,),
        )


def test_nothing_is_wrong_with_a_fresh_database(url: str) -> None:
    a_daemon_runs(url, settings_of(config_of()))
    found = examined(url)
    assert {check.status for check in found.values()} == {"ok"}, found
    assert set(found) == {DATABASE, *postgres.NAMES}


def test_settings_that_differ_between_daemons_are_named(url: str) -> None:
    a_daemon_runs(url, settings_of(config_of()))
    found = examined(url, config_of(WA_RELAY_REPLY_FALLBACK="Otro"))
    assert [name for name, check in found.items() if check.found] == [postgres.SETTINGS]
    assert found[postgres.SETTINGS].status == "warn"
    assert "reply.fallback" in str(found[postgres.SETTINGS].fix)
    assert "relay-2" in found[postgres.SETTINGS].message


def test_settings_that_must_agree_fail(url: str) -> None:
    a_daemon_runs(url, settings_of(config_of()))
    found = examined(url, config_of(WA_RELAY_OPENING_BURST_LIMIT="7"))[postgres.SETTINGS]
    assert (found.status, "opening.burst_limit" in found.message) == ("fail", True)


def test_an_account_of_another_database_fails_and_names_both(url: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as db:
        db.execute("update relay set account_sid = 'AC2'")
    found = examined(url)[DATABASE]
    assert found.status == "fail"
    assert "AC2" in found.message
    assert ACCOUNT in found.message


def test_a_database_that_is_not_there_fails_and_one_without_tables_does_not(cluster: Cluster) -> None:
    assert examined(cluster.url_of("nobody_made_it"))[DATABASE].status == "fail"
    empty = cluster.create()
    assert examined(empty)[DATABASE].status == "ok"
    cluster.drop(empty)


def test_no_password_is_shown() -> None:
    found = examined(f"postgresql://relay:secret-word@127.0.0.1:{free_port()}/relay")
    assert found[DATABASE].status == "fail"
    assert "secret-word" not in json.dumps([check.to_json() for check in found.values()])


@pytest.mark.parametrize(("mode", "status"), [("transaction", "fail"), ("session", "ok")])
def test_a_pooler_in_transaction_mode_is_named(url: str, tmp_path: Path, mode: str, status: str) -> None:
    if shutil.which("pgbouncer") is None:
        pytest.skip("pgbouncer is not installed (apt-get install pgbouncer)")
    parts = urlsplit(url)
    database, port = parts.path.removeprefix("/"), free_port()
    place = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
    folder = tmp_path / "pooler"
    folder.mkdir()
    users = folder / "users.txt"
    users.write_text(f'"{parts.username or "postgres"}" ""\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{database} = host={place} port={parts.port or 5432} dbname={database} "
        f"user={parts.username or 'postgres'}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = any\nauth_file = {users}\npool_mode = {mode}\n"
        "ignore_startup_parameters = extra_float_digits,options\n"
    )
    process = subprocess.Popen(
        _unprivileged(folder, config, Path(place)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _listens(port)
        found = examined(f"postgresql://{parts.username or 'postgres'}@127.0.0.1:{port}/{database}")
        assert found[postgres.POOLER].status == status, found
    finally:
        process.terminate()
        process.wait()


def _unprivileged(folder: Path, config: Path, place: Path) -> list[str]:
    """pgbouncer refuses to run as root: it runs as the owner of PostgreSQL's socket."""
    if os.geteuid() != 0:
        return ["pgbouncer", str(config)]
    user = pwd.getpwuid(place.stat().st_uid)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    for above in (*folder.parents, *place.parents):
        if above.is_relative_to("/tmp"):  # noqa: S108 (the test's own folders, which only root may enter)
            above.chmod(above.stat().st_mode | 0o011)
    return ["pgbouncer", "-u", user.pw_name, str(config)]


def _listens(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "pgbouncer does not listen"
            time.sleep(0.05)
        else:
            return
