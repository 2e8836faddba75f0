"""The plan of faults of the stand-in: by order and by chance, and their entries in the journal."""

from __future__ import annotations

import asyncio

import pytest

from tests.standins.test_twilio_faults import create, spoiled
from tests.standins.twilio_played import official, playing, run
from wa_relay.standins.twilio import FAULTS, PLAYABLE, WAYS, Fault, TwilioStandin


def test_chance_repeats_itself_by_seed_and_plays_every_fault_it_is_given() -> None:
    def dice(seed: int) -> list[Fault | None]:
        standin = TwilioStandin()
        standin.faults.randomly(0.5, [kind for kind in FAULTS if kind != "F21"], seed)
        return [standin.faults.take(operation) for _ in range(400) for operation in ("create", "list")]

    assert dice(1) == dice(1) != dice(2)
    played = [fault for fault in dice(1) if fault is not None]
    assert 300 < len(played) < 500
    assert {fault.kind for fault in played} == set(FAULTS) - {"F21"}
    assert {fault.how for fault in played if fault.kind == "F22"} == set(WAYS["F22"])


@pytest.mark.parametrize(
    ("operation", "kind", "how"),
    [("list", "F6", ""), ("create", "F99", ""), ("nothing", "F9", ""), ("list", "F22", "x")],
)
def test_a_fault_that_makes_no_sense_is_not_planned(operation: str, kind: str, how: str) -> None:
    with pytest.raises(ValueError, match=r"F6|F99|F9|F22"):
        TwilioStandin().faults.next(operation, Fault(kind, how=how))


@pytest.mark.parametrize("kind", sorted(PLAYABLE["create"]))
def test_every_send_is_in_the_journal_once_whatever_its_result(kind: str) -> None:
    async def scenario() -> None:
        async with spoiled(Fault(kind, seconds=0.0, hold=0.0, size=10)) as standin:
            await create(standin)
            if kind == "F8":
                await standin.journal.wait_for(lambda one: one.kind == "late")
            (seen,) = standin.journal.entries("request")
            assert (seen.data["operation"], seen.data["authorized"]) == ("create", True)
            assert ("Body=Hola" in str(seen.data["form"])) == (kind != "F4")

    run(scenario())


@pytest.mark.parametrize(
    ("operation", "fault"),
    [("webhook", Fault("F21", how="early")), ("webhook", Fault("F21"))],
)
def test_a_webhook_cannot_come_before_its_message(operation: str, fault: Fault) -> None:
    with pytest.raises(ValueError, match="duplicate or reverse or never"):
        TwilioStandin().faults.next(operation, fault)
    standin = TwilioStandin()
    standin.faults.randomly(1.0, ["F21"], 3, operations=["webhook"])
    played = {fault.way for fault in (standin.faults.take("webhook") for _ in range(100)) if fault}
    assert played == set(WAYS["F21"]) - {"early"}


def test_a_whole_answer_never_mentions_a_message_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="F16"):
        Fault("F16", made=False)


def test_a_fault_of_receipts_waits_for_a_message_that_has_some() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, official(standin) as sdk:
            standin.faults.next("callback", Fault("F21", how="never"))
            await sdk.send(status_callback="http://127.0.0.1:9/status")
            assert standin.journal.entries("fault") == []

    run(scenario())


def test_a_burst_survives_chance_and_the_journal_knows_what_was_made() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin:
            standin.faults.randomly(0.5, ["F4", "F5", "F6", "F9", "F10", "F13", "F15"], 7, operations=["create"])
            seen = await asyncio.gather(*(create(standin) for _ in range(100)))
            made = [one for one in standin.journal.entries("fault") if one.data["made"]]
            unspoiled = 100 - len(standin.journal.entries("fault"))
            assert len(standin.accepted()) == unspoiled + len(made)
            assert any(one.error for one in seen)

    run(scenario())
