"""Operations that run in one group leave what they leave one by one, with fewer statements or round trips."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.engines import ENGINES, place_for
from tests.ledger.conftest import NOW, RULES, call, written
from wa_relay.ledger import calls, claims, copying, foretold_ids, inbox, send_results, store, turns
from wa_relay.ledger.engine import Query
from wa_relay.ledger.faults import CallConflict
from wa_relay.ledger.postgres import PostgresEngine
from wa_relay.ledger.prepared_statements import Rows
from wa_relay.ledger.read_ahead import reads_ahead
from wa_relay.ledger.sqlite import SqliteEngine
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import GROUP, LedgerThread
from wa_relay.model import Accepted, Call, Inbound

Step = tuple[Callable[..., Any], tuple[Any, ...]]
CUSTOMERS = 12
TABLES = (
    *("conversation_messages", "turns", "conversation_state", "calls", "addresses", "opt_outs", "strangers", "merged"),
    "journal",
)
INSERT_TURN = """
    insert into turns (conversation_id, state, first_at, last_at, due_at) values (1, 'cancelled', 0, 0, 0)"""

END_OPENINGS = """
    update conversation_messages set status = 'failed', reason = 'expired', moved_by = 'rule', moved_at = 0
    where kind = 'opening'"""


only_postgres = pytest.mark.parametrize("make", ["postgres"], indirect=True)
only_sqlite = pytest.mark.parametrize("make", ["sqlite"], indirect=True)


class Counting(PostgresEngine):
    """Counts the statements whose rows an operation reads."""

    asked = 0

    def execute(self, sql: str, parameters: Any = None, /) -> Any:
        """Counts one more."""
        found = super().execute(sql, parameters)
        self.asked += isinstance(found, Rows)
        return found


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Makes ledgers with a few customers, each on a database of its own."""
    made: list[Ledger] = []

    def begin() -> Ledger:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        place = places.enter_context(place_for(request.param, folder, request))
        ledger = Ledger(place.open_for_writing("AC1", NOW - 3600.0).connection, RULES)
        store.begin_run(ledger, NOW - 3600.0)
        for number in range(CUSTOMERS):
            calls.record_call(ledger, call(f"conv_{number}", phone=_phone(number), ended_at=NOW - 60.0), NOW - 60.0)
        made.append(ledger)
        return ledger

    with ExitStack() as places:
        yield begin
        for ledger in made:
            ledger.db.close()


def _phone(number: int) -> str:
    return f"+5730000000{number:02}"


def _in_groups(ledger: Ledger, groups: Sequence[Sequence[Step]], clock: Callable[[], float] | None = None) -> list[Any]:
    """Runs each group as the operations that wait while the thread is busy."""

    async def scenario() -> list[Any]:
        thread = LedgerThread(ledger) if clock is None else LedgerThread(ledger, clock=clock)
        found: list[Any] = []
        for group in groups:
            begun, may_go = threading.Event(), threading.Event()

            def hold(_ledger: Ledger, begun: threading.Event = begun, may_go: threading.Event = may_go) -> None:
                begun.set()
                assert may_go.wait(10)

            holding = thread.hand_over(hold)
            await asyncio.to_thread(begun.wait, 10)
            waiting = [thread.hand_over(operation, *arguments) for operation, arguments in group]
            may_go.set()
            found += (await asyncio.gather(holding, *waiting, return_exceptions=True))[1:]
        # A second one may be closed by the fixture: the run goes on.
        ledger.runs = False
        await thread.run(lambda _ledger: None)
        return found

    return asyncio.run(asyncio.wait_for(scenario(), 120))


def _contents(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for table in TABLES:
        columns = [each for each in copying._columns(ledger.db, table) if each != "epoch"]
        found[table] = sorted(
            (tuple(row) for row in ledger.db.tuples(f"select {', '.join(columns)} from {table}", {})), key=repr
        )
    return found


def _messages(dice: random.Random, count: int) -> list[Inbound]:
    """Messages of few customers: repeated, from unknown numbers, with wishes, and with addresses of each other."""
    texts = ["Sí", "¿Cuánto cuesta el plan de fibra?", "BAJA", "ALTA", "quiero hablar con una persona"]
    made = []
    for number in range(count):
        user_id = dice.choice([None, None, None, f"CO.{dice.randrange(CUSTOMERS)}"])
        phone = _phone(dice.randrange(CUSTOMERS + 2)) if user_id is None or dice.random() < 0.5 else user_id
        sid = f"SM{dice.randrange(number + 1) if dice.random() < 0.1 else number}"
        made.append(written(dice.choice(texts), sid=sid, phone=phone, user_id=user_id))
    return made


def _calls(dice: random.Random, count: int) -> list[Call]:
    """Reports of calls: of known and unknown customers, repeated, with two spellings of a number, and in conflict."""
    made = []
    for number in range(count):
        known = dice.random() < 0.3
        phone = _phone(dice.randrange(CUSTOMERS)) if known else f"+5215550000{dice.randrange(60):03}"
        phone = phone.replace("+521", "+52") if dice.random() < 0.3 else phone
        key = f"conv_x{dice.randrange(number + 1) if dice.random() < 0.1 else number}"
        made.append(call(key, phone=phone, ended_at=NOW - 60.0, source=dice.choice(["push", "webhook"])))
    return made


@pytest.mark.parametrize("seed", range(6))
def test_messages_in_a_group_leave_what_they_leave_one_by_one(make: Callable[[], Ledger], seed: int) -> None:
    dice = random.Random(seed)
    steps: list[Step] = [(inbox.record_inbound, (each, NOW)) for each in _messages(dice, 120)]
    _compare(make(), make(), steps, dice)


@pytest.mark.parametrize("seed", range(6))
def test_calls_in_a_group_leave_what_they_leave_one_by_one(make: Callable[[], Ledger], seed: int) -> None:
    dice = random.Random(seed)
    steps: list[Step] = [(calls.record_call, (each, NOW)) for each in _calls(dice, 120)]
    _compare(make(), make(), steps, dice)


def _compare(alone: Ledger, together: Ledger, steps: Sequence[Step], dice: random.Random) -> None:
    found = []
    for operation, arguments in steps:
        alone.db.begin()
        try:
            found.append(operation(alone, *arguments))
        except CallConflict as conflict:
            found.append(conflict)
        alone.db.commit()
    pairs = itertools.pairwise([0, *sorted(dice.sample(range(1, len(steps)), 5)), len(steps)])
    in_groups = _in_groups(together, [steps[begin:end] for begin, end in pairs])
    assert [type(each) for each in in_groups] == [type(each) for each in found]
    assert _without_ids(_contents(together)) == _without_ids(_contents(alone))


def _without_ids(contents: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[str]]:
    """A group that ran again leaves gaps in the ids: everything but them, in order."""
    return {
        table: sorted(
            repr([value for value in row if not isinstance(value, int) or isinstance(value, bool)]) for row in rows
        )
        for table, rows in contents.items()
    }


@only_postgres
def test_a_group_of_messages_asks_for_their_customers_at_once(make: Callable[[], Ledger]) -> None:
    ledger = make()
    ledger.run(END_OPENINGS)
    ledger.db.__class__ = Counting
    assert isinstance(ledger.db, Counting)
    steps: list[Step] = [
        (inbox.record_inbound, (written("Sí", sid=f"SM{number}", phone=_phone(number)), NOW))
        for number in range(CUSTOMERS)
    ]
    _in_groups(ledger, [steps[:1]])
    before = ledger.db.asked
    stored = _in_groups(ledger, [steps[1:]])
    assert [each.effect for each in stored] == ["turn"] * (CUSTOMERS - 1)
    # Each found its customer read ahead, and waited for no id.
    assert ledger.db.asked - before == CUSTOMERS - 1


@only_sqlite
def test_a_file_stores_the_messages_of_a_group_with_few_statements(make: Callable[[], Ledger]) -> None:
    ledger = make()
    steps: list[Step] = [
        (inbox.record_inbound, (written("Sí", sid=f"SM{number}", phone=_phone(number)), NOW))
        for number in range(CUSTOMERS)
    ]
    ledger.run(END_OPENINGS)
    made: list[str] = []
    assert isinstance(ledger.db, SqliteEngine)
    ledger.db.set_trace_callback(made.append)
    stored = _in_groups(ledger, [steps])
    ledger.db.set_trace_callback(None)
    assert [each.message_id for each in stored] == [
        row["id"] for row in ledger.all("select id from conversation_messages where direction = 'inbound' order by id")
    ]
    assert len([sql for sql in made if "join addresses a join conversation_state" in sql]) == 1
    # A statement is reported once more for each trigger that it meets.
    changes = [sql.split()[:3] for sql, _ in itertools.groupby(made) if re.match(r"\s*(insert|update)", sql)]
    # The details of the calls are wanted one by one.
    assert [(*each, len(list(same))) for each, same in itertools.groupby(changes)] == [
        ("insert", "into", "turns", 1),
        ("insert", "into", "conversation_messages", 1),
        ("update", "conversation_state", "set", 1),
        ("update", "calls", "set", CUSTOMERS),
    ]


@only_sqlite
def test_a_file_looks_up_the_calls_of_a_group_at_once(make: Callable[[], Ledger]) -> None:
    ledger = make()
    steps: list[Step] = [
        (calls.record_call, (call(f"new_{number}", phone=f"+5215550000{number:03}", ended_at=NOW - 60.0), NOW))
        for number in range(CUSTOMERS)
    ]
    made: list[str] = []
    assert isinstance(ledger.db, SqliteEngine)
    ledger.db.set_trace_callback(made.append)
    _in_groups(ledger, [steps])
    ledger.db.set_trace_callback(None)
    assert len([sql for sql in made if "from call_hints" in sql]) == 1


def test_of_two_messages_with_one_sid_in_a_group_the_second_is_known(make: Callable[[], Ledger]) -> None:
    ledger = make()
    sids = [f"SM{number}" for number in range(CUSTOMERS - 1)]
    steps: list[Step] = [
        (inbox.record_inbound, (written("Sí", sid=sid, phone=_phone(number)), NOW))
        for number, sid in enumerate([*sids, sids[0]])
    ]
    stored = _in_groups(ledger, [steps])
    assert [each.effect for each in stored] == ["turn"] * (CUSTOMERS - 1) + ["duplicate"]


def _query_of_phone(phone: str, *_rest: Any) -> Query:
    return "select conversation_id from addresses where address = :phone", {"phone": phone}


@reads_ahead(_query_of_phone)
def _count(ledger: Ledger, phone: str, error: str) -> int:
    """Reads its customer, makes two changes that follow from each other, and may fail then."""
    (conversation_id,) = ledger.need_one(*_query_of_phone(phone))
    ledger.write("update conversation_state set unread = unread + 1 where id = :id", {"id": conversation_id})
    ledger.write("update conversation_state set bucket = unread where id = :id", {"id": conversation_id})
    if error:
        raise ValueError(error)
    return int(ledger.need_one("select bucket from conversation_state where id = :id", {"id": conversation_id})[0])


def test_an_operation_finds_its_own_changes_in_a_group(make: Callable[[], Ledger]) -> None:
    steps: list[Step] = [(_count, (_phone(number), "")) for number in range(CUSTOMERS)]
    assert _in_groups(make(), [steps]) == [1] * CUSTOMERS


def test_an_operation_that_fails_after_a_deferred_change_leaves_nothing(make: Callable[[], Ledger]) -> None:
    ledger = make()
    steps: list[Step] = [(_count, (_phone(number), "it fails" if number == 7 else "")) for number in range(CUSTOMERS)]
    found = _in_groups(ledger, [steps])
    assert [number for number, each in enumerate(found) if isinstance(each, ValueError)] == [7]
    unread = "select s.unread from addresses a join conversation_state s on s.id = a.conversation_id order by a.address"
    assert [row[0] for row in ledger.all(unread)] == [int(number != 7) for number in range(CUSTOMERS)]


@reads_ahead(_query_of_phone)
def _mark(ledger: Ledger, phone: str, marked: str) -> None:
    """Reads its customer, and marks an address: a change of exactly one row. The last one makes another at once."""
    ledger.need_one(*_query_of_phone(phone))
    if phone == _phone(CUSTOMERS - 1):
        ledger.run("update relay set probed_at = coalesce(probed_at, 0)")
    ledger.write_one("update addresses set writes_since = :now where address = :phone", {"now": NOW, "phone": marked})
    ledger.write("update relay set probed_at = coalesce(probed_at, 0) + 1", {})


@pytest.mark.parametrize("culprit", [0, 7, CUSTOMERS - 1])
def test_a_deferred_change_that_fails_undoes_its_own_operation_alone(make: Callable[[], Ledger], culprit: int) -> None:
    ledger = make()
    steps: list[Step] = [
        (_mark, (_phone(number), "+1" if number == culprit else _phone(number))) for number in range(CUSTOMERS)
    ]
    found = _in_groups(ledger, [steps])
    assert [number for number, each in enumerate(found) if isinstance(each, LookupError)] == [culprit]
    assert ledger.need_one("select probed_at from relay")[0] == CUSTOMERS - 1
    marked = ledger.all("select 1 from addresses where writes_since = :now", {"now": NOW})
    assert len(marked) == CUSTOMERS - 1


def test_a_whole_message_in_groups_is_asked_and_sent_once(make: Callable[[], Ledger]) -> None:
    ledger = make()
    _in_groups(
        ledger,
        [[(inbox.record_inbound, (written("Sí", sid=f"SM{n}", phone=_phone(n)), NOW)) for n in range(CUSTOMERS)]],
    )
    (claimed,) = _in_groups(ledger, [[(turns.claim_turns, (CUSTOMERS, NOW + 30.0))]])
    assert [job.question.text for job in claimed.jobs] == ["Sí"] * CUSTOMERS
    answers: list[Step] = [
        (turns.take_answer, (job.turn_id, ["Cuesta diez.", "Al mes."], "session", NOW + 31.0)) for job in claimed.jobs
    ]
    assert _in_groups(ledger, [answers]) == [True] * CUSTOMERS
    (sending,) = _in_groups(ledger, [[(claims.claim_messages, (CUSTOMERS, NOW + 32.0))]])
    results: list[Step] = [
        (send_results.finish_send, (job.outgoing.message_id, Accepted(f"SMx{job.outgoing.message_id}"), NOW + 33.0))
        for job in sending.jobs
    ]
    assert [done.status for done in _in_groups(ledger, [results])] == ["sent"] * CUSTOMERS
    (following,) = _in_groups(ledger, [[(claims.claim_messages, (CUSTOMERS, NOW + 60.0))]])
    assert len(following.jobs) == CUSTOMERS


@only_postgres
def test_an_id_that_another_connection_took_is_given_by_the_server(
    make: Callable[[], Ledger],
) -> None:
    ledger = make()

    def interfere(held: Ledger) -> None:
        other = PostgresEngine(held.db._url)  # type: ignore[attr-defined]
        other.execute(INSERT_TURN)
        other.close()

    steps: list[Step] = [
        (inbox.record_inbound, (written("Sí", sid=f"SM{number}", phone=_phone(number)), NOW))
        for number in range(CUSTOMERS)
    ]
    found = _in_groups(ledger, [[(interfere, ()), *steps]])
    # The second time there is no row in the way any more, and the server goes on behind the first.
    assert [each.effect for each in found[1:]] == ["turn"] * CUSTOMERS
    assert len(ledger.all("select id from turns where state = 'open'")) == CUSTOMERS


def test_an_insert_is_given_its_id_only_if_it_surely_makes_a_row() -> None:
    given = foretold_ids.with_id("insert into turns (state, due_at) values (:state, :due)")
    assert given == "insert into turns (id, state, due_at) values (cast(:foretold_id as bigint), :state, :due)"
    for other in (" on conflict do nothing", " returning id"):
        assert foretold_ids.with_id(f"insert into turns (state) values (:state){other}") is None
    assert foretold_ids.with_id("insert into turns (state) select :state from relay") is None
    assert foretold_ids.table_of_insert("insert into journal (at) values (1)") is None


def test_a_change_of_another_number_of_rows_commits_nothing_of_its_operation(make: Callable[[], Ledger]) -> None:
    ledger = make()

    def change(held: Ledger, phone: str) -> None:
        held.write("update relay set probed_at = coalesce(probed_at, 0) + 1", {})
        held.write_one("update addresses set writes_since = :now where address = :phone", {"now": NOW, "phone": phone})

    found = _in_groups(ledger, [[(change, (_phone(0),)), (change, ("+1",)), (change, (_phone(1),))]])
    assert [type(each) for each in found] == [type(None), LookupError, type(None)]
    assert ledger.need_one("select probed_at from relay")[0] == 2.0


@only_postgres
def test_more_than_a_socket_holds_is_sent_in_one_group(make: Callable[[], Ledger]) -> None:
    ledger = make()
    keep = "insert into strangers (phone_number, content, received_at) values ('+57', :content, 0)"

    def write(held: Ledger) -> None:
        for number in range(8):
            held.write(keep, {"content": str(number) * 4000})

    _in_groups(ledger, [[(write, ())] * (GROUP - 1)])
    assert ledger.need_one("select count(*) from strangers")[0] == 8 * (GROUP - 1)


@only_postgres
def test_a_group_that_takes_long_is_ended_and_the_rest_comes_next(make: Callable[[], Ledger]) -> None:
    ledger, seconds = make(), itertools.count(0.0, 0.4)
    xids: list[Step] = [(lambda held: held.need_one("select cast(pg_current_xact_id() as text)")[0], ())] * 8
    found = _in_groups(ledger, [xids], clock=lambda: next(seconds))
    assert found == sorted(found, key=int)
    assert len(set(found)) > 2
