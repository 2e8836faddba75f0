"""The check of a file whose last daemon was killed."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.ledger.conftest import NOW
from wa_relay.ledger import file
from wa_relay.ledger.faults import DatabaseUnusable
from wa_relay.ledger.page_check import PageCheck

FILL = """
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000)
    insert into strangers (phone_number, content, received_at) select '+57', 'text ' || i, i from n"""


def _killed(path: Path) -> Path:
    with closing(file.open_for_writing(path, account_sid="AC1", now=NOW).connection) as db:
        db.execute("update relay set clean_stop = false")
        db.execute(FILL)
        db.execute("pragma wal_checkpoint(truncate)")
    return path


@pytest.mark.parametrize("unclean", [False, True])
def test_only_the_file_of_a_killed_daemon_is_to_be_checked(tmp_path: Path, *, unclean: bool) -> None:
    path = tmp_path / "relay.db"
    file.open_for_writing(path, account_sid="AC1", now=NOW).connection.close()
    if unclean:
        _killed(path)
    opened = file.open_for_writing(path, account_sid="AC1", now=NOW)
    opened.connection.close()
    assert opened.unclean is unclean


def test_a_sound_file_passes_beside_its_writer(tmp_path: Path) -> None:
    path = _killed(tmp_path / "relay.db")
    with closing(file.open_for_writing(path, account_sid="AC1", now=NOW).connection) as db:
        db.execute("begin immediate")
        PageCheck(path).run()
        db.execute("rollback")


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    path = _killed(tmp_path / "relay.db")
    path.write_bytes(path.read_bytes()[:500_000])
    with pytest.raises(DatabaseUnusable, match="damaged"):
        PageCheck(path).run()


def test_a_page_of_zeros_is_found(tmp_path: Path) -> None:
    path = _killed(tmp_path / "relay.db")
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("select rootpage from sqlite_master where name = 'one_opening_per_call'").fetchone()
    with path.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(bytes(4096))
    with pytest.raises(DatabaseUnusable, match="damaged"):
        PageCheck(path).run()


def test_a_check_that_is_given_up_ends_without_a_fault(tmp_path: Path) -> None:
    check = PageCheck(_killed(tmp_path / "relay.db"))
    running = threading.Thread(target=check.run)
    running.start()
    check.give_up()
    running.join(10)
    assert not running.is_alive()
    check.give_up()
    check.run()
