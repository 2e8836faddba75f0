"""Sending and asking, against the stand-in: what each answer proves, and that nothing is ever asked twice."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest
from aiohttp import web

from tests.standins.twilio_played import ANA, LUIS, SPEC, playing, run
from wa_relay.channel.twilio import TwilioChannel
from wa_relay.model import Accepted, NotSent, Outgoing, SendRefused, SendResult, Unclear, UpstreamError
from wa_relay.standins.twilio import SANDBOX, WAYS, Fault, Template, TwilioStandin

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:aiohttp"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wa_relay.channel.transport"),
]
HELLO = Outgoing(7, ANA, "Hola ñ 👍")
CALLBACK = "http://127.0.0.1:9/webhook/twilio/status"
TEMPLATE, SERVICE = "HX" + "1" * 32, "MG" + "2" * 32
MEGABYTE = 1024 * 1024


@dataclass
class Played:
    """A stand-in, and our channel to it."""

    twilio: TwilioStandin
    channel: TwilioChannel

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests, in their order."""
        return [entry.data for entry in self.twilio.journal.entries("request")]

    @property
    def posts(self) -> list[dict[str, str]]:
        """The forms of the requests to send."""
        made = (one for one in self.asked if one["method"] == "POST")
        return [dict(parse_qsl(str(one["form"]), keep_blank_values=True)) for one in made]


def channel_to(http: aiohttp.ClientSession, url: str, account: str, token: str, **options: Any) -> TwilioChannel:
    settings: dict[str, Any] = {
        "account_sid": account,
        "auth_token": token,
        "sender": SANDBOX,
        "messaging_service_sid": "",
        "base_url": url,
        "status_callback": CALLBACK,
        "send_timeout": 0.5,
        "list_timeout": 0.5,
    }
    return TwilioChannel(http, **{**settings, **options})


@asynccontextmanager
async def channel(standin: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Played]:
    """A channel to a stand-in that delivers nothing by itself."""
    async with playing(**{"delays": None, **(standin or {})}) as twilio, aiohttp.ClientSession() as http:
        yield Played(twilio, channel_to(http, twilio.url, twilio.account_sid, twilio.settings.auth_token, **options))


async def sent(played: Played, fault: Fault) -> SendResult:
    """The result of a send during that fault."""
    played.twilio.faults.next("create", fault)
    return await played.channel.send(HELLO)


def test_an_accepted_message_has_a_sid_and_carries_our_id() -> None:
    async def scenario() -> None:
        async with channel() as played:
            result = await played.channel.send(HELLO)
            (made,) = played.twilio.accepted()
            assert result == Accepted(made.sid, "queued")
            assert played.posts == [
                {
                    "To": f"whatsapp:{ANA}",
                    "From": SANDBOX,
                    "Body": "Hola ñ 👍",
                    "StatusCallback": f"{CALLBACK}?m=7",
                    "ValidityPeriod": "1800",
                }
            ]
            await played.channel.send(Outgoing(None, ANA, "x"))
            assert "StatusCallback" not in played.posts[1]

    run(scenario())


def test_a_template_goes_without_a_body_and_its_variables_as_json() -> None:
    async def scenario() -> None:
        async with channel() as played:
            played.twilio.template(Template(TEMPLATE, "Hola {{1}}, gracias", {"1": "Muestra"}))
            result = await played.channel.send(Outgoing(7, ANA, None, TEMPLATE, {"1": "Añá"}))
            assert isinstance(result, Accepted)
            (form,) = played.posts
            assert (form["ContentSid"], json.loads(form["ContentVariables"])) == (TEMPLATE, {"1": "Añá"})
            assert "Body" not in form

    run(scenario())


@pytest.mark.parametrize(
    ("options", "there", "not_there"),
    [
        ({}, {"From"}, {"MessagingServiceSid"}),
        ({"messaging_service_sid": SERVICE}, {"From", "MessagingServiceSid"}, set()),
        ({"messaging_service_sid": SERVICE, "sender": ""}, {"MessagingServiceSid"}, {"From"}),
    ],
)
def test_requests_are_as_the_official_description_wants_them(
    options: dict[str, Any], there: set[str], not_there: set[str]
) -> None:
    path = json.loads(SPEC.read_text())["paths"]["/2010-04-01/Accounts/{AccountSid}/Messages.json"]
    ((media_type, content),) = path["post"]["requestBody"]["content"].items()
    known = set(content["schema"]["properties"])
    queries = {one["name"] for one in path["get"]["parameters"] if one["in"] == "query"}

    async def scenario() -> None:
        async with channel(**options) as played:
            for message in (HELLO, Outgoing(8, ANA, None, TEMPLATE, {"1": "Ana"}), Outgoing(9, "CO.1A2b", "x")):
                await played.channel.send(message)
            for form in played.posts:
                assert set(form) <= known
                assert there <= set(form)
                assert not not_there & set(form)
            await played.channel.find(ANA, 0.0)
            await played.channel.inbound_page(None)
            for one in played.asked[3:]:
                assert set(dict(parse_qsl(str(one["query"])))) <= queries | {"Page", "PageToken"}
            assert all(one["authorized"] for one in played.asked)

    assert media_type == "application/x-www-form-urlencoded"
    run(scenario())


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (Fault("F4"), Unclear),
        (Fault("F5"), Unclear),
        (Fault("F6"), Unclear),
        (Fault("F7"), Unclear),
        (Fault("F8", seconds=0.6), Unclear),
        (Fault("F8", seconds=0.6, hold=0.05), Unclear),
        (Fault("F9"), Unclear),
        (Fault("F10"), Unclear),
        *((Fault("F11", status=status, made=made), Unclear) for status in (502, 503, 504) for made in (False, True)),
        *((Fault("F12", retry_after=value), NotSent) for value in (None, "1", "3600", "-1", "1000000000", "soon")),
        *((Fault("F13", how=how, at=at), Unclear) for how in WAYS["F13"] for at in (0, 1, 20, 700)),
        (Fault("F14"), Unclear),
        (Fault("F14", made=False), Unclear),
        *((Fault("F15", how=how), Unclear) for how in WAYS["F15"]),
        (Fault("F16", seconds=0.05), Unclear),
        *((Fault("F17", how=how, size=8 * MEGABYTE), Unclear) for how in WAYS["F17"]),
        (Fault("F18"), Unclear),
        (Fault("F19"), SendRefused),
        *((Fault("F20", code=code), SendRefused) for code in (21211, 21610, 21617, 63016, 63024, 63007, 99999)),
        *((Fault("F20", code=code), NotSent) for code in (63018, 21611, 63038)),
    ],
    ids=lambda options: (
        f"{options.kind}-{options.how}-{options.code}" if isinstance(options, Fault) else options.__name__
    ),
)
def test_what_each_fault_proves_of_a_send_that_is_made_once(fault: Fault, wanted: type[SendResult]) -> None:
    async def scenario() -> None:
        async with channel() as played:
            result = await sent(played, fault)
            assert isinstance(result, wanted)
            if fault.kind == "F8":
                await played.twilio.journal.wait_for(lambda one: one.kind == "late")
            assert len(played.posts) == 1
            if played.twilio.accepted():
                assert isinstance(result, Unclear)
            assert played.twilio.journal.entries("elsewhere") == []
            assert isinstance(await played.channel.send(Outgoing(8, LUIS, "Sigue")), Accepted)

    run(scenario())


@pytest.mark.parametrize(
    ("header", "pause"),
    [(None, None), ("1", 1.0), ("3600", 3600.0), ("-1", None), ("1000000000", 3600.0), ("soon", None)],
)
def test_a_429_is_waited_for_as_long_as_it_says(header: str | None, pause: float | None) -> None:
    async def scenario() -> None:
        async with channel() as played:
            result = await sent(played, Fault("F12", retry_after=header))
            assert isinstance(result, NotSent)
            assert result.retry_after == pause

    run(scenario())


@pytest.mark.parametrize(
    ("fault", "code", "scope"),
    [
        (Fault("F19"), "20003", "account"),
        (Fault("F20", code=63007), "63007", "sender"),
        (Fault("F20", code=21211), "21211", "customer"),
        (Fault("F20", code=63016), "63016", "message"),
        (Fault("F20", code=21655), "21655", "template"),
        (Fault("F20", code=99999), "99999", "message"),
    ],
)
def test_a_refusal_says_what_it_is_about_and_what_to_do(fault: Fault, code: str, scope: str) -> None:
    async def scenario() -> None:
        async with channel() as played:
            result = await sent(played, fault)
            assert isinstance(result, SendRefused)
            assert (result.code, result.scope) == (code, scope)
            assert result.meaning

    run(scenario())


def test_a_refused_connection_or_an_unknown_name_proves_that_nothing_was_sent() -> None:
    async def scenario() -> None:
        async with channel() as played, aiohttp.ClientSession() as http:
            await played.twilio.down()
            assert isinstance(await played.channel.send(HELLO), NotSent)
            for url in ("http://nowhere.invalid", "http://127.0.0.1:9"):
                nowhere = channel_to(http, url, "AC" + "0" * 32, "token", send_timeout=8.0)
                assert isinstance(await nowhere.send(HELLO), NotSent)
            await played.twilio.up()
            assert isinstance(await played.channel.send(HELLO), Accepted)

    run(scenario())


@pytest.mark.parametrize(
    "body",
    ["[" * 200_000, '{"sid": 1e999}', '{"sid": "SM1"}', "null", '"x"', '{"sid": "' + "SM" + "g" * 32 + '"}', "\xff"],
)
@pytest.mark.parametrize("status", [200, 201])
def test_any_answer_but_a_message_is_unclear(body: str, status: int) -> None:
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body.encode("latin-1"), content_type="application/json")

    async def scenario() -> None:
        runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as http:
                asked = channel_to(http, f"http://127.0.0.1:{runner.addresses[0][1]}", "AC" + "0" * 32, "token")
                assert isinstance(await asked.send(HELLO), Unclear)
                with pytest.raises(UpstreamError):
                    await asked.find(ANA, 0.0)
        finally:
            await runner.cleanup()

    run(scenario())


@pytest.mark.parametrize("how", WAYS["F17"])
def test_a_huge_answer_takes_no_memory(how: str) -> None:
    async def scenario() -> None:
        async with channel(send_timeout=15.0, list_timeout=15.0) as played:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert isinstance(await sent(played, Fault("F17", how=how, size=200 * MEGABYTE)), Unclear)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 60 * 1024, f"{grown} KB"

    run(scenario())


async def made(played: Played, count: int, to: str = ANA) -> list[str]:
    results = [await played.channel.send(Outgoing(number, to, f"Hola {number}")) for number in range(count)]
    return [result.sid for result in results if isinstance(result, Accepted)]


def test_everything_to_one_person_is_found_over_all_pages_newest_first() -> None:
    async def scenario() -> None:
        async with channel(list_timeout=5.0) as played:
            sids = await made(played, 120)
            await made(played, 3, LUIS)
            found = await played.channel.find(ANA, 0.0)
            assert sorted(one.sid for one in found) == sorted(sids)
            assert {(one.to, one.sender, one.direction) for one in found} == {(ANA, SANDBOX[9:], "outbound-api")}
            times = [one.created_at or 0.0 for one in found]
            assert times == sorted(times, reverse=True)
            asked = len(played.asked)
            assert len(await played.channel.find(ANA, 4e9)) == 50
            assert len(played.asked) == asked + 1

    run(scenario())


def test_one_message_is_fetched_and_a_missing_one_is_none() -> None:
    async def scenario() -> None:
        async with channel() as played:
            (sid,) = await made(played, 1)
            await played.twilio.progress(sid, "undelivered", 63016)
            found = await played.channel.fetch(sid)
            assert found is not None
            assert (found.sid, found.status, found.error_code, found.body) == (sid, "undelivered", "63016", "Hola 0")
            assert await played.channel.fetch("SM" + "0" * 32) is None
            assert await played.channel.fetch("../../x?y=") is None

    run(scenario())


def test_what_customers_wrote_is_listed() -> None:
    async def scenario() -> None:
        async with channel() as played:
            await played.twilio.customer_writes(ANA, "Sí me interesa")
            page = await played.channel.inbound_page(None)
            assert [(one.sender, one.body, one.direction) for one in page.messages] == [
                (ANA, "Sí me interesa", "inbound")
            ]
            assert page.next is None

    run(scenario())


FAULTS = (
    *(Fault(kind) for kind in ("F7", "F9", "F12", "F14", "F18", "F19")),
    *(Fault("F11", status=status) for status in (502, 503, 504)),
    *(Fault("F13", how=how, at=20) for how in WAYS["F13"]),
    Fault("F16", seconds=0.05),
    *(Fault("F17", how=how, size=8 * MEGABYTE) for how in WAYS["F17"]),
)


@pytest.mark.parametrize("operation", ["list", "fetch"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.way}-{fault.status}")
def test_a_failed_question_is_a_fault_with_a_message_and_never_an_answer(fault: Fault, operation: str) -> None:
    async def scenario() -> None:
        async with channel() as played:
            (sid,) = await made(played, 1)
            played.twilio.faults.next(operation, fault)
            with pytest.raises(UpstreamError) as failed:
                await (played.channel.find(ANA, 0.0) if operation == "list" else played.channel.fetch(sid))
            assert "Twilio" in failed.value.message
            assert failed.value.permanent is (fault.kind == "F19")
            assert len(played.asked) == 2
            assert played.twilio.journal.entries("elsewhere") == []

    run(scenario())


@pytest.mark.parametrize("how", WAYS["F15"])
def test_a_message_without_a_sid_is_not_a_message(how: str) -> None:
    async def scenario() -> None:
        async with channel() as played:
            (sid,) = await made(played, 1)
            played.twilio.faults.next("fetch", Fault("F15", how=how))
            with pytest.raises(UpstreamError):
                await played.channel.fetch(sid)
            played.twilio.faults.next("list", Fault("F15", how=how))
            try:
                found = await played.channel.find(ANA, 0.0)
            except UpstreamError:
                return
            assert {one.sid for one in found} <= {sid}

    run(scenario())


@pytest.mark.parametrize("kind", ["F4", "F5"])
def test_a_question_may_be_repeated_on_a_connection_that_was_closed_meanwhile(kind: str) -> None:
    async def scenario() -> None:
        async with channel() as played:
            (sid,) = await made(played, 1)
            played.twilio.faults.next("fetch", Fault(kind))
            found = await played.channel.fetch(sid)
            assert found is not None
            assert found.sid == sid
            assert len(played.posts) == 1

    run(scenario())


def test_a_list_that_names_a_message_twice_ends() -> None:
    async def scenario() -> None:
        async with channel(list_timeout=5.0) as played:
            await made(played, 60)
            played.twilio.faults.next("list", Fault("F22", how="repeat"), times=50)
            assert len({found.sid for found in await played.channel.find(ANA, 0.0)}) == 60

    run(scenario())


def test_a_list_that_leads_back_to_its_own_page_proves_nothing() -> None:
    async def scenario() -> None:
        async with channel(list_timeout=5.0) as played:
            await made(played, 60)
            played.twilio.faults.next("list", Fault("F22", how="loop"), times=50)
            with pytest.raises(UpstreamError, match="does not end"):
                await played.channel.find(ANA, 0.0)
            assert len(played.asked) - 60 <= 20

    run(scenario())


def test_the_accounts_status_is_options() -> None:
    async def scenario() -> None:
        async with channel() as played, aiohttp.ClientSession() as http:
            assert await played.channel.check() == "active"
            wrong = channel_to(http, played.twilio.url, played.twilio.account_sid, "wrong")
            with pytest.raises(UpstreamError, match="credentials") as failed:
                await wrong.check()
            assert (failed.value.status, failed.value.code) == (401, "20003")

    run(scenario())
