"""The script: what happens to the customers and what they write, each step reported once it has happened."""

from __future__ import annotations

import asyncio
from typing import Any

from wa_relay.demo import photo
from wa_relay.demo.campaign import AGENT, ANA, BATCH, CALLED, DIEGO, JORGE, LUIS, MARTA, SARA, Customer, backend_report
from wa_relay.demo.stage import Stage, StepMissed
from wa_relay.standins.journal import Entry
from wa_relay.standins.twilio import Attachment

READS = 0.3
"""Seconds that a customer takes to read and answer."""

SAID = "Buenas, ¿el plan Premium qué incluye?"
"""The content of Marta's voice note."""

BURST = ("Hola, qué pena molestar", "¿A qué hora atienden?", "Es que trabajo hasta las 6")


async def first_call(s: Stage) -> str:
    """Plays the call to Ana, up to the opening that she reads; returns the batch."""
    s.screen.chapter("A call ends, and wa-relay writes to the customer")
    recipients = [customer.recipient for customer in CALLED]
    batch = s.elevenlabs.add_batch(name=BATCH, agent_id=AGENT.agent_id, recipients=recipients)
    s.report(
        await s.from_elevenlabs("ElevenLabs has the campaign", "batch", batch_id=batch),
        "ElevenLabs",
        f"{AGENT.name} calls the customers of “{BATCH}”.",
    )
    s.elevenlabs.start_call(batch, 0)
    await asyncio.sleep(1.2)
    s.elevenlabs.finish_call(batch, 0)
    ended = await _call_ended(s, ANA)
    _report_end(s, ended, ANA)
    call = f"/v1/convai/conversations/{ended.data['conversation_id']}"
    polled = await s.from_elevenlabs(f"wa-relay finds the call to {ANA.name}", "request", path=call)
    s.report(polled, "wa-relay", "Polls, finds the call and reads its outcome.")
    sent = await _opening(s, ANA)
    how = "an approved template" if sent.data["content_sid"] else "free text"
    _show_sent(s, sent, ANA, f"Sends the opening, {how}, through Twilio:")
    await _show_read(s, sent, ANA)
    return batch


async def question(s: Stage, customer: Customer, *texts: str) -> Entry:
    """Lets a customer write several messages at once, and returns the one answer."""
    await asyncio.sleep(READS)
    before = len(s.twilio.journal.entries())
    wrote = s.twilio.customer_burst(customer.phone, texts)
    written = asyncio.create_task(wrote)
    for text in texts:
        what = f"{customer.name}'s message reaches Twilio"
        inbound = await s.from_twilio(what, "inbound", phone=customer.phone, body=text)
        if text is texts[0]:
            action = "writes:" if len(texts) == 1 else f"writes {len(texts)} messages at once:"
            s.report(inbound, "customer", f"{customer.name} {action}")
        s.screen.theirs(customer.name, str(inbound.data["body"]))
    if any(delivery.status != 200 for delivery in await written):
        raise StepMissed(f"wa-relay did not accept the message of {customer.name}")
    await _report_turn(s, customer, texts)
    answer = await s.sent_after(f"the answer to {customer.name} is sent", customer.phone, before)
    _show_sent(s, answer, customer, f"Sends {AGENT.name}'s reply through Twilio:")
    return answer


async def interest(s: Stage) -> None:
    """Lets Ana ask the price."""
    s.screen.chapter("The customer writes, and the same agent replies in text")
    answer = await question(s, ANA, "Sí me interesa, ¿precio?")
    await _show_read(s, answer, ANA)


async def the_others(s: Stage, batch: str) -> None:
    """Plays the rest of the batch: each call ends in its own way and has its own consequence."""
    s.screen.chapter("The other calls end, each in its own way")
    s.elevenlabs.play(batch, rings=0.2, talks=0.4, analysis=0.1, at_once=len(CALLED))
    ends = [(await _call_ended(s, customer), customer) for customer in CALLED[1:]]
    for ended, customer in sorted(ends, key=lambda end: end[0].number):
        _report_end(s, ended, customer)
    openings = [(await _opening(s, customer), customer) for customer in (LUIS, MARTA, SARA)]
    for sent, customer in sorted(openings, key=lambda opening: opening[0].number):
        if customer.outcome == "completed":
            s.report(sent, "wa-relay", f"Sends the opening to {customer.name}.")
        else:
            s.report(sent, "wa-relay", f"Sends {customer.name}, who was not reached, an opening of its own:")
            s.screen.ours(customer.name, str(sent.data["shown"]))
    for sent, customer in openings:
        await s.receipts(sent, customer.name)
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
    s.report(heard, "ElevenLabs", f"Speech-to-text hears: “{SAID}”")
    await _report_turn(s, MARTA, (SAID,))
    answer = await s.sent_after(f"the answer to {MARTA.name} is sent", MARTA.phone, before)
    _show_sent(s, answer, MARTA, f"Sends {AGENT.name}'s reply through Twilio:")


async def picture(s: Stage) -> None:
    """Lets Luis send a picture, which the agent sees."""
    s.screen.chapter("A picture goes to the agent, which sees it")
    caption = "¿Es este el equipo?"
    before = await _sends(s, LUIS, caption, Attachment("image/png", photo.draw()), "[picture]")
    given = await s.from_elevenlabs(f"{LUIS.name}'s picture reaches {AGENT.name}", "file")
    s.report(given, "ElevenLabs", f"{AGENT.name} gets the picture in the session, with its caption.")
    await _report_turn(s, LUIS, (caption,))
    answer = await s.sent_after(f"the answer to {LUIS.name} is sent", LUIS.phone, before)
    _show_sent(s, answer, LUIS, f"Sends {AGENT.name}'s reply through Twilio:")


async def _sends(s: Stage, customer: Customer, text: str, file: Attachment, shown: str) -> int:
    """Lets a customer send a file; returns the place in Twilio's journal before it."""
    await asyncio.sleep(READS)
    before = len(s.twilio.journal.entries())
    delivery = await s.twilio.customer_writes(customer.phone, text, media=file)
    inbound = await s.from_twilio(f"{customer.name}'s message reaches Twilio", "inbound", sid=delivery.sid)
    s.report(inbound, "customer", f"{customer.name} sends:")
    s.screen.theirs(customer.name, f"{shown} {text}".strip())
    return before


async def opt_out(s: Stage) -> None:
    """Lets Sara opt out."""
    s.screen.chapter("A customer who writes BAJA gets no more messages")
    await _notice(s, SARA, "BAJA", "BAJA")
    body = await s.until(
        f"wa-relay counts {SARA.name} as opted out", lambda: _conversation(s, SARA, lambda c: c["status"] != "active")
    )
    s.report_now("wa-relay", f"{SARA.name} is now “{body['status']}” and gets no more messages.")


async def backend(s: Stage) -> None:
    """Lets the campaign's backend report a call, as it may beside the polling."""
    s.screen.chapter("A backend can report a call, too")
    s.awaited = "POST /api/call-completed is answered"
    status, body = await s.api("POST", "/api/call-completed", backend_report(DIEGO))
    if status >= 300:
        raise StepMissed(f"POST /api/call-completed returned {status}: {body.get('message')}")
    s.report_now("backend", f"POST /api/call-completed for {DIEGO.name}: {status} “{body['status']}”")
    _show_sent(s, await _opening(s, DIEGO), DIEGO, "Sends the opening:")


async def results(s: Stage) -> None:
    """Prints what the commands show of all that, from the same database."""
    s.screen.chapter("Afterwards: the commands, on the database of this demo")
    await s.until("all messages are settled", lambda: _settled(s))
    commands = (("history", "+57 313 853-9155"), ("stats",))
    work = [asyncio.create_task(s.daemon.command(*arguments, env=_terminal(s))) for arguments in commands]
    try:
        for arguments, running in zip(commands, work, strict=True):
            s.awaited = f"wa-relay {arguments[0]} prints"
            code, out, err = await running
            if code:
                raise StepMissed(f"wa-relay {arguments[0]} ended with {code}: {err.strip()}")
            s.screen.command(f"wa-relay {' '.join(arguments)}", out)
    finally:
        for running in work:
            running.cancel()


def _terminal(s: Stage) -> dict[str, str]:
    """The environment in which a command's output looks like the demo's own."""
    paper = s.screen.paper
    coloured = paper.console.color_system is not None and not paper.console.no_color
    colours = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": ""} if coloured else {"NO_COLOR": "1"}
    encoding = "ascii" if paper.ascii else "utf-8"
    return {"COLUMNS": str(paper.console.width), "PYTHONIOENCODING": encoding, "FORCE_COLOR": "", **colours}


async def _call_ended(s: Stage, customer: Customer) -> Entry:
    what = f"the call to {customer.name} ends"
    return await s.from_elevenlabs(what, "recipient", phone=customer.phone, status=customer.outcome)


def _report_end(s: Stage, ended: Entry, customer: Customer) -> None:
    reached = "" if ended.data["conversation_id"] else ", without a conversation"
    s.report(ended, "ElevenLabs", f"The call to {customer.name} is over: {ended.data['status']}{reached}.")


async def _opening(s: Stage, customer: Customer) -> Entry:
    return await s.sent_after(f"the opening to {customer.name} is sent", customer.phone, 0)


def _show_sent(s: Stage, sent: Entry, customer: Customer, text: str) -> None:
    """Shows a message that Twilio took."""
    s.report(sent, "wa-relay", text)
    s.screen.ours(customer.name, str(sent.data["shown"]))


async def _show_read(s: Stage, sent: Entry, customer: Customer) -> None:
    """Shows below a message that it was read."""
    delivered, read = await s.receipts(sent, customer.name)
    s.screen.receipts(f"delivered after {delivered.at - sent.at:.1f} s, read after {read.at - sent.at:.1f} s")


async def _report_turn(s: Stage, customer: Customer, texts: tuple[str, ...]) -> None:
    """Shows what the agent was asked, and that it knew of the phone call."""
    asked = await s.expect(
        f"{AGENT.name} is asked what {customer.name} wrote",
        s.elevenlabs.journal,
        lambda entry: entry.kind == "user_message" and all(text in str(entry.data["text"]) for text in texts),
    )
    summary = await s.knew(asked, customer)
    many = "" if len(texts) == 1 else f" once, with all {len(texts)} messages"
    s.report(asked, "ElevenLabs", f"{AGENT.name} gets the question{many}. Context: “{summary}”")


async def _notice(s: Stage, customer: Customer, body: str, shown: str, media: str | None = None) -> None:
    """Lets a customer write a message that is answered without the agent."""
    await asyncio.sleep(READS)
    before, heard = len(s.twilio.journal.entries()), len(s.elevenlabs.journal.entries("user_message"))
    delivery = await s.twilio.customer_writes(customer.phone, body, media=media)
    inbound = await s.from_twilio(f"{customer.name}'s message reaches Twilio", "inbound", sid=delivery.sid)
    s.report(inbound, "customer", f"{customer.name} writes:" if body else f"{customer.name} speaks:")
    s.screen.theirs(customer.name, shown)
    answer = await s.sent_after(f"{customer.name} is answered", customer.phone, before)
    if len(s.elevenlabs.journal.entries("user_message")) > heard:
        raise StepMissed(f"wa-relay asked {AGENT.name} about a message that needs no agent")
    _show_sent(s, answer, customer, "Replies automatically, without the agent:")


async def _nobody_wrote(s: Stage, customer: Customer) -> None:
    body = await s.until(
        f"wa-relay has recorded the call to {customer.name}",
        lambda: _conversation(s, customer, lambda conversation: bool(conversation["calls"])),
    )
    _, figures = await s.api("GET", "/api/stats")
    if body["messages"] or not figures["skipped"]:
        raise StepMissed(f"wa-relay did not skip {customer.name}")
    reason = ", ".join(figures["skipped"])
    s.report_now("wa-relay", f"Records the call to {customer.name} and sends nothing: {reason}.")


async def _conversation(s: Stage, customer: Customer, holds: Any) -> Any:
    """The customer's thread as the API shows it, None until `holds` is true of it."""
    status, body = await s.api("GET", f"/api/conversations/{customer.phone}")
    return body if status == 200 and holds(body) else None


async def _settled(s: Stage) -> bool:
    _, figures = await s.api("GET", "/api/stats")
    openings = figures["openings"]
    return bool(openings["sent"] == openings["read"] and not openings["queued"])
