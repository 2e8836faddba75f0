"""Each fault is named alone, by one check, and beside another fault."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.doctor.healthy import examined, faults_of, healthy
from tests.doctor.planted import FAULTS, Ground, MountRefused, Planted
from tests.e2e.stage import run


def beside(fault: Planted) -> Planted:
    """A second fault that can be planted beside one: the next in the list with another place and no restart."""
    at = FAULTS.index(fault)
    following = (*FAULTS[at + 7 :], *FAULTS[: at + 7])
    taken = {fault.place, "database", "sends", "clock"}
    if fault.place in ("url", "sender"):
        taken |= {"sender", "url"}
    if fault.place in ("twilio", "key"):
        # A setting that can't be queried is not reported.
        taken |= {"twilio", "sender", "template", "key", "agent", "poller"}
    if fault.place in ("sender", "template", "agent", "poller"):
        taken |= {"twilio", "key", "poller"}
    return next(each for each in following if each.place not in taken and not each.needs_restart)


SAMPLED = [
    # All of them take minutes: every sixth is in the suite, and `make soak` plants the rest.
    pytest.param(fault, id=fault.name, marks=[pytest.mark.soak] if number % 6 else [])
    for number, fault in enumerate(FAULTS)
]


@pytest.mark.parametrize("fault", SAMPLED)
def test_one_fault_makes_one_check_say_so_and_a_second_one_hides_it_not(tmp_path: Path, fault: Planted) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as opened, healthy(tmp_path) as s:
            ground = Ground(s, opened, {})
            assert faults_of(await examined(s)) == {}
            try:
                await fault.plant(ground)
            except MountRefused:
                pytest.skip("needs the right to mount a file system")
            alone = faults_of(await examined(s, ground.clock))
            assert set(alone) == {fault.check}, alone
            found = alone[fault.check]
            assert (found.status, fault.says in found.message) == (fault.status, True), found
            second = beside(fault)
            await second.plant(ground)
            both = faults_of(await examined(s, ground.clock))
            assert set(both) == {fault.check, second.check}, both
            assert fault.says in both[fault.check].message
            assert second.says in both[second.check].message

    run(scenario(), within=240)


def test_no_two_faults_share_their_message() -> None:
    assert len({fault.says for fault in FAULTS} - {"refuses the credentials"}) >= len(FAULTS) - 2


@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.name)
def test_the_page_shows_the_text_of_each_fault(fault: Planted) -> None:
    page = (Path(__file__).parents[2] / "docs/doctor.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {fault.name} |")]
    _, _, check, mark, message, fix, _ = row.split(" | ".strip(), 6)
    assert (check.strip(), mark.strip()) == (fault.check, {"warn": "!", "fail": "✗"}[fault.status])
    assert fault.says in message
    assert fix.strip()
