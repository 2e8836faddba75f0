"""Attachments, and what becomes of each: the real daemon between the stand-ins."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import AGENT, ANA, LUIS, Stage, payload, run, stage, until
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent, Fault
from wa_relay.standins.twilio import Attachment, Serving
from wa_relay.standins.twilio.attachments import STICKER, VIDEO, contact_card, document
from wa_relay.standins.twilio.forms import Referral

NOTE = b"OggS nota de voz 1"
PHOTO = b"\xff\xd8\xff\xdb una foto"
TEXT_ONLY = "Por ahora solo puedo leer mensajes de texto. ¿Me lo puedes escribir, por favor?"


def voice(data: bytes = NOTE, **serving: Any) -> Attachment:
    return Attachment("audio/ogg", data, serving=Serving(**serving))


def photo(data: bytes = PHOTO, **serving: Any) -> Attachment:
    return Attachment("image/jpeg", data, serving=Serving(**serving))


def asked(s: Stage) -> list[dict[str, Any]]:
    """The questions that the agent got, oldest first: text and files."""
    return [entry.data for entry in s.elevenlabs.journal.entries("user_message")]


async def opened(s: Stage, phone: str = ANA) -> None:
    """The customer has got the opening of a call."""
    await s.report(payload(f"conv_{phone[-4:]}", phone))
    await s.sent(1, phone)


async def questions(s: Stage, count: int = 1, within: float = 15.0) -> list[dict[str, Any]]:
    return await until(
        lambda: found if len(found := asked(s)) >= count else None,
        within,
        f"{len(asked(s))} of {count} questions\n{s.relay.log[-4000:]}",
    )


async def last_message(s: Stage, phone: str = ANA) -> dict[str, Any]:
    """The newest message of the customer, as the API shows it."""
    thread = (await s.conversation(phone))["messages"]
    found: dict[str, Any] = [message for message in thread if message["direction"] == "inbound"][-1]
    return found


def test_a_voice_note_is_answered_by_what_it_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "¿Cuánto cuesta el plan?", seconds=3.2)
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            assert "plan Premium" in (await s.sent(2))[1]
            assert asked(s)[0]["text"] == "¿Cuánto cuesta el plan?"
            shown = await last_message(s)
            assert shown["content"] == "¿Cuánto cuesta el plan?"
            note = shown["attachment"]
            assert (note["type"], note["content_type"], note["seconds"]) == ("audio", "audio/ogg", 3.2)
            assert note["transcript"] == "¿Cuánto cuesta el plan?"
            file = await s.call("GET", f"/api/media/{note['media_id']}")
            assert (file.status, file.text, file.headers["Content-Type"]) == (200, NOTE.decode(), "audio/ogg")

    run(scenario())


def test_a_picture_goes_to_the_agent_with_its_caption(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "¿Es este?", media=photo())
            assert "a vi la imagen" in (await s.sent(2))[1]
            question = asked(s)[0]
            assert (question["text"], len(question["files"])) == ("¿Es este?", 1)
            shown = await last_message(s)
            assert shown["content"] == "¿Es este?"
            known = {"type": "image", "content_type": "image/jpeg", "name": None}
            assert shown["attachment"] == known | {"media_id": shown["attachment"]["media_id"]}

    run(scenario())


def test_a_pdf_goes_to_the_agent_and_its_name_is_not_text(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=document("baja.pdf"))
            assert "a vi el PDF" in (await s.sent(2))[1]
            assert (asked(s)[0]["text"], len(asked(s)[0]["files"])) == ("", 1)
            shown = await last_message(s)
            assert (shown["content"], shown["attachment"]["type"]) == ("", "document")
            assert shown["attachment"]["name"] == "baja.pdf"

    run(scenario())


def test_several_files_of_one_burst_get_one_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"reply": {"debounce_seconds": 1.0}}) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=photo())
            await s.twilio.customer_writes(ANA, "", media=document("lista.pdf"))
            await s.twilio.customer_writes(ANA, "¿Sirven?")
            await s.sent(2)
            (question,) = asked(s)
            assert (question["text"], len(question["files"])) == ("¿Sirven?", 2)

    run(scenario())


def test_a_text_after_a_voice_note_waits_for_it_and_others_do_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.settings.speech_delay = 2.5
            s.elevenlabs.set_transcript(NOTE, "Soy yo otra vez.")
            await opened(s)
            await opened(s, LUIS)
            await s.twilio.customer_writes(ANA, "", media=voice())
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta?")
            await s.twilio.customer_writes(LUIS, "¿Y el horario?")
            await s.sent(2, LUIS, within=2.4)
            assert len(s.bodies(ANA)) == 1
            await s.sent(2, ANA)
            assert asked(s)[-1]["text"] == "Soy yo otra vez.\n¿Cuánto cuesta?"

    run(scenario())


def test_a_place_reaches_the_agent_with_label_address_and_map(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            place: dict[str, Any] = {
                "location": (4.6823, -74.0415),
                "label": "Oficina",
                "address": "Calle 100 #8A-55, Bogotá",
            }
            await s.twilio.customer_writes(ANA, "", **place)
            text = (await questions(s))[0]["text"]
            for part in ("Oficina", "Calle 100 #8A-55, Bogotá", "4.6823", "-74.0415", "https://maps.google.com/?q="):
                assert part in text
            shown = await last_message(s)
            assert shown["attachment"] == {"type": "location", "latitude": 4.6823, "longitude": -74.0415}
            assert shown["content"] == text

    run(scenario())


def test_a_contact_card_reaches_the_agent_as_name_and_numbers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=contact_card("Pedro Ruiz", "+57 300 111 2233"))
            text = (await questions(s))[0]["text"]
            assert text == "Contacto: Pedro Ruiz, +57 300 111 2233"
            shown = await last_message(s)
            assert (shown["content"], shown["attachment"]) == (text, {"type": "contact"})

    run(scenario())


def test_a_tapped_button_and_a_list_choice_are_text_that_answers_a_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", button="Quiero saber el precio")
            assert (await questions(s))[0]["text"] == "Quiero saber el precio"
            shown = await last_message(s)
            opening = (await s.conversation())["messages"][0]
            assert (shown["content"], shown["attachment"]) == ("Quiero saber el precio", None)
            assert shown["reply_to"] == opening["id"]
            await s.sent(2)
            await s.twilio.customer_writes(ANA, "", choice=("2", "Plan Básico"))
            assert (await questions(s, 2))[1]["text"] == "Plan Básico"

    run(scenario())


def test_the_message_replied_to_is_quoted_above_the_text(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"opening.completed": {"body": "Hola. " + "muy " * 200 + "bien."}}) as s:
            await opened(s)
            opening = (await s.conversation())["messages"][0]
            await s.twilio.customer_writes(ANA, "¿Esto sigue?", reply_to=opening["twilio_message_id"])
            text = (await questions(s))[0]["text"]
            quote, words = text.split("\n")
            assert words == "¿Esto sigue?"
            assert opening["content"][:300].strip() in quote
            assert opening["content"][:320] not in quote
            shown = await last_message(s)
            assert (shown["content"], shown["reply_to"]) == ("¿Esto sigue?", opening["id"])

    run(scenario())


def test_a_reply_to_a_message_of_another_conversation_is_not_quoted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await opened(s, LUIS)
            foreign = (await s.conversation(LUIS))["messages"][0]["twilio_message_id"]
            await s.twilio.customer_writes(ANA, "¿Y esto?", reply_to=foreign)
            assert (await questions(s))[0]["text"] == "¿Y esto?"
            assert (await last_message(s))["reply_to"] is None

    run(scenario())


def test_an_advertisement_reaches_the_agent_before_the_text(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            advertisement = Referral("Plan Premium", "Dos meses gratis", "https://fb.me/anuncio")
            await s.twilio.customer_writes(ANA, "¿Sigue la oferta?", referral=advertisement)
            first, words = (await questions(s))[0]["text"].split("\n")
            assert all(part in first for part in ("Plan Premium", "Dos meses gratis", "https://fb.me/anuncio"))
            assert words == "¿Sigue la oferta?"
            shown = await last_message(s)
            assert shown["content"] == "¿Sigue la oferta?"
            assert shown["referral"]["headline"] == "Plan Premium"

    run(scenario())


def test_a_reaction_is_stored_and_not_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", reaction="")
            await s.twilio.customer_writes(ANA, "", reaction="👍")
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta?")
            await s.sent(2)
            assert [question["text"] for question in asked(s)] == ["¿Cuánto cuesta?"]
            assert TEXT_ONLY not in s.bodies()
            thread = (await s.conversation())["messages"]
            assert [message["attachment"] for message in thread[1:3]] == [{"type": "reaction"}] * 2

    run(scenario())


def test_an_unreadable_message_gets_the_notice_once_and_is_noted_in_the_next_question(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=STICKER)
            assert (await s.sent(2))[1] == TEXT_ONLY
            await s.twilio.customer_writes(ANA, "", media=VIDEO)
            await until(lambda: s.relay.log.count("media_fetched") == 2)
            word = document("x.docx", b"PK\x03\x04", "application/msword")
            await s.twilio.customer_writes(ANA, "", media=word)
            await s.twilio.customer_writes(ANA, "¿Lo viste?")
            await s.sent(3)
            assert s.bodies().count(TEXT_ONLY) == 1
            (question,) = asked(s)
            noted = question["text"] + str(s.elevenlabs.journal.entries("context")[0].data["text"])
            for what in ("un sticker", "un video", "un documento"):
                assert f"[El cliente envió {what} que no se puede abrir aquí]" in noted
            thread = (await s.conversation())["messages"]
            assert all(message["attachment"]["media_id"] for message in thread if message["attachment"])
            await s.twilio.customer_writes(ANA, "", media=STICKER)
            await until(lambda: s.bodies().count(TEXT_ONLY) == 2)

    run(scenario())


def test_a_turn_with_a_caption_on_a_video_gets_an_answer_and_no_notice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta esto?", media=VIDEO)
            await s.sent(2)
            assert asked(s)[0]["text"].startswith("¿Cuánto cuesta esto?\n[El cliente envió un video")
            assert TEXT_ONLY not in s.bodies()

    run(scenario())


def test_a_silent_recording_counts_as_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "")
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            assert (await s.sent(2))[1] == TEXT_ONLY
            shown = (await last_message(s))["attachment"]
            assert (shown["type"], shown["transcript"]) == ("audio", None)
            assert asked(s) == []

    run(scenario())


def test_a_file_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"media": {"max_bytes": 100_000}}) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=photo(endless=True))
            assert (await s.sent(2))[1] == TEXT_ONLY
            assert (await last_message(s))["attachment"] == {"type": "image"}

    run(scenario())


def test_a_file_of_another_kind_than_announced_counts_as_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=photo(content_type="text/html"))
            assert (await s.sent(2))[1] == TEXT_ONLY
            await s.twilio.customer_writes(ANA, "", media=photo(content_type="application/octet-stream"))
            assert len((await questions(s))[0]["files"]) == 1

    run(scenario())


def test_files_are_fetched_again_after_404_503_and_a_broken_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            trouble: dict[str, Any] = {"missing": 1, "status": 503, "times": 1, "broken": True, "broken_times": 1}
            await s.twilio.customer_writes(ANA, "", media=photo(PHOTO + bytes(300_000), **trouble))
            assert len((await questions(s))[0]["files"]) == 1

    run(scenario())


def test_speech_and_uploads_are_tried_again_after_429_500_and_a_broken_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "¿Cuánto cuesta?")
            s.elevenlabs.faults.next("speech", Fault(status=429, retry_after="1"))
            s.elevenlabs.faults.next("speech", Fault("reset"))
            s.elevenlabs.faults.next("files", Fault(status=500))
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            await s.twilio.customer_writes(ANA, "", media=photo())
            question = (await questions(s))[0]
            assert (question["text"], len(question["files"])) == ("¿Cuánto cuesta?", 1)
            assert list(s.elevenlabs.transcriptions.values()) == [1]

    run(scenario())


@pytest.mark.soak  # half a minute; tests/ledger/test_media.py shows the rule on a virtual clock
def test_a_voice_note_holds_its_turn_thirty_seconds_at_most_and_then_has_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice(slow=40.0))
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta?")
            await asyncio.sleep(25.0)
            assert asked(s) == []
            text = (await questions(s))[0]["text"]
            assert text == "[El cliente envió una nota de voz que no se puede abrir aquí]\n¿Cuánto cuesta?"

    run(scenario(), within=240)


def test_a_spoken_opt_out_of_at_most_five_words_is_honoured(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "No me escriban más.")
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            assert "no te escribiremos más" in (await s.sent(2))[1]
            assert (await s.conversation())["status"] == "opted_out"
            assert asked(s) == []

    run(scenario())


def test_an_opt_out_in_a_caption_is_honoured(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "BAJA", media=photo())
            assert "no te escribiremos más" in (await s.sent(2))[1]
            assert asked(s) == []

    run(scenario())


def test_a_spoken_request_for_a_person_hands_the_conversation_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "Hablar con un asesor")
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            assert "persona de nuestro equipo" in (await s.sent(2))[1]
            assert asked(s) == []

    run(scenario())


def test_nothing_is_fetched_for_strangers_and_those_who_have_opted_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(LUIS, "", media=voice())
            await s.twilio.customer_writes(ANA, "BAJA")
            await s.sent(2)
            await s.twilio.customer_writes(ANA, "", media=voice())
            await until(lambda: s.relay.log.count("message_received") == 3)
            assert (await last_message(s))["attachment"] == {"type": "audio"}
            assert s.twilio.journal.entries("elsewhere") == []
            s.elevenlabs.set_transcript(NOTE, "Buenas tardes.")
            await s.twilio.customer_writes(ANA, "ALTA")
            await until(lambda: sum(s.elevenlabs.transcriptions.values()) == 1)

    run(scenario())


def test_files_are_never_fetched_from_another_address_than_our_account(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            other = f"{s.twilio.url}/2010-04-01/Accounts/AC{'9' * 32}/Messages/MM{'1' * 32}/Media/ME{'2' * 32}"
            for url in (s.relay.url + "/health", other, f"{s.twilio.url}@127.0.0.1/x", "file:///etc/passwd"):
                await s.twilio.customer_writes(ANA, "", media=photo(), fields={"MediaUrl0": url})
            await until(lambda: s.relay.log.count("foreign_address") == 4)
            assert s.twilio.journal.entries("elsewhere") == []
            assert (await s.sent(2))[1] == TEXT_ONLY

    run(scenario())


def test_no_credentials_leave_twilio_and_redirects_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "dos", media=photo(hops=2))
            await s.sent(2)
            assert len(asked(s)[0]["files"]) == 1
            await s.twilio.customer_writes(ANA, "tres", media=photo(hops=3))
            await s.sent(3)
            assert asked(s)[1]["files"] == []
            assert s.twilio.journal.entries("violation") == []

    run(scenario())


def test_an_agent_that_takes_no_files_is_not_asked_about_a_picture(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = Agent(AGENT.agent_id, client_events=CHAT_EVENTS, file_input=False)
        async with stage(tmp_path, agent=agent) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=photo())
            assert (await s.sent(2))[1] == TEXT_ONLY
            await s.twilio.customer_writes(ANA, "¿La ves?", media=photo())
            await s.sent(3)
            assert asked(s)[0]["text"] == "¿La ves?\n[El cliente envió una imagen que no se puede abrir aquí]"

    run(scenario())


def test_files_beyond_the_agents_limit_become_notes(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = Agent(AGENT.agent_id, client_events=CHAT_EVENTS, max_files=1)
        async with stage(tmp_path, {"reply": {"debounce_seconds": 1.0}}, agent=agent) as s:
            await opened(s)
            for number in range(2):
                await s.twilio.customer_writes(ANA, "", media=photo(PHOTO + bytes([number])))
            question = (await questions(s))[0]
            assert len(question["files"]) == 1
            assert question["text"] == "[El cliente envió una imagen que no se puede abrir aquí]"

    run(scenario())


def test_an_upload_that_is_refused_permanently_leaves_a_note(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.settings.largest_file = 5
            await opened(s)
            await s.twilio.customer_writes(ANA, "¿Es este?", media=photo())
            await s.sent(2)
            assert asked(s)[0]["text"] == "¿Es este?\n[El cliente envió una imagen que no se puede abrir aquí]"
            await s.twilio.customer_writes(ANA, "", media=photo())
            assert (await s.sent(3))[2] == TEXT_ONLY

    run(scenario())


def test_settings_can_answer_voice_notes_and_files_with_the_notice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"media": {"voice_notes": "notice", "files": "notice"}}) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            assert (await s.sent(2))[1] == TEXT_ONLY
            await s.twilio.customer_writes(ANA, "¿La ves?", media=photo())
            await s.sent(3)
            assert asked(s)[0]["files"] == []
            assert dict(s.elevenlabs.transcriptions) == {}

    run(scenario())


def test_a_gateway_gets_voice_notes_as_text_and_no_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"elevenlabs": {"transport": "http"}}) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=photo())
            assert (await s.sent(2))[1] == TEXT_ONLY

    run(scenario())


def test_a_message_found_by_listing_brings_its_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "¿Cuánto cuesta?")
            await opened(s)
            await s.relay.stop()
            await s.twilio.customer_writes(ANA, "", media=voice(), deliver=False)
            await s.relay.start()
            await s.sent(2)
            assert asked(s)[0]["text"] == "¿Cuánto cuesta?"

    run(scenario())


def test_a_place_found_by_listing_counts_as_unreadable(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.relay.stop()
            await s.twilio.customer_writes(ANA, "", location=(4.6, -74.0), deliver=False)
            await s.relay.start()
            assert (await s.sent(2))[1] == TEXT_ONLY

    run(scenario())


def test_a_kill_during_a_transcription_loses_nothing_and_pays_twice_at_most(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.settings.speech_delay = 1.0
            s.elevenlabs.set_transcript(NOTE, "¿Cuánto cuesta?")
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            await until(lambda: "media_fetched" in s.relay.log)
            await s.relay.kill()
            await s.relay.start()
            await s.sent(2, within=60.0)
            assert [question["text"] for question in asked(s)] == ["¿Cuánto cuesta?"]
            assert sum(s.elevenlabs.transcriptions.values()) <= 2
            await s.relay.kill()
            await s.relay.start()
            await until(lambda: s.relay.log.count("listening") == 3)
            assert sum(s.elevenlabs.transcriptions.values()) <= 2

    run(scenario(), within=240)


def test_health_shows_that_speech_to_text_is_refused_for_the_account(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "¿Cuánto cuesta?")
            s.elevenlabs.faults.next("speech", Fault(status=401, code="quota_exceeded"))
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            assert (await s.sent(2))[1] == TEXT_ONLY
            assert (await s.call("GET", "/health")).json["status"] == "degraded"
            await s.twilio.customer_writes(ANA, "", media=voice())
            await s.sent(3)
            assert (await s.call("GET", "/health")).json["status"] == "ok"

    run(scenario())


def test_files_are_handed_out_to_the_token_alone_and_by_an_id_that_can_not_be_guessed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=photo(PHOTO + bytes(600_000)))
            await s.sent(2)
            media_id = (await last_message(s))["attachment"]["media_id"]
            assert len(media_id) >= 20
            file = await s.call("GET", f"/api/media/{media_id}")
            assert (file.status, len(file.text) > 600_000) == (200, True)
            assert file.headers["Content-Disposition"] == "attachment"
            assert file.headers["X-Content-Type-Options"] == "nosniff"
            assert file.headers["Content-Type"] == "image/jpeg"
            assert (await s.call("GET", f"/api/media/{media_id}", token=None)).status == 401
            assert (await s.call("GET", "/api/media/nothing", token=None)).status == 401
            unknown = await s.call("GET", "/api/media/nothing")
            assert (unknown.status, unknown.json["error"]) == (404, "not_found")

    run(scenario())


def test_files_that_are_not_kept_are_deleted_when_their_turn_has_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"media": {"keep_days": 0}}) as s:
            s.elevenlabs.set_transcript(NOTE, "¿Cuánto cuesta?")
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=photo())
            await s.sent(2)
            assert len(asked(s)[0]["files"]) == 1
            await s.twilio.customer_writes(ANA, "", media=voice())
            await s.sent(3)
            shown = (await last_message(s))["attachment"]
            assert (shown["media_id"], shown["transcript"]) == (None, "¿Cuánto cuesta?")

    run(scenario())


def test_history_shows_a_voice_note_with_its_transcript(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.set_transcript(NOTE, "¿Cuánto cuesta?", seconds=63.0)
            await opened(s)
            await s.twilio.customer_writes(ANA, "", media=voice())
            await s.sent(2)
            _, out, _ = await s.relay.command("history", ANA)
            assert "[voice note, 1:03]" in out
            assert "¿Cuánto cuesta?" in out
            _, out, _ = await s.relay.command("history", ANA, "--json")
            assert json.loads(out)["messages"][1]["attachment"]["transcript"] == "¿Cuánto cuesta?"

    run(scenario())
