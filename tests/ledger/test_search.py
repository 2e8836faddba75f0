"""Search on both engines: indexed by the job, true after every change, the newest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.engines import only_postgres
from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import calls, inbox, indexing, search
from wa_relay.ledger.store import Ledger
from wa_relay.policy import OpeningText

LUIS = "+573001112233"


def write(ledger: Ledger, text: str, phone: str = PHONE, at: float = NOW) -> int:
    number = ledger.need_one("select count(*) from conversation_messages")[0]
    received = inbox.record_inbound(ledger, written(text, f"SM{number}", phone=phone), at)
    assert received.message_id is not None
    return received.message_id


def index(ledger: Ledger) -> None:
    while indexing.index_more(ledger, 3):
        pass
    assert not indexing.is_behind(ledger.db)


def found(ledger: Ledger, query: str, limit: int = 100) -> list[int]:
    return [one.message_id for one in search.find(ledger.db, query, limit)]


@pytest.fixture
def talk(make_ledger: Callable[..., Ledger]) -> tuple[Ledger, dict[str, int]]:
    """Two customers and what they wrote, by its first word."""
    ledger = make_ledger(openings={"completed": OpeningText(body="Gracias por atender.")})
    calls.record_call(ledger, call(), NOW)
    calls.record_call(ledger, call("conv_2", phone=LUIS, client_name="Luis Núñez"), NOW)
    texts = ("¿Cuál es el PRECIO del plan?", "adiós, no me interesa", "Interesante: precios por e-mail a ana@correo.co")
    ids = {text.split()[0]: write(ledger, text) for text in texts}
    ids["luis"] = write(ledger, "El precio, por favor", LUIS)
    index(ledger)
    return ledger, ids


def test_the_job_is_behind_until_it_has_taken_what_came(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    write(ledger, "hola")
    assert indexing.is_behind(ledger.db)
    assert found(ledger, "hola") == []
    index(ledger)
    assert len(found(ledger, "hola")) == 2


def test_all_words_must_match_without_case_and_accents(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, ids = talk
    assert found(ledger, "ADIOS interesa") == [ids["adiós,"]]
    assert found(ledger, "adiós precio") == []
    assert found(ledger, "cual plan") == [ids["¿Cuál"]]


def test_a_star_makes_a_prefix(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, ids = talk
    assert found(ledger, "interesa") == [ids["adiós,"]]
    assert found(ledger, "interesa*") == [ids["Interesante:"], ids["adiós,"]]
    assert found(ledger, "interes* precios") == [ids["Interesante:"]]


@pytest.mark.parametrize(
    "query", ["precio OR adiós", "precio NOT por", "precio AND plan", "NEAR(precio plan)", "content:precio", "pre^cio"]
)
def test_operators_are_plain_words(talk: tuple[Ledger, dict[str, int]], query: str) -> None:
    assert found(talk[0], query) == []


@pytest.mark.parametrize("query", ['"precio', "precio) (", "-precio", "+precio", "'precio'", "{precio}"])
def test_signs_are_left_out(talk: tuple[Ledger, dict[str, int]], query: str) -> None:
    assert found(talk[0], query) == [talk[1]["luis"], talk[1]["¿Cuál"]]


@pytest.mark.parametrize("query", ["", "*", "'; drop table calls; --", "¿?", "\x00", "%", "a" * 5000, "'\\"])
def test_no_query_is_an_error(talk: tuple[Ledger, dict[str, int]], query: str) -> None:
    assert found(talk[0], query) == []


def test_the_newest_comes_first_up_to_the_limit(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, ids = talk
    assert found(ledger, "precio") == [ids["luis"], ids["¿Cuál"]]
    assert found(ledger, "precio", 1) == [ids["luis"]]


def test_a_message_is_shown_with_its_customer(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, ids = talk
    (one,) = search.find(ledger.db, "favor", 10)
    assert one.to_json() == {
        "phone_number": LUIS,
        "client_name": "Luis Núñez",
        "message_id": ids["luis"],
        "direction": "inbound",
        "sent_at": "2026-11-18T11:06:40Z",
        "snippet": "El precio, por favor",
    }


def test_a_text_that_changes_is_found_by_its_new_words_only(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, ids = talk
    ledger.run("update conversation_messages set content = 'la factura' where id = :id", {"id": ids["luis"]})
    index(ledger)
    assert found(ledger, "favor") == []
    assert found(ledger, "factura") == [ids["luis"]]


def test_a_text_that_changes_before_it_is_indexed_is_indexed_once(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    message_id = write(ledger, "viejo")
    ledger.run("update conversation_messages set content = 'nuevo' where id = :id", {"id": message_id})
    index(ledger)
    assert (found(ledger, "viejo"), found(ledger, "nuevo")) == ([], [message_id])


def test_a_text_that_is_blanked_leaves_the_index_at_once(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, ids = talk
    ledger.run("update conversation_messages set content = '' where id = :id", {"id": ids["luis"]})
    assert found(ledger, "favor") == []


def test_after_an_erasure_the_texts_can_be_cleaned_out_of_the_file(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, ids = talk
    write(ledger, "palabrasecreta")
    index(ledger)
    ledger.run("update conversation_messages set content = '' where content = 'palabrasecreta'")
    ledger.run("delete from conversation_messages where id = :id", {"id": ids["luis"]})
    more = indexing.clean(ledger, begins=True)
    while more:
        more = indexing.clean(ledger, begins=False)
    if ledger.db.name == "sqlite":
        blocks: list[Any] = ledger.all("select block from search_index_data")
        assert not any(b"palabrasecreta" in bytes(row[0]) for row in blocks)
        ledger.run("insert into search_index (search_index, rank) values ('integrity-check', 1)")


def test_conversations_are_found_by_their_messages(talk: tuple[Ledger, dict[str, int]]) -> None:
    assert search.find_conversations(talk[0].db, "precio") == {1, 2}
    assert search.find_conversations(talk[0].db, "adios") == {1}
    assert search.find_conversations(talk[0].db, "luis") == set()


@pytest.mark.parametrize("query", ["nunez", "LUIS Núñ*", "300111", "+57 300 111-2233", "2233"])
def test_customers_are_found_by_name_and_by_the_digits_of_their_number(
    talk: tuple[Ledger, dict[str, int]], query: str
) -> None:
    assert search.find_conversations(talk[0].db, query, customers=True) == {2}


def test_a_name_that_changes_is_found_by_its_new_words_only(talk: tuple[Ledger, dict[str, int]]) -> None:
    ledger, _ = talk
    ledger.run("update conversation_state set client_name = 'Eva' where id = 2")
    index(ledger)
    assert search.find_conversations(ledger.db, "luis", customers=True) == set()
    assert search.find_conversations(ledger.db, "eva", customers=True) == {2}
    indexing.forget_name(ledger, 2)
    assert search.find_conversations(ledger.db, "eva", customers=True) == set()


def test_a_customer_renamed_before_the_index_knew_them_is_found_by_the_new_name(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    ledger.run("update conversation_state set client_name = 'Rocío' where id = 1")
    index(ledger)
    assert search.find_conversations(ledger.db, "rocio", customers=True) == {1}


@only_postgres
def test_the_job_takes_as_many_statements_for_many_texts_as_for_two(ledger: Ledger) -> None:
    """A statement for each of 200 texts held every webhook up for 20 to 50 ms."""

    def changes_of_step(count: int, first: int) -> int:
        for number in range(first, first + count):
            calls.record_call(ledger, call(f"conv_{number}", phone=f"+5730011{number:05}"), NOW)
            write(ledger, f"azul {number}", f"+5730011{number:05}")
        before = ledger.db.total_changes
        indexing.index_more(ledger, 200)
        return ledger.db.total_changes - before

    assert changes_of_step(40, first=10) == changes_of_step(2, first=100)
    assert not indexing.is_behind(ledger.db)
    assert len(found(ledger, "azul")) == 42
