"""How the daemon starts and stops: what it checks first, what delays it, and what it finishes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.e2e.stage import ANA, LUIS, payload, run, stage, until
from tests.stopwatch import Stopwatch
from wa_relay.standins.twilio import Fault


def test_a_customer_who_opted_out_while_the_daemon_was_down_is_not_written_to_after_the_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert (await s.relay.command("pause"))[0] == 0
            assert (await s.report()).json["status"] == "message_queued"
            await s.relay.kill()
            await s.twilio.customer_writes(ANA, "BAJA", deliver=False)
            s.relay.write_config({"opt_out": {"confirmation": ""}})
            assert (await s.relay.command("resume"))[0] == 0
            await s.relay.start()
            await until(lambda: "sweep_found" in s.relay.log)
            assert (await s.report(payload("conv_2", LUIS))).json["status"] == "message_sent"
            thread = await s.conversation()
            assert thread["status"] == "opted_out"
            assert [(m["status"], m["reason"]) for m in thread["messages"] if m["kind"] == "opening"] == [
                ("failed", "cancelled")
            ]
            assert s.bodies(ANA) == []

    run(scenario())


def test_sending_does_not_wait_for_a_list_that_does_not_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            s.twilio.faults.next("list", Fault("F7"), 5)
            await s.relay.start()
            watch = Stopwatch()
            assert (await s.report()).json["status"] == "message_sent"
            assert watch.seconds < 5.0

    run(scenario())


def test_a_paused_relay_answers_a_report_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert (await s.relay.command("pause"))[0] == 0
            watch = Stopwatch()
            shown = await s.report()
            assert (shown.status, shown.json["status"]) == (202, "message_queued")
            assert watch.seconds < 1.0
            assert (await s.call("GET", "/health")).json["paused"] == "operator"
            assert (await s.relay.command("resume"))[1].startswith("Openings go out again; 1")
            await s.sent(1)

    run(scenario())


def test_a_burst_at_the_start_is_held_and_logged(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"opening": {"burst_limit": 3}}) as s:
            await s.relay.command("pause")
            for number in range(5):
                assert (await s.report(payload(f"conv_{number}", f"+57300111220{number}"))).status in (200, 202)
            # A kill after the pause's end could leave a send uncertain.
            await s.relay.kill()
            await s.relay.command("resume")
            assert s.twilio.accepted() == []
            await s.relay.start()
            for number in range(5, 12):
                assert (await s.report(payload(f"conv_{number}", f"+5730011122{number:02}"))).status in (200, 202)
            await until(lambda: " burst_held " in s.relay.log)
            assert (await s.call("GET", "/health")).json["paused"] == "burst"
            # The five that the operator let go, and the limit.
            assert len(s.twilio.accepted()) <= 5 + 3
            assert "Openings go out again" in (await s.relay.command("resume"))[1]
            await until(lambda: len(s.twilio.accepted()) == 12)

    run(scenario())


def test_sigterm_finishes_the_send_in_flight_and_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.faults.next("create", Fault("F16", seconds=0.002))
            waiting = asyncio.create_task(s.report())
            await s.sent(1)
            assert await s.relay.stop() == 0
            await asyncio.gather(waiting, return_exceptions=True)
            await s.relay.start()
            assert (await s.conversation())["messages"][0]["status"] in ("sent", "delivered", "read")
            assert "rescued" not in s.relay.log
            s.twilio.faults.next("create", Fault("F7"))
            waiting = asyncio.create_task(s.report(payload("conv_2", LUIS)))
            await s.sent(1, LUIS)
            assert s.relay.process is not None
            s.relay.process.send_signal(signal.SIGTERM)
            await until(lambda: " stopping" in s.relay.log.rpartition("listening")[2])
            watch = Stopwatch()
            assert await s.relay.stop() == 0
            assert watch.seconds < 2.0
            await asyncio.gather(waiting, return_exceptions=True)

    run(scenario())


def test_a_second_daemon_is_refused_and_names_the_first_which_a_kill_frees(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            assert s.relay.process is not None
            code, _, err = await s.relay.command("serve")
            assert code == 75
            assert f"pid {s.relay.process.pid} since" in err
            assert "Traceback" not in err
            await s.relay.kill()
            await s.relay.start()

    run(scenario())


def test_commands_reach_the_daemon_of_a_database_that_lies_too_deep_for_a_unix_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("campaña-" * 6) / ("clientes-" * 6)
    deep.mkdir(parents=True)

    async def scenario() -> None:
        async with stage(deep) as s:
            assert (await s.relay.command("pause"))[0] == 0
            assert (await s.call("GET", "/health")).json["paused"] == "operator"
            assert "runs (pid" in (await s.relay.command("doctor"))[1]
            (control,) = deep.rglob("*.sock")
            assert control.is_socket()
            assert control.stat().st_mode & 0o777 == 0o600
            await s.relay.stop()
            assert not control.exists()

    run(scenario())


def test_a_database_whose_name_is_too_long_for_its_control_socket_is_refused_with_a_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"database": {"path": "x" * 120 + ".db"}}, start=False) as s:
            code, _, err = await s.relay.command("serve")
            assert code == 78
            assert "database.path" in err
            assert "Traceback" not in err

    run(scenario())
