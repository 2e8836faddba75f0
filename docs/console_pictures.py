"""Makes the console's pictures: `python docs/console_pictures.py docs/pictures`.

A daemon between the stand-ins gets calls and webhooks; a Chromium shows the console, step by step.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import Page, expect

from tests.console.browsing import chromium, window
from tests.console.visiting import consoled
from tests.e2e.stage import payload
from tests.server.served import Served, new_key
from wa_relay.standins.twilio import Delays, TwilioStandin

ANA = "+573138539155"
OTHERS = (
    ("Luis Rojas", "+573001112233", "¿Atienden los sábados?"),
    ("Marta Díaz", "+573004445566", "Ya la vi, gracias"),
    ("Jorge Peña", "+573107778899", ""),
    ("Sara Muñoz", "+573152223344", "BAJA"),
    ("Diego Torres", "+573209990011", "Hablar con una persona"),
)


def call(served: Served, name: str, phone: str) -> None:
    """A call to the customer has ended; waits for the opening."""
    report = payload(new_key(), phone, name=name)
    report["batch_name"], report["agent_name"] = "Campaña Octubre", "Valentina"
    served.report(report)
    served.until(lambda: served.twilio.accepted(phone))


def write(served: Served, phone: str, text: str, answers: int = 1) -> None:
    """The customer writes; waits until that many more messages have gone to them."""
    wanted = len(served.twilio.accepted(phone)) + answers
    served.form("/webhook/twilio/incoming", served.inbound(phone, text))
    served.until(lambda: len(served.twilio.accepted(phone)) >= wanted)


def main(folder: Path) -> None:
    """Fills a daemon, and takes the pictures."""
    folder.mkdir(exist_ok=True)
    twilio = TwilioStandin(delays=Delays(0.02, 0.02, 0.02), enforce_window=False)
    with tempfile.TemporaryDirectory() as place, consoled(Path(place), twilio=twilio) as served, chromium() as browser:
        for name, phone, text in OTHERS:
            call(served, name, phone)
            if text:
                write(served, phone, text)
        call(served, "Ana García", ANA)
        write(served, ANA, "Hola! Sí, me interesa el plan")
        with window(browser, served, viewport={"width": 1280, "height": 800}) as one:
            one.log_in("oscar")
            play(served, one.page, folder)
        for path, name in (("campaigns", "campaigns"), ("system", "system")):
            with window(browser, served, viewport={"width": 1280, "height": 800}, color_scheme="dark") as one:
                one.log_in("ada")
                one.open(f"/console/{path}")
                one.page.screenshot(path=folder / f"{name}.png")


def play(served: Served, page: Page, folder: Path) -> None:
    """Inbox, conversation, takeover, answer, read by the customer, given back; the agent continues and knows it."""

    def take(name: str) -> None:
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{name}.png")

    take("inbox")
    page.locator("[data-conversation]", has_text="Ana García").click()
    page.locator('[data-action="takeover"]').click()
    expect(page.locator('[data-action="release"]')).to_be_visible()
    write(served, ANA, "¿Me pueden hacer un descuento? Somos tres en la casa", 0)
    expect(page.locator("#messages")).to_contain_text("descuento")
    page.locator('textarea[name="text"]').press_sequentially(
        "Claro que sí, Ana. Por tres líneas te queda en *$79.900* cada una."
    )
    take("typing")
    page.locator('[data-action="send"]').click()
    sent = page.locator("[data-message]", has_text="79.900")
    expect(sent).to_have_attribute("data-status", "read")
    take("thread")
    page.locator('[data-action="release"]').click()
    expect(page.locator('[data-action="takeover"]')).to_be_visible()
    write(served, ANA, "¡Listo! ¿Y cuándo instalan?")
    expect(page.locator("#messages")).to_contain_text("instalan")
    expect(page.locator(".kind-reply").last).to_be_visible()
    take("given-back")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
