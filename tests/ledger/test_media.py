"""Files as jobs: what holds a turn and for how long, what is paid once, what the database refuses."""

from __future__ import annotations

import pytest

from tests.engines import REFUSED
from tests.ledger.conftest import NOW, call, written
from wa_relay.ledger import agent_input, calls, inbox, media, media_files, turns
from wa_relay.ledger.media import DueFile, FetchedFile, Heard
from wa_relay.ledger.store import Ledger
from wa_relay.model import Attachment

VOICE = Attachment("audio", "audio/ogg", "https://api.twilio.com/voice")
PICTURE = Attachment("image", "image/jpeg", "https://api.twilio.com/picture")
STICKER = Attachment("sticker", "image/webp", "https://api.twilio.com/sticker")


@pytest.fixture
def known(ledger: Ledger) -> Ledger:
    """Ana has been called."""
    calls.record_call(ledger, call(), NOW - 60)
    return ledger


def receive(ledger: Ledger, attachment: Attachment | None, text: str = "", at: float = NOW, sid: str = "MM1") -> None:
    inbox.record_inbound(ledger, written(text, sid=sid, attachment=attachment), at)


def fetch(ledger: Ledger, now: float, content: bytes = b"OggS") -> DueFile:
    (file,) = media.claim(ledger, 5, 0, now).fetches
    media.store_chunk(ledger, file.id, 0, content)
    assert media.finish_fetch(ledger, file.id, FetchedFile("audio/ogg", len(content), f"public{file.id}"), None, now)
    return file


def test_a_voice_note_holds_its_turn_until_it_is_transcribed(known: Ledger) -> None:
    receive(known, VOICE)
    receive(known, None, "¿Cuánto?", NOW + 1, "SM2")
    assert turns.claim_turns(known, 5, NOW + 10).jobs == ()
    file = fetch(known, NOW + 11)
    assert turns.claim_turns(known, 5, NOW + 12).jobs == ()
    assert [each.id for each in media.claim(known, 5, 0, NOW + 12).transcriptions] == [file.id]
    assert inbox.record_transcript(known, file.id, Heard("Hola, soy Ana", 2.0), NOW + 13)
    (job,) = turns.claim_turns(known, 5, NOW + 13).jobs
    assert job.question.text == "Hola, soy Ana\n¿Cuánto?"


def test_a_voice_note_that_takes_longer_than_30_s_has_failed_and_its_late_transcript_is_kept(known: Ledger) -> None:
    receive(known, VOICE)
    receive(known, None, "¿Cuánto?", NOW + 1, "SM2")
    file = fetch(known, NOW + 2)
    assert turns.claim_turns(known, 5, NOW + 29.9).jobs == ()
    (job,) = turns.claim_turns(known, 5, NOW + 30).jobs
    assert job.question.text.endswith("que no se puede abrir aquí]\n¿Cuánto?")
    assert inbox.record_transcript(known, file.id, Heard("Tarde", None), NOW + 40)
    assert known.need_one("select content from conversation_messages where twilio_message_id = 'MM1'")[0] == "Tarde"


def test_the_time_of_a_file_counts_afresh_after_a_restart(known: Ledger) -> None:
    receive(known, VOICE)
    media.claim(known, 5, 0, NOW + 1)
    known.run("update runs set ended_at = :now", {"now": NOW + 20})
    assert media.rescue_media(known, NOW + 25) == 1
    assert turns.claim_turns(known, 5, NOW + 54).jobs == ()
    assert len(media.claim(known, 5, 0, NOW + 25).fetches) == 1


def test_a_file_that_a_living_run_has_in_hand_is_left_to_it(known: Ledger) -> None:
    receive(known, VOICE)
    media.claim(known, 5, 0, NOW + 1)
    assert media.rescue_media(known, NOW + 2) == 0
    assert media.claim(known, 5, 0, NOW + 3).fetches == ()


def test_other_conversations_do_not_wait(known: Ledger) -> None:
    calls.record_call(known, call("conv_2", phone="+573001112233"), NOW - 60)
    receive(known, VOICE)
    inbox.record_inbound(known, written("hola", sid="SM9", phone="+573001112233"), NOW)
    (job,) = turns.claim_turns(known, 5, NOW + 5).jobs
    assert job.question.text == "hola"


def test_a_picture_goes_with_its_turn_once_it_is_there(known: Ledger) -> None:
    receive(known, PICTURE, "¿Es este?")
    assert turns.claim_turns(known, 5, NOW + 5).jobs == ()
    file = fetch(known, NOW + 6, b"jpeg")
    (job,) = turns.claim_turns(known, 5, NOW + 7).jobs
    assert [(each.media, each.size) for each in job.question.files] == [(file.id, 4)]
    assert media_files.read_chunk(known.db, file.id, 0) == b"jpeg"
    assert media_files.read_chunk(known.db, file.id, 1) is None


def test_a_sticker_is_fetched_and_holds_nothing(known: Ledger) -> None:
    receive(known, STICKER)
    assert turns.claim_turns(known, 5, NOW + 5).answered == 1
    assert len(media.claim(known, 5, 0, NOW + 5).fetches) == 1


def test_nothing_is_due_for_an_opted_out_customer_until_they_are_back(known: Ledger) -> None:
    receive(known, None, "baja", NOW, "SM1")
    receive(known, VOICE, at=NOW + 1)
    assert media.claim(known, 5, 0, NOW + 2).fetches == ()
    receive(known, None, "alta", NOW + 3, "SM3")
    assert len(media.claim(known, 5, 0, NOW + 3).fetches) == 1


def test_a_file_older_than_the_retention_is_not_fetched(known: Ledger) -> None:
    receive(known, None, "baja", NOW, "SM1")
    receive(known, VOICE, at=NOW + 1)
    receive(known, None, "alta", NOW + 8 * 86400, "SM3")
    assert media.claim(known, 5, 0, NOW + 8 * 86400).fetches == ()


def test_one_recording_is_transcribed_at_a_time_while_that_is_fast_enough(known: Ledger) -> None:
    for number in range(3):
        receive(known, VOICE, at=NOW, sid=f"MM{number}")
    claimed = media.claim(known, 5, 0, NOW)
    for file in claimed.fetches:
        media.store_chunk(known, file.id, 0, b"OggS")
        media.finish_fetch(known, file.id, FetchedFile("audio/ogg", 4, None), None, NOW)
    assert len(media.claim(known, 5, 0, NOW + 1).transcriptions) == 1
    assert media.claim(known, 5, 1, NOW + 2).transcriptions == ()
    assert len(media.claim(known, 5, 1, NOW + 3).transcriptions) == 2


def test_a_recording_is_transcribed_once(known: Ledger) -> None:
    receive(known, VOICE)
    file = fetch(known, NOW + 1)
    assert inbox.record_transcript(known, file.id, Heard("uno", 1.0), NOW + 2)
    assert inbox.record_transcript(known, file.id, Heard("dos", 1.0), NOW + 3) is None
    with pytest.raises(REFUSED):
        known.run("update media set transcript = 'dos'")


def test_a_file_is_stored_whole_or_not_at_all(known: Ledger) -> None:
    receive(known, PICTURE)
    (file,) = media.claim(known, 5, 0, NOW).fetches
    media.store_chunk(known, file.id, 0, b"half")
    with pytest.raises(REFUSED):
        media.finish_fetch(known, file.id, FetchedFile("image/jpeg", 8, "x"), None, NOW)


def test_a_row_holds_at_most_256_kb(known: Ledger) -> None:
    receive(known, PICTURE)
    (file,) = media.claim(known, 5, 0, NOW).fetches
    with pytest.raises(REFUSED):
        media.store_chunk(known, file.id, 0, bytes(262_145))


def test_a_fetch_that_begins_again_drops_what_came_before(known: Ledger) -> None:
    receive(known, PICTURE)
    (file,) = media.claim(known, 5, 0, NOW).fetches
    media.store_chunk(known, file.id, 0, b"broken")
    media.store_chunk(known, file.id, 0, b"whole")
    assert media.finish_fetch(known, file.id, FetchedFile("image/jpeg", 5, "x"), None, NOW)


def test_files_are_deleted_when_they_have_been_kept_long_enough_and_their_turn_is_over(known: Ledger) -> None:
    receive(known, PICTURE)
    file = fetch(known, NOW + 1)
    week = 7 * 86400.0
    assert media.delete_expired(known, NOW + week - 1) == 0
    assert media.delete_expired(known, NOW + week) == 0
    (job,) = turns.claim_turns(known, 5, NOW + 5).jobs
    turns.finish_turn(known, job.turn_id, ["Sí."], None, NOW + 6)
    assert media.delete_expired(known, NOW + week) == 1
    assert media_files.read_chunk(known.db, file.id, 0) is None
    assert media_files.find_file(known.db, f"public{file.id}") is None


def test_a_picture_that_the_agent_has_had_is_named_in_the_thread(known: Ledger) -> None:
    receive(known, PICTURE, "¿Es este?")
    fetch(known, NOW + 1)
    (job,) = turns.claim_turns(known, 5, NOW + 5).jobs
    turns.finish_turn(known, job.turn_id, ["Sí."], None, NOW + 6)
    receive(known, None, "¿Seguro?", NOW + 10, "SM2")
    (job,) = turns.claim_turns(known, 5, NOW + 15).jobs
    thread = agent_input.inform_on_writer(known, job).question.thread
    assert [line.text for line in thread[1:]] == ["¿Es este?\n[El cliente envió una imagen]", "Sí."]


def test_a_quoted_reply_and_a_tap_know_the_message_that_they_answer(known: Ledger) -> None:
    receive(known, None, "hola", NOW, "SM1")
    inbox.record_inbound(known, written("¿y esto?", sid="SM2", replied_to="SM1"), NOW + 1)
    inbox.record_inbound(known, written("Sí", sid="SM3", replied_to="SM1", tapped=True), NOW + 1)
    (job,) = turns.claim_turns(known, 5, NOW + 5).jobs
    assert job.question.text == "hola\n[Responde a este mensaje: «hola»]\n¿y esto?\nSí"
