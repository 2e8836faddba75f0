"""The forms of what customers send, field by field as they were captured, and what is not captured as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.standins.twilio_played import ANA, FAST, listening, official, playing, run
from wa_relay.standins.twilio import (
    IMAGE,
    SANDBOX,
    STICKER,
    VIDEO,
    VOICE_NOTE,
    Attachment,
    Referral,
    contact_card,
    document,
)

SAMPLES = Path(__file__).parents[1] / "data" / "twilio_samples"
PHONE, USER = "+34600111222", "ES.1000000000000001"
ACCOUNT = "AC" + "0" * 31 + "1"
SIDS = ("SmsMessageSid", "SmsSid", "MessageSid", "MediaUrl0")

CAPTURED: list[tuple[str, dict[str, Any]]] = [
    ("inbound_text", {"body": "Hola ñ 👍"}),
    ("inbound_image", {"media": IMAGE}),
    ("inbound_image_caption", {"body": "Mira esta foto", "media": IMAGE}),
    ("inbound_voice_note", {"media": VOICE_NOTE}),
    ("inbound_document_forwarded", {"media": document("factura_2026.pdf"), "forwarded": True}),
    ("inbound_location", {"location": (40.4168, -3.7038)}),
    ("inbound_contact", {"media": contact_card("Luis", "+573004445566")}),
    ("inbound_button", {"button": "Confirmar", "button_payload": "confirm_1", "reply_to": "MM" + "e" * 32}),
    ("inbound_reply_to", {"body": "sí", "reply_to": "SM" + "f" * 32}),
    ("inbound_username_only_NOT_CAPTURED_inferred", {"body": "Hola, escribo sin número", "hidden": True}),
]


@pytest.mark.parametrize(("sample", "written"), CAPTURED, ids=[name for name, _ in CAPTURED])
def test_a_form_is_that_of_the_sample(sample: str, written: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with playing(account_sid=ACCOUNT) as standin:
            standin.contact(PHONE, name="Ana Prueba", user_id=USER)
            form = dict((await standin.customer_writes(PHONE, **{"body": "", **written})).form)
            wanted = json.loads((SAMPLES / f"{sample}.json").read_text())["form"]
            assert {name: form.get(name, "")[:2] for name in SIDS[:3]} == {name: wanted[name][:2] for name in SIDS[:3]}
            assert form.keys() == wanted.keys()
            for name in wanted.keys() - set(SIDS):
                assert form[name] == wanted[name], name

    run(scenario())


async def written(**particulars: Any) -> dict[str, str]:
    async with playing() as standin:
        return dict((await standin.customer_writes(ANA, **{"body": "", **particulars})).form)


def test_kinds_that_were_never_captured_have_the_documented_fields() -> None:
    async def scenario() -> None:
        assert (await written(media=VIDEO))["MessageType"] == "video"
        assert (await written(media=STICKER))["MessageType"] == "sticker"
        choice = await written(choice=("plan_2", "Plan Premium"))
        assert (choice["Body"], choice["ListId"], choice["ListTitle"]) == ("Plan Premium", "plan_2", "Plan Premium")
        place = await written(location=(4.6, -74.08), label="Oficina", address="Calle 26 # 1-2")
        assert (place["Label"], place["Address"], place["MessageType"]) == ("Oficina", "Calle 26 # 1-2", "location")
        for emoji in ("👍", ""):
            reaction = await written(reaction=emoji, reply_to="SM" + "f" * 32)
            assert (reaction["MessageType"], reaction["Body"]) == ("reaction", emoji)
            assert reaction["OriginalRepliedMessageSid"] == "SM" + "f" * 32
        ad = await written(body="Hola", referral=Referral("Plan Premium", "Hoy 20 %", "https://fb.me/x"))
        assert (ad["ReferralHeadline"], ad["ReferralBody"]) == ("Plan Premium", "Hoy 20 %")
        assert (ad["ReferralSourceUrl"], ad["ReferralSourceType"]) == ("https://fb.me/x", "ad")
        often = await written(body="cadena", forwarded=True, often_forwarded=True)
        assert (often["Forwarded"], often["FrequentlyForwarded"]) == ("true", "true")
        assert (await written(body="x", service="MG" + "a" * 32))["MessagingServiceSid"] == "MG" + "a" * 32

    run(scenario())


def test_a_customer_is_known_by_number_spelling_and_user_id() -> None:
    async def scenario() -> None:
        async with playing(enforce_window=True) as standin, listening() as listener, official(standin) as sdk:
            standin.contact("+525512345678", user_id="MX.1a2B", also=("+5215512345678",))
            form = (await standin.customer_writes("+5215512345678", "hola")).form
            assert (form["From"], form["WaId"]) == ("whatsapp:+5215512345678", "5215512345678")
            assert form["ExternalUserId"] == "whatsapp:MX.1a2B"
            standin.contact("+525512345678", user_id="MX.NEW", wa_id="525512345678")
            form = (await standin.customer_writes("+5215512345678", "hola")).form
            assert (form["WaId"], form["ExternalUserId"]) == ("525512345678", "whatsapp:MX.NEW")
            for address in ("+525512345678", "+5215512345678", "MX.NEW", "MX.1a2B"):
                made = await sdk.send(to=address, status_callback=listener.url)
                wanted = (made.sid, "read")
                entry = await standin.journal.wait_for(
                    lambda one, wanted=wanted: (
                        (one.data.get("sid"), one.data.get("status")) == wanted  # type: ignore[misc]
                        and one.kind == "callback"
                    )
                )
                assert entry.data["form"]["ExternalUserId"] == "whatsapp:MX.NEW"  # type: ignore[index]
            hidden = (await standin.customer_writes("CO.1A2b", "hola")).form
            assert (hidden["From"], hidden["ExternalUserId"]) == ("whatsapp:CO.1A2b", "whatsapp:CO.1A2b")
            assert "WaId" not in hidden

    run(scenario())


def test_twilios_own_opt_out_changes_the_state_and_refuses_by_receipt() -> None:
    async def scenario() -> None:
        async with playing(delays=FAST) as standin, listening() as listener, official(standin) as sdk:
            assert "OptOutType" not in (await standin.customer_writes(ANA, "STOP")).form
            standin.configure(advanced_opt_out=True)
            assert (await standin.customer_writes(ANA, " stop ")).form["OptOutType"] == "STOP"
            await sdk.send(status_callback=listener.url)
            await standin.journal.wait_for(lambda one: one.kind == "callback")
            assert listener.heard[0].form["ErrorCode"] == "21610"
            assert (await standin.customer_writes(ANA, "help")).form["OptOutType"] == "HELP"
            assert (await standin.customer_writes(ANA, "START")).form["OptOutType"] == "START"
            assert not standin.contact(ANA).opted_out
            assert "OptOutType" not in (await standin.customer_writes(ANA, "stop it")).form

    run(scenario())


def test_a_customer_may_write_to_another_sender() -> None:
    async def scenario() -> None:
        other = "whatsapp:+573000000001"
        async with playing(senders=(SANDBOX, other)) as standin:
            assert (await standin.customer_writes(ANA, "hola", to=other)).form["To"] == other

    run(scenario())


def test_a_file_keeps_its_bytes_and_name() -> None:
    note = Attachment("audio/ogg", b"OggS")
    assert (note.data, document("a.pdf").name) == (b"OggS", "a.pdf")
    assert b"TEL;type=CELL:+573004445566" in contact_card("Luis", "+573004445566").data
