"""The Messages resource of the stand-in, asked by the official client and by plain HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from twilio.base.exceptions import TwilioRestException

from tests.standins.twilio_played import ANA, LUIS, SPEC, follows_description, official, password, playing, run
from wa_relay.standins.twilio import SANDBOX, Template, TwilioStandin
from wa_relay.standins.twilio.checks import FIELDS

MESSAGES = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
MESSAGE = "/2010-04-01/Accounts/{AccountSid}/Messages/{Sid}.json"
OPENING = Template("HX" + "a" * 32, "Hola {{1}}, te llamamos de {{2}}.", {"1": "Ana Sample", "2": "Acme"})
KEYS = (
    *("body", "num_segments", "direction", "from", "date_updated", "price", "error_message", "uri", "account_sid"),
    *("num_media", "to", "date_created", "status", "sid", "date_sent", "messaging_service_sid", "error_code"),
    *("price_unit", "api_version", "subresource_uris"),
)


async def ask(standin: TwilioStandin, method: str, path: str, **answered: Any) -> tuple[int, Any]:
    """One request with the right password; status and body."""
    headers = {"Authorization": password(standin.account_sid, standin.settings.auth_token)}
    url = standin.url + path
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, url, allow_redirects=False, **answered) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


def path_of(standin: TwilioStandin, rest: str = "Messages.json") -> str:
    return f"/2010-04-01/Accounts/{standin.account_sid}/{rest}"


def test_a_message_is_answered_as_twilio_does() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin:
            form = {"To": f"whatsapp:{ANA}", "From": SANDBOX, "Body": "Hola ñ 👍"}
            status, answered = await ask(standin, "POST", path_of(standin), data=form)
            assert (status, tuple(answered)) == (201, KEYS)
            follows_description(answered, MESSAGES, "post", 201)
            assert answered["status"] == "queued"
            assert (answered["num_segments"], answered["num_media"], answered["error_code"]) == ("1", "0", None)
            assert answered["date_created"].endswith(" +0000")
            assert answered["uri"] == path_of(standin, f"Messages/{answered['sid']}.json")
            _, fetched = await ask(standin, "GET", answered["uri"])
            follows_description(fetched, MESSAGE, "get", 200)
            assert fetched == answered

    run(scenario())


def test_the_official_client_sends_fetches_redacts_cancels_and_deletes() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, official(standin) as sdk:
            made = await sdk.send("Hola", status_callback="https://relay.example.com/status?m=7#rc=5")
            assert (made.status, made.direction, made.from_, made.to) == (
                "queued",
                "outbound-api",
                SANDBOX,
                f"whatsapp:{ANA}",
            )
            (taken,) = standin.accepted(ANA)
            assert (taken.sid, taken.body) == (made.sid, "Hola")
            assert taken.callback == "https://relay.example.com/status?m=7#rc=5"
            redacted = await sdk(lambda client: client.messages(made.sid).update(body=""))
            assert redacted.body == ""
            canceled = await sdk(lambda client: client.messages(made.sid).update(status="canceled"))
            assert canceled.status == "canceled"
            assert await sdk(lambda client: client.messages(made.sid).delete())
            with pytest.raises(TwilioRestException) as refused:
                await sdk(lambda client: client.messages(made.sid).fetch())
            assert (refused.value.status, refused.value.code) == (404, 20404)

    run(scenario())


def test_a_messaging_service_accepts_and_chooses_the_sender_later() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, official(standin) as sdk:
            made = await sdk.send(from_=None, messaging_service_sid="MG" + "1" * 32)
            assert (made.status, made.from_, made.num_segments) == ("accepted", None, "0")
            assert await sdk(lambda client: client.messages.list(from_=SANDBOX)) == []
            await standin.progress(made.sid, "sent")
            (listed,) = await sdk(lambda client: client.messages.list(from_=SANDBOX))
            assert (listed.sid, listed.from_, listed.num_segments) == (made.sid, SANDBOX, "1")

    run(scenario())


def test_a_template_is_shown_with_its_values_but_not_listed_as_a_body() -> None:
    async def scenario() -> None:
        async with playing(delays=None, templates=(OPENING,)) as standin, official(standin) as sdk:
            variables = json.dumps({"1": "Ana", "2": "la tienda"})
            made = await sdk.send("", content_sid=OPENING.sid, content_variables=variables)
            (taken,) = standin.accepted(ANA)
            assert made.body == ""
            assert taken.shown == "Hola Ana, te llamamos de la tienda."
            await sdk.send("", to=LUIS, content_sid=OPENING.sid)
            assert standin.accepted(LUIS)[0].shown == "Hola Ana Sample, te llamamos de Acme."

    run(scenario())


def test_the_parameters_of_a_new_message_are_those_of_the_official_description() -> None:
    form = json.loads(SPEC.read_text())["paths"][MESSAGES]["post"]["requestBody"]["content"]
    assert set(form["application/x-www-form-urlencoded"]["schema"]["properties"]) == FIELDS


GOOD = {"To": f"whatsapp:{ANA}", "From": SANDBOX, "Body": "Hola"}
TEMPLATE = {"To": f"whatsapp:{ANA}", "From": SANDBOX, "ContentSid": OPENING.sid}


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({**GOOD, "To": ""}, 400, 21604),
        ({"From": "whatsapp:+15550001111"}, 400, 21604),
        ({**GOOD, "To": "whatsapp:3001112233"}, 400, 21211),
        ({"To": f"whatsapp:{ANA}", "Body": "Hola"}, 400, 21603),
        ({**GOOD, "From": "whatsapp:+15550001111"}, 400, 63007),
        ({**GOOD, "To": ANA}, 400, 21910),
        ({**GOOD, "Body": ""}, 400, 21602),
        ({**GOOD, "Body": " \n"}, 400, 21602),
        ({**GOOD, "Body": "x" * 1601}, 400, 21617),
        ({**GOOD, "ContentVariables": "{}"}, 400, 21654),
        ({**TEMPLATE, "ContentSid": "HX" + "f" * 32}, 400, 21655),
        ({**TEMPLATE, "ContentVariables": "{"}, 400, 21656),
        ({**TEMPLATE, "ContentVariables": '{"1":""}'}, 400, 21656),
        ({**TEMPLATE, "ContentVariables": '{"1":"a\\nb"}'}, 400, 21656),
        ({**TEMPLATE, "ContentVariables": '{"9":"x"}'}, 400, 21656),
        ({**GOOD, "StatusCallback": "relay.example.com/status"}, 400, 21609),
        ({**GOOD, "StatusCallback": "https://my_relay.example.com/status"}, 400, 21609),
        ({**GOOD, "To": f"whatsapp:{LUIS}"}, 400, 21610),
        ({**GOOD, "Boddy": "Hola"}, 400, 20001),
    ],
)
def test_what_twilio_refuses_at_once(form: dict[str, str], status: int, code: int) -> None:
    async def scenario() -> None:
        async with playing(templates=(OPENING,)) as standin:
            standin.contact(LUIS, opted_out=True)
            got, answered = await ask(standin, "POST", path_of(standin), data=form)
            assert (got, answered["code"], answered["status"]) == (status, code, status)
            assert answered["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
            assert standin.accepted() == []

    run(scenario())


def test_a_body_of_1600_characters_is_taken_and_unknown_fields_too_when_lenient() -> None:
    async def scenario() -> None:
        async with playing(strict=False) as standin:
            form = {**GOOD, "Body": "ñ" * 1600, "Boddy": "x"}
            assert (await ask(standin, "POST", path_of(standin), data=form))[0] == 201

    run(scenario())


def test_a_wrong_token_another_account_json_and_an_unknown_path_are_refused() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin, token="wrong") as sdk:
            with pytest.raises(TwilioRestException) as refused:
                await sdk.send()
            assert (refused.value.status, refused.value.code) == (401, 20003)
            other = "/2010-04-01/Accounts/AC" + "9" * 32 + "/Messages.json"
            assert (await ask(standin, "GET", other))[0] == 404
            assert (await ask(standin, "POST", path_of(standin), json=GOOD))[0] == 415
            assert (await ask(standin, "GET", "/nothing"))[0] == 404
            assert (await ask(standin, "PUT", path_of(standin)))[0] == 405
            assert standin.accepted() == []

    run(scenario())


def test_a_rotated_token_refuses_the_old_one() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            await sdk.send()
            standin.configure(auth_token="f" * 32)
            with pytest.raises(TwilioRestException):
                await sdk.send()

    run(scenario())


@pytest.mark.parametrize(("sender", "code"), [("whatsapp:+576015550000", 20429), (SANDBOX, 63018)])
def test_more_messages_a_second_than_allowed_are_refused_with_429(sender: str, code: int) -> None:
    async def scenario() -> None:
        async with playing(senders=(sender,), messages_per_second=2, clock=lambda: 1_790_000_000.0) as standin:
            form = {**GOOD, "From": sender}
            got = [await ask(standin, "POST", path_of(standin), data=form) for _ in range(3)]
            assert [status for status, _ in got] == [201, 201, 429]
            assert got[2][1]["code"] == code

    run(scenario())


def test_one_message_in_three_seconds_is_a_third_a_second() -> None:
    async def scenario() -> None:
        now = [1_790_000_000.0]
        async with playing(messages_per_second=1 / 3, clock=lambda: now[0]) as standin:
            got = []
            for later in (0.0, 2.0, 3.5):
                now[0] = 1_790_000_000.0 + later
                got.append((await ask(standin, "POST", path_of(standin), data=GOOD))[0])
            assert got == [201, 429, 201]

    run(scenario())


def test_the_list_is_newest_first_and_filtered_by_person() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, official(standin) as sdk:
            for text in ("uno", "dos"):
                await sdk.send(text)
            await sdk.send("otro", to=LUIS)
            await standin.customer_writes(ANA, "hola")
            answered = await sdk(lambda client: client.messages.list(to=f"whatsapp:{ANA}"))
            assert [one.body for one in answered] == ["dos", "uno"]
            answered = await sdk(lambda client: client.messages.list(to=SANDBOX))
            assert [(one.body, one.direction, one.status) for one in answered] == [("hola", "inbound", "received")]
            answered = await sdk(lambda client: client.messages.list())
            assert [one.body for one in answered] == ["hola", "otro", "dos", "uno"]
            status, page = await ask(standin, "GET", path_of(standin))
            assert status == 200
            follows_description(page, MESSAGES, "get", 200)

    run(scenario())


def test_pages_hold_while_messages_are_added_and_lead_back() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, official(standin) as sdk:
            for number in range(7):
                await sdk.send(str(number))
            _, first = await ask(standin, "GET", path_of(standin) + "?PageSize=3")
            await sdk.send("new")
            _, second = await ask(standin, "GET", first["next_page_uri"])
            _, third = await ask(standin, "GET", second["next_page_uri"])
            pages = [[one["body"] for one in page["messages"]] for page in (first, second, third)]
            assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
            assert (third["next_page_uri"], third["page"], third["start"], third["end"]) == (None, 2, 6, 6)
            _, back = await ask(standin, "GET", third["previous_page_uri"])
            assert [one["body"] for one in back["messages"]] == ["3", "2", "1"]
            answered = await sdk(lambda client: client.messages.list(page_size=2))
            assert [one.body for one in answered] == ["new", "6", "5", "4", "3", "2", "1", "0"]

    run(scenario())


def test_the_list_is_filtered_by_the_day_of_sending_and_leaves_out_what_is_not_sent() -> None:
    async def scenario() -> None:
        async with playing(clock=lambda: 1_790_000_000.0, delays=None) as standin, official(standin) as sdk:
            made = await sdk.send("sent")
            await standin.progress(made.sid, "sent")
            await sdk.send("queued")
            for query, wanted in [
                ("DateSent=2026-09-21", ["sent"]),
                ("DateSent=2026-09-22", []),
                ("DateSent%3E=2026-09-21", ["sent"]),
                ("DateSent%3C=2026-09-20", []),
                ("PageSize=5000", ["queued", "sent"]),
            ]:
                _, page = await ask(standin, "GET", f"{path_of(standin)}?{query}")
                assert ([one["body"] for one in page["messages"]], page["page_size"] <= 1000) == (wanted, True)
            for query in ("DateSent=yesterday", "PageSize=0", "Too=x"):
                assert (await ask(standin, "GET", f"{path_of(standin)}?{query}"))[0] == 400

    run(scenario())


def test_media_want_the_password_and_are_fetched_elsewhere_without_it() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            written = await standin.customer_writes(ANA, "mira", media="image/png")
            url = written.form["MediaUrl0"]
            async with aiohttp.ClientSession() as http, http.get(url, allow_redirects=False) as answer:
                assert answer.status == 401
            shown = {"Authorization": password(standin.account_sid, standin.settings.auth_token)}
            async with aiohttp.ClientSession() as http, http.get(url, headers=shown) as answer:
                assert (answer.status, answer.content_type) == (200, "image/png")
            (seen,) = standin.journal.entries("elsewhere")
            assert seen.data["authorization"] is False
            (file,) = await sdk(lambda client: client.messages(written.sid).media.list())
            assert (file.content_type, file.parent_sid) == ("image/png", written.sid)
            assert await sdk(lambda client: client.messages(written.sid).media(file.sid).delete())
            assert await sdk(lambda client: client.messages(written.sid).media.list()) == []

    run(scenario())


def test_the_account_and_the_templates_can_be_asked_for() -> None:
    async def scenario() -> None:
        async with playing(templates=(OPENING,)) as standin, official(standin) as sdk:
            account = await sdk(lambda client: client.api.accounts(standin.account_sid).fetch())
            assert account.status == "active"
            content = await sdk(lambda client: client.content.v1.contents(OPENING.sid).fetch())
            assert content.types["twilio/text"]["body"] == OPENING.body
            approval = await sdk(lambda client: client.content.v1.contents(OPENING.sid).approval_fetch().fetch())
            assert approval.whatsapp["status"] == "approved"
            both = await sdk(lambda client: client.content.v1.content_and_approvals.list())
            assert OPENING.sid in [one.sid for one in both]

    run(scenario())


def test_many_messages_at_once_get_different_sids() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin:
            got = await asyncio.gather(*(ask(standin, "POST", path_of(standin), data=GOOD) for _ in range(50)))
            assert len({answered["sid"] for _, answered in got}) == len(standin.accepted(ANA)) == 50

    run(scenario())
