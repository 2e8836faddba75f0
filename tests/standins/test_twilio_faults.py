"""Each fault of the stand-in, proven by a client: what it sees, and whether the message exists."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import httpx
import pytest

from tests.standins.test_twilio_messages import ask, path_of
from tests.standins.twilio_played import ANA, LUIS, official, password, playing, run
from wa_relay.channel.twilio import TwilioChannel
from wa_relay.model import NotSent, Outgoing, SendRefused, SendResult, Unclear
from wa_relay.standins.twilio import PLAYABLE, SANDBOX, WAYS, Fault, TwilioStandin

GOOD = {"To": f"whatsapp:{ANA}", "From": SANDBOX, "Body": "Hola"}


@dataclass(frozen=True)
class Seen:
    """A plain client's view; `error` is the name of its exception."""

    status: int = 0
    headers: dict[str, str] | None = None
    body: bytes = b""
    error: str = ""


async def create(standin: TwilioStandin, timeout: float = 30.0) -> Seen:
    """Asks once for a message, as it comes over the wire."""
    limits = aiohttp.ClientTimeout(total=timeout)
    async with aiohttp.ClientSession(timeout=limits, auto_decompress=False) as http:
        try:
            async with http.post(
                standin.url + path_of(standin),
                data=GOOD,
                headers={"Authorization": password(standin.account_sid, standin.settings.auth_token)},
                allow_redirects=False,
            ) as answer:
                return Seen(answer.status, dict(answer.headers), await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            return Seen(error=type(error).__name__)


@asynccontextmanager
async def spoiled(fault: Fault) -> AsyncIterator[TwilioStandin]:
    """A stand-in whose next creation goes wrong."""
    async with playing(delays=None) as standin:
        standin.faults.next("create", fault)
        yield standin
        played = [entry.data["fault"] for entry in standin.journal.entries("fault")]
        assert played == [fault.kind]


def test_nothing_listens_while_it_is_down_and_what_was_known_is_known_after() -> None:
    """F1."""

    async def scenario() -> None:
        async with playing() as standin:
            await create(standin)
            port = standin.port
            await standin.down()
            assert (await create(standin)).error == "ClientConnectorError"
            await standin.up()
            assert standin.port == port
            assert (await create(standin)).status == 201
            assert len(standin.accepted()) == 2

    run(scenario())


def test_no_other_process_gets_its_port_while_it_is_down() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            port = standin.port
            await standin.down()
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    other.bind(("127.0.0.1", port))
            await standin.up()
            with pytest.raises(OSError, match="in use"):
                await TwilioStandin().start(port)

    run(scenario())


@pytest.mark.parametrize(("kind", "made"), [("F4", 0), ("F5", 0), ("F6", 1)])
def test_the_connection_breaks_before_the_answer(kind: str, made: int) -> None:
    """F4, F5, F6."""

    async def scenario() -> None:
        async with spoiled(Fault(kind)) as standin:
            assert (await create(standin)).error in ("ServerDisconnectedError", "ClientOSError")
            assert len(standin.accepted()) == made

    run(scenario())


def test_no_answer_comes_although_the_message_was_made() -> None:
    """F7."""

    async def scenario() -> None:
        async with spoiled(Fault("F7")) as standin:
            assert (await create(standin, timeout=0.3)).error == "TimeoutError"
            assert len(standin.accepted()) == 1

    run(scenario())


@pytest.mark.parametrize("hold", [None, 0.05])
def test_a_message_is_made_after_the_client_has_gone(hold: float | None) -> None:
    """F8."""

    async def scenario() -> None:
        async with spoiled(Fault("F8", seconds=2.0, hold=hold)) as standin:
            assert (await create(standin, timeout=0.2)).error
            assert standin.accepted() == []
            async with official(standin) as sdk:
                assert await sdk(lambda client: client.messages.list(to=f"whatsapp:{ANA}")) == []
            await standin.journal.wait_for(lambda one: one.kind == "accepted")
            assert len(standin.accepted(ANA)) == 1

    run(scenario())


def test_a_message_that_was_accepted_late_is_made_also_while_the_service_is_down() -> None:
    async def scenario() -> None:
        async with spoiled(Fault("F8", seconds=0.3, hold=0.0)) as standin:
            await create(standin)
            await standin.down()
            await standin.journal.wait_for(lambda one: one.kind == "late")
            assert len(standin.accepted()) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("fault", "status", "code", "made"),
    [
        (Fault("F9"), 500, 20500, 0),
        (Fault("F10"), 500, 20500, 1),
        (Fault("F12"), 429, 20429, 0),
        (Fault("F19"), 401, 20003, 0),
        *((Fault("F20", code=code), 400, code, 0) for code in (21211, 21610, 21617, 63016, 63024, 99999)),
    ],
)
def test_an_error_is_answered(fault: Fault, status: int, code: int, made: int) -> None:
    """F9, F10, F12, F19, F20."""

    async def scenario() -> None:
        async with spoiled(fault) as standin:
            seen = await create(standin)
            assert (seen.status, json.loads(seen.body)["code"]) == (status, code)
            assert len(standin.accepted()) == made

    run(scenario())


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_answers_with_its_page(status: int, made: bool) -> None:
    """F11."""

    async def scenario() -> None:
        async with spoiled(Fault("F11", status=status, made=made)) as standin:
            seen = await create(standin)
            assert (seen.status, seen.body[:6]) == (status, b"<html>")
            assert len(standin.accepted()) == made

    run(scenario())


@pytest.mark.parametrize("header", [None, "1", "3600", "-1", "1000000000", "Wed, 25 Nov 2026 10:00:00 GMT", "soon"])
def test_a_429_gives_the_pause_in_any_form(header: str | None) -> None:
    """F12."""

    async def scenario() -> None:
        async with spoiled(Fault("F12", retry_after=header)) as standin:
            seen = await create(standin)
            assert seen.status == 429
            assert (seen.headers or {}).get("Retry-After") == header

    run(scenario())


@pytest.mark.parametrize("at", [0, 1, 20, 700])
def test_a_201_is_cut(at: int) -> None:
    """F13."""

    async def scenario() -> None:
        async with spoiled(Fault("F13", at=at)) as standin:
            seen = await create(standin)
            assert (seen.status, len(seen.body)) == (201, at)
            with pytest.raises(ValueError, match=r"."):
                json.loads(seen.body)
            standin.faults.clear()
        async with spoiled(Fault("F13", how="cut", at=at)) as standin:
            assert (await create(standin)).error == "ClientPayloadError"
            assert len(standin.accepted()) == 1

    run(scenario())


@pytest.mark.parametrize(("made", "count"), [(None, 1), (False, 0)])
def test_a_201_is_html_and_the_message_exists_or_not(made: bool | None, count: int) -> None:
    """F14."""

    async def scenario() -> None:
        async with spoiled(Fault("F14", made=made)) as standin:
            seen = await create(standin)
            assert (seen.status, seen.body[:6], len(standin.accepted())) == (201, b"<html>", count)

    run(scenario())


@pytest.mark.parametrize("how", WAYS["F15"])
def test_a_201_has_no_sid_or_wrong_types(how: str) -> None:
    """F15."""

    async def scenario() -> None:
        async with spoiled(Fault("F15", how=how)) as standin:
            seen = await create(standin)
            assert seen.status == 201
            assert not isinstance(json.loads(seen.body).get("sid"), str)
            assert len(standin.accepted()) == 1

    run(scenario())


def test_an_answer_drips() -> None:
    """F16."""

    async def scenario() -> None:
        async with spoiled(Fault("F16", seconds=0.01)) as standin:
            assert (await create(standin, timeout=0.4)).error == "TimeoutError"
            assert len(standin.accepted()) == 1
        async with spoiled(Fault("F16", seconds=0.0)) as standin:
            assert json.loads((await create(standin)).body)["sid"] == standin.accepted()[0].sid

    run(scenario())


def test_an_answer_is_huge_or_a_bomb() -> None:
    """F17."""

    async def scenario() -> None:
        size = 20 * 1024 * 1024
        async with spoiled(Fault("F17", size=size)) as standin:
            assert len((await create(standin, timeout=10)).body) == size
        async with spoiled(Fault("F17", how="gzip", size=size)) as standin:
            seen = await create(standin, timeout=10)
            assert len(seen.body) < size / 500
            assert (seen.headers or {})["Content-Encoding"] == "gzip"
            assert len(gzip.decompress(seen.body)) == size

    run(scenario())


def test_a_redirect_leads_to_where_credentials_are_noticed() -> None:
    """F18."""

    async def scenario() -> None:
        async with spoiled(Fault("F18")) as standin:
            seen = await create(standin)
            location = (seen.headers or {})["Location"]
            assert (seen.status, location.startswith(standin.elsewhere_url)) == (307, True)
            assert standin.accepted() == []
            shown = {"Authorization": "Basic eDp5"}
            async with aiohttp.ClientSession() as http, http.post(location, headers=shown):
                pass
            assert [one.data["authorization"] for one in standin.journal.entries("elsewhere")] == [True]

    run(scenario())


def test_the_list_lags_misses_repeats_and_loops() -> None:
    """F22."""

    async def scenario() -> None:
        async with playing(delays=None) as standin:
            for _ in range(3):
                await create(standin)
            wanted = {"lag": 0, "misses_queued": 0, "repeat": 4}
            for how, count in wanted.items():
                standin.faults.next("list", Fault("F22", how=how, seconds=60))
                _, page = await ask(standin, "GET", path_of(standin))
                assert len(page["messages"]) == count
            standin.faults.next("list", Fault("F22", how="loop"), times=2)
            _, page = await ask(standin, "GET", path_of(standin) + "?PageSize=1")
            _, again = await ask(standin, "GET", page["next_page_uri"])
            assert again["messages"] == page["messages"]
            assert again["next_page_uri"] == page["next_page_uri"]
            standin.configure(list_lag=60)
            assert (await ask(standin, "GET", path_of(standin)))[1]["messages"] == []

    run(scenario())


def test_the_list_shows_another_customers_message_with_the_same_text() -> None:
    """F24."""

    async def scenario() -> None:
        async with playing(delays=None) as standin:
            standin.faults.next("create", Fault("F5"))
            standin.faults.next("list", Fault("F24"))
            await ask_in_vain(standin)
            _, page = await ask(standin, "GET", path_of(standin) + f"?To=whatsapp%3A%2B{ANA[1:]}")
            (shown,) = page["messages"]
            assert shown["to"] not in (f"whatsapp:{ANA}", f"whatsapp:{LUIS}")
            assert (shown["body"], shown["direction"]) == ("Hola", "outbound-api")
            assert standin.accepted() == []

    run(scenario())


async def ask_in_vain(standin: TwilioStandin) -> None:
    assert (await create(standin)).error


@pytest.mark.parametrize("operation", ["list", "fetch"])
@pytest.mark.parametrize("kind", sorted(PLAYABLE["fetch"] - {"F16", "F17"}))
def test_the_list_and_a_fetch_go_wrong_too(operation: str, kind: str) -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, official(standin) as sdk:
            made = await sdk.send()
            standin.faults.next(operation, Fault(kind, hold=0.05))
            path = path_of(standin) if operation == "list" else path_of(standin, f"Messages/{made.sid}.json")
            auth = (standin.account_sid, standin.settings.auth_token)
            async with httpx.AsyncClient(auth=auth, base_url=standin.url) as http:  # repeats nothing by itself
                try:
                    answer = await http.get(path)
                    right = answer.status_code == 200 and ("sid" in answer.json() or "messages" in answer.json())
                except (httpx.HTTPError, ValueError):
                    right = False
            assert not right
            (played,) = standin.journal.entries("fault")
            assert (played.data["operation"], played.data["fault"]) == (operation, kind)

    run(scenario())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:aiohttp")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:wa_relay.channel.transport")
@pytest.mark.parametrize("kind", sorted(PLAYABLE["create"]))
def test_our_own_client_never_takes_a_fault_for_an_answer(kind: str) -> None:
    """If the message exists, or may exist, the result must be unclear; if it can't exist, it may be sent again."""

    async def scenario() -> None:
        async with playing(delays=None) as standin, aiohttp.ClientSession() as http:
            channel = TwilioChannel(
                http,
                account_sid=standin.account_sid,
                auth_token=standin.settings.auth_token,
                sender=SANDBOX,
                messaging_service_sid="",
                base_url=standin.url,
                status_callback="http://127.0.0.1:9/status",
                send_timeout=0.4,
            )
            standin.faults.next("create", Fault(kind, seconds=0.6 if kind == "F8" else 0.1))
            result: SendResult = await channel.send(Outgoing(message_id=7, to=ANA, body="Hola"))
            assert isinstance(result, Unclear | NotSent | SendRefused)
            if kind == "F8":
                await standin.journal.wait_for(lambda one: one.kind == "late")
            if standin.accepted():
                assert isinstance(result, Unclear)
            if kind == "F12":
                assert isinstance(result, NotSent)
            assert standin.journal.entries("elsewhere") == []

    run(scenario())
