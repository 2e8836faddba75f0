"""The script: what happens to the customers and what they write, each step told once it has happened."""

from __future__ import annotations

import asyncio
from typing import Any

from wa_relay.demo.campaign import AGENT, ANA, BATCH, CALLED, DIEGO, JORGE, LUIS, MARTA, SARA, Person, backend_report
from wa_relay.demo.stage import Stage, StepMissed
from wa_relay.standins.journal import Entry
from wa_relay.standins.twilio import Attachment

READS = 0.3
"""Seconds that somebody takes to read and answer."""

SAID = "Buenas, ¿el plan Premium qué incluye?"
"""What Marta says in her voice note."""

BURST = ("Hola, qué pena molestar", "¿A qué hora atienden?", "Es que trabajo hasta las 6")


async def first_call(s: Stage) -> str:
    """Plays the call to Ana, up to the opening that she reads; gives the batch."""
    s.screen.chapter("A call ends, and wa-relay writes to the customer")
    people = [person.recipient for person in CALLED]
    batch = s.elevenlabs.add_batch(name=BATCH, agent_id=AGENT.agent_id, recipients=people)
    s.told(
        await s.from_elevenlabs("ElevenLabs has the campaign", "batch", batch_id=batch),
        "ElevenLabs",
        f"{AGENT.name} calls the customers of “{BATCH}”.",
    )
    s.elevenlabs.start_call(batch, 0)
    await asyncio.sleep(1.2)
    s.elevenlabs.finish_call(batch, 0)
    ended = await _call_ended(s, ANA)
    _tell_end(s, ended, ANA)
    call = f"/v1/convai/conversations/{ended.data['conversation_id']}"
    polled = await s.from_elevenlabs(f"wa-relay finds the call to {ANA.name}", "request", path=call)
    s.told(polled, "wa-relay", "Polls, finds the call and reads its outcome.")
    sent = await _opening(s, ANA)
    how = "an approved template" if sent.data["content_sid"] else "free text"
    _show_sent(s, sent, ANA, f"Sends the opening, {how}, through Twilio:")
    await _show_read(s, sent, ANA)
    return batch


async def question(s: Stage, person: Person, *texts: str) -> Entry:
    """Lets somebody write, all at once, and waits for the one answer, which it gives."""
    await asyncio.sleep(READS)
    before = len(s.twilio.journal.entries())
    wrote = s.twilio.customer_burst(person.phone, texts)
    written = asyncio.create_task(wrote)
    for text in texts:
        what = f"{person.name}'s message reaches Twilio"
        inbound = await s.from_twilio(what, "inbound", phone=person.phone, body=text)
        if text is texts[0]:
            words = "writes:" if len(texts) == 1 else f"writes {len(texts)} messages at once:"
            s.told(inbound, "customer", f"{person.name} {words}")
        s.screen.theirs(person.name, str(inbound.data["body"]))
    if any(delivery.status != 200 for delivery in await written):
        raise StepMissed(f"wa-relay did not accept the message of {person.name}")
    await _tell_turn(s, person, texts)
    answer = await s.sent_after(f"the answer to {person.name} is sent", person.phone, before)
    _show_sent(s, answer, person, f"Sends {AGENT.name}'s reply through Twilio:")
    return answer


async def interest(s: Stage) -> None:
    """Lets Ana ask the price."""
    s.screen.chapter("The customer writes, and the same agent replies in text")
    answer = await question(s, ANA, "Sí me interesa, ¿precio?")
    await _show_read(s, answer, ANA)


async def the_others(s: Stage, batch: str) -> None:
    """Plays the rest of the batch: each call ends in its own way, and is followed by what belongs to it."""
    s.screen.chapter("The other calls end, each in its own way")
    s.elevenlabs.play(batch, rings=0.2, talks=0.4, analysis=0.1, at_once=len(CALLED))
    ends = [(await _call_ended(s, person), person) for person in CALLED[1:]]
    for ended, person in sorted(ends, key=lambda end: end[0].number):
        _tell_end(s, ended, person)
    openings = [(await _opening(s, person), person) for person in (LUIS, MARTA, SARA)]
    for sent, person in sorted(openings, key=lambda opening: opening[0].number):
        if person.outcome == "completed":
            s.told(sent, "wa-relay", f"Sends the opening to {person.name}.")
        else:
            s.told(sent, "wa-relay", f"Sends {person.name}, who was not reached, an opening of its own:")
            s.screen.ours(person.name, str(sent.data["shown"]))
    for sent, person in openings:
        await s.receipts(sent, person.name)
    await _nobody_wrote(s, JORGE)


async def burst(s: Stage) -> None:
    """Lets Luis write three messages, which are one question."""
    s.screen.chapter("Three messages in a row are one question")
    await question(s, LUIS, *BURST)


async def voice_note(s: Stage) -> None:
    """Lets Marta send a voice note, which the agent answers."""
    s.screen.chapter("A voice note is transcribed, and the agent answers it")
    note = Attachment("audio/ogg", b"OggS the voice of Marta")
    s.elevenlabs.set_transcript(note.data, SAID, seconds=4.0)
    before = await _sends(s, MARTA, "", note, "[voice note]")
    heard = await s.from_elevenlabs(f"{MARTA.name}'s voice note is transcribed", "speech", text=SAID)
    s.told(heard, "ElevenLabs", f"Speech-to-text hears: “{SAID}”")
    await _tell_turn(s, MARTA, (SAID,))
    answer = await s.sent_after(f"the answer to {MARTA.name} is sent", MARTA.phone, before)
    _show_sent(s, answer, MARTA, f"Sends {AGENT.name}'s reply through Twilio:")


async def picture(s: Stage) -> None:
    """Lets Luis send a picture, which the agent sees."""
    s.screen.chapter("A picture goes to the agent, which sees it")
    caption = "¿Es este el equipo?"
    before = await _sends(s, LUIS, caption, Attachment("image/jpeg", b"\xff\xd8\xff a photo of Luis"), "[picture]")
    given = await s.from_elevenlabs(f"{LUIS.name}'s picture reaches {AGENT.name}", "file")
    s.told(given, "ElevenLabs", f"{AGENT.name} gets the picture in the session, with the words below it.")
    await _tell_turn(s, LUIS, (caption,))
    answer = await s.sent_after(f"the answer to {LUIS.name} is sent", LUIS.phone, before)
    _show_sent(s, answer, LUIS, f"Sends {AGENT.name}'s reply through Twilio:")


async def _sends(s: Stage, person: Person, words: str, file: Attachment, shown: str) -> int:
    """Lets somebody send a file; gives the place in Twilio's journal before it."""
    await asyncio.sleep(READS)
    before = len(s.twilio.journal.entries())
    delivery = await s.twilio.customer_writes(person.phone, words, media=file)
    inbound = await s.from_twilio(f"{person.name}'s message reaches Twilio", "inbound", sid=delivery.sid)
    s.told(inbound, "customer", f"{person.name} sends:")
    s.screen.theirs(person.name, f"{shown} {words}".strip())
    return before


async def opt_out(s: Stage) -> None:
    """Lets Sara opt out."""
    s.screen.chapter("A customer who writes BAJA gets no more messages")
    await _notice(s, SARA, "BAJA", "BAJA")
    told = await s.until(
        f"wa-relay counts {SARA.name} as opted out", lambda: _conversation(s, SARA, lambda c: c["status"] != "active")
    )
    s.now_told("wa-relay", f"{SARA.name} is now “{told['status']}” and gets no more messages.")


async def backend(s: Stage) -> None:
    """Lets the campaign's backend tell of a call, as it may beside the polling."""
    s.screen.chapter("A backend can report a call, too")
    s.awaited = "POST /api/call-completed is answered"
    status, told = await s.api("POST", "/api/call-completed", backend_report(DIEGO))
    if status >= 300:
        raise StepMissed(f"POST /api/call-completed returned {status}: {told.get('message')}")
    s.now_told("backend", f"POST /api/call-completed for {DIEGO.name}: {status} “{told['status']}”")
    _show_sent(s, await _opening(s, DIEGO), DIEGO, "Sends the opening:")


async def results(s: Stage) -> None:
    """Prints what the commands say about all that, from the same database."""
    s.screen.chapter("Afterwards: the commands, on the database of this demo")
    await s.until("all messages are settled", lambda: _settled(s))
    commands = (("history", "+57 313 853-9155"), ("stats",))
    work = [asyncio.create_task(s.daemon.command(*words, env=_terminal(s))) for words in commands]
    try:
        for words, running in zip(commands, work, strict=True):
            s.awaited = f"wa-relay {words[0]} prints"
            code, out, err = await running
            if code:
                raise StepMissed(f"wa-relay {words[0]} ended with {code}: {err.strip()}")
            s.screen.command(f"wa-relay {' '.join(words)}", out)
    finally:
        for running in work:
            running.cancel()


def _terminal(s: Stage) -> dict[str, str]:
    """The environment in which a command prints as it would on the demo's own paper."""
    paper = s.screen.paper
    coloured = paper.console.color_system is not None and not paper.console.no_color
    colours = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": ""} if coloured else {"NO_COLOR": "1"}
    encoding = "ascii" if paper.ascii else "utf-8"
    return {"COLUMNS": str(paper.console.width), "PYTHONIOENCODING": encoding, "FORCE_COLOR": "", **colours}


async def _call_ended(s: Stage, person: Person) -> Entry:
    what = f"the call to {person.name} ends"
    return await s.from_elevenlabs(what, "recipient", phone=person.phone, status=person.outcome)


def _tell_end(s: Stage, ended: Entry, person: Person) -> None:
    reached = "" if ended.data["conversation_id"] else ", without a conversation"
    s.told(ended, "ElevenLabs", f"The call to {person.name} is over: {ended.data['status']}{reached}.")


async def _opening(s: Stage, person: Person) -> Entry:
    return await s.sent_after(f"the opening to {person.name} is sent", person.phone, 0)


def _show_sent(s: Stage, sent: Entry, person: Person, words: str) -> None:
    """Shows a message that Twilio took."""
    s.told(sent, "wa-relay", words)
    s.screen.ours(person.name, str(sent.data["shown"]))


async def _show_read(s: Stage, sent: Entry, person: Person) -> None:
    """Tells that a message was read, under it."""
    delivered, read = await s.receipts(sent, person.name)
    s.screen.receipts(f"delivered after {delivered.at - sent.at:.1f} s, read after {read.at - sent.at:.1f} s")


async def _tell_turn(s: Stage, person: Person, texts: tuple[str, ...]) -> None:
    """Tells what the agent was asked, and that it knew of the phone call."""
    asked = await s.expect(
        f"{AGENT.name} is asked what {person.name} wrote",
        s.elevenlabs.journal,
        lambda entry: entry.kind == "user_message" and all(text in str(entry.data["text"]) for text in texts),
    )
    summary = await s.knew(asked, person)
    many = "" if len(texts) == 1 else f" once, with all {len(texts)} messages"
    s.told(asked, "ElevenLabs", f"{AGENT.name} gets the question{many}. Context: “{summary}”")


async def _notice(s: Stage, person: Person, body: str, shown: str, media: str | None = None) -> None:
    """Lets somebody write what is answered without the agent."""
    await asyncio.sleep(READS)
    before, heard = len(s.twilio.journal.entries()), len(s.elevenlabs.journal.entries("user_message"))
    delivery = await s.twilio.customer_writes(person.phone, body, media=media)
    inbound = await s.from_twilio(f"{person.name}'s message reaches Twilio", "inbound", sid=delivery.sid)
    s.told(inbound, "customer", f"{person.name} writes:" if body else f"{person.name} speaks:")
    s.screen.theirs(person.name, shown)
    answer = await s.sent_after(f"{person.name} is answered", person.phone, before)
    if len(s.elevenlabs.journal.entries("user_message")) > heard:
        raise StepMissed(f"wa-relay asked {AGENT.name} about a message that needs no agent")
    _show_sent(s, answer, person, "Replies automatically, without the agent:")


async def _nobody_wrote(s: Stage, person: Person) -> None:
    told = await s.until(
        f"wa-relay has recorded the call to {person.name}",
        lambda: _conversation(s, person, lambda conversation: bool(conversation["calls"])),
    )
    _, figures = await s.api("GET", "/api/stats")
    if told["messages"] or not figures["skipped"]:
        raise StepMissed(f"wa-relay did not skip {person.name}")
    reason = ", ".join(figures["skipped"])
    s.now_told("wa-relay", f"Records the call to {person.name} and sends nothing: {reason}.")


async def _conversation(s: Stage, person: Person, holds: Any) -> Any:
    """The person's thread as the API tells it, None until something holds of it."""
    status, told = await s.api("GET", f"/api/conversations/{person.phone}")
    return told if status == 200 and holds(told) else None


async def _settled(s: Stage) -> bool:
    _, figures = await s.api("GET", "/api/stats")
    openings = figures["openings"]
    return bool(openings["sent"] == openings["read"] and not openings["queued"])
