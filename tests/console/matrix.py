"""Pictures of every page to look at: `python -m tests.console.matrix FOLDER [--people 20000]`.

Three widths, light and dark, Spanish and English, with 0, 3 and many conversations, and on paper. The customers' names
and texts are hostile. Nothing is compared: a person looks.
"""

from __future__ import annotations

import argparse
import functools
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.big_ledger import make
from tests.console.browsing import chromium, window
from tests.console.visiting import consoled
from tests.e2e.stage import payload
from tests.server.served import Served, new_key
from wa_relay.standins.twilio import Delays, TwilioStandin

WIDTHS = {390: 844, 768: 1024, 1440: 900}
PAGES = {
    "inbox": "",
    "thread": "conversations/{id}",
    "campaigns": "campaigns",
    "days": "campaigns?by=day",
    "system": "system",
    "users": "users",
}
HOSTILE = (
    (
        "<b>Ana</b> & García \u202eotlas",
        "+573138539155",
        "<script>alert(1)</script> *¡Hola!* https://ejemplo.co/planes",
    ),
    ("Un nombre larguísimo " * 5, "+573001112233", "supercalifragilistico" * 12),
    ("Ωμέγα 漢字 👩‍👩‍👧", "+573004445566", "línea uno\nlínea dos\n\n👍🏽"),
)


def play(served: Served, count: int) -> None:
    """Calls the customers, who write."""
    for name, phone, text in HOSTILE[:count]:
        served.report(payload(new_key(), phone, name=name))
        served.until(functools.partial(has_got, served, phone, 1))
        served.form("/webhook/twilio/incoming", served.inbound(phone, text))
        served.until(functools.partial(has_got, served, phone, 2))


def has_got(served: Served, phone: str, messages: int) -> bool:
    """True once Twilio has taken that many messages for the customer."""
    return len(served.twilio.accepted(phone)) >= messages


@contextmanager
def filled(people: int) -> Iterator[Served]:
    """A daemon with `people` conversations; if there are any, three of the customers are hostile."""
    twilio = TwilioStandin(delays=Delays(0.02, 0.02, 0.02), enforce_window=False)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if people > len(HOSTILE):
            big = place / "wa-relay.db"
            make(big, people)
            with closing(sqlite3.connect(big)) as db, db:
                db.execute("update relay set account_sid = ?", (twilio.account_sid,))
        with consoled(place, twilio=twilio) as served:
            play(served, min(people, len(HOSTILE)))
            yield served


def shoot(browser: Browser, served: Served, folder: Path, name: str) -> None:
    """Takes every page in every form."""
    number = newest(served)
    for width, height in WIDTHS.items():
        for scheme in ("light", "dark"):
            view = {"width": width, "height": height}
            with window(browser, served, viewport=view, color_scheme=scheme, locale="es-CO") as one:
                if not number:
                    one.open("/console/login")
                    one.page.screenshot(path=folder / f"{name}-login-{width}-{scheme}.png")
                one.log_in("ada")
                for language in ("es", "en"):
                    speak(one.page, one.url, language)
                    for page, path in PAGES.items():
                        if "{id}" in path and not number:
                            continue
                        one.open("/console/" + path.format(id=number))
                        one.page.wait_for_timeout(150)
                        one.page.screenshot(path=folder / f"{name}-{page}-{width}-{scheme}-{language}.png")
                        if width == 1440 and scheme == "dark" and language == "es":
                            one.page.pdf(path=folder / f"{name}-{page}-print.pdf", format="A4", print_background=True)
                one.faults.clear()


def speak(page: Page, url: str, language: str) -> None:
    """Changes the user's language by the switch of the page."""
    page.goto(f"{url}/console/")
    switch = page.locator(f'[data-lang="{language}"]').first
    if switch.get_attribute("aria-pressed") != "true":
        switch.click()
        page.wait_for_load_state()


def newest(served: Served) -> str:
    """The number of the conversation that was active last; empty without one."""
    found = served.call("GET", "/api/conversations?limit=1").json["conversations"]
    return found[0]["conversation_id"].removeprefix("conv_local_") if found else ""


def main() -> None:
    """Fills three daemons, and takes their pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.matrix", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=20_000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name, people in (("0", 0), ("3", 3), ("many", given.people)):
            with filled(people) as served:
                shoot(browser, served, given.folder, name)


if __name__ == "__main__":
    main()
