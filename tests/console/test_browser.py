"""The console in a real Chromium: a person logs in, sees what happens, takes over, answers and gives back."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Dialog, expect

from tests.console.browsing import Window, chromium, window
from tests.console.visiting import consoled
from tests.server.served import Served, new_phone
from tests.stopwatch import Stopwatch
from wa_relay.standins.twilio import Delays, Template, TwilioStandin

TEMPLATE = Template(
    "HX" + "ab" * 16, "Hola {{1}}, ¿seguimos con {{2}}?", {"1": "Ana", "2": "el plan"}, name="seguimiento"
)
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}'\"--></title>\u202eevil\u0000"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    twilio = TwilioStandin(delays=Delays(0.02, 0.02, 0.02), enforce_window=False, templates=(TEMPLATE,))
    with consoled(tmp_path_factory.mktemp("browser"), twilio=twilio) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def oscar(browser: Browser, served: Served) -> Iterator[Window]:
    with window(browser, served) as one:
        one.log_in("oscar")
        yield one


def met(served: Served, name: str = "Ana García", *texts: str) -> tuple[str, int]:
    """A customer who was called, got the opening and has written; the number, and that of the conversation."""
    phone = new_phone()
    served.opened(phone, name)
    for text in texts:
        answers = len(served.twilio.accepted(phone)) + 1
        served.form("/webhook/twilio/incoming", served.inbound(phone, text))
        served.until(functools.partial(_has, served, phone, answers))
    return phone, int(served.conversation(phone)["conversation_id"].removeprefix("conv_local_"))


def _has(served: Served, phone: str, count: int) -> bool:
    return len(served.twilio.accepted(phone)) >= count


def writes(served: Served, phone: str, text: str) -> None:
    """The customer writes, and the webhook is answered."""
    assert served.form("/webhook/twilio/incoming", served.inbound(phone, text)).status == 200


def row(number: int) -> str:
    return f'[data-conversation="{number}"]'


def test_a_customers_message_appears_in_the_inbox_within_a_second(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Eva Soto")
    served.call("POST", f"/api/conversations/{phone}/takeover", json={})
    oscar.open("/console/")
    oscar.page.wait_for_selector(row(number))
    writes(served, phone, "¿Me llaman mañana?")
    watch = Stopwatch()
    expect(oscar.page.locator(row(number))).to_contain_text("¿Me llaman mañana?")
    assert watch.seconds < 1.0
    expect(oscar.page.locator(f'{row(number)} [data-unread="1"]')).to_be_visible()
    assert oscar.page.locator("[data-conversation]").first.get_attribute("data-conversation") == str(number)


def test_a_conversation_is_taken_answered_read_and_given_back(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Luis Rojas", "Hola, tengo una duda")
    page = oscar.page
    page.locator(row(number)).click()
    page.locator('[data-action="takeover"]').click()
    expect(page.locator('[data-action="release"]')).to_be_visible()
    writes(served, phone, "¿Atienden los sábados?")
    expect(page.locator("#messages")).to_contain_text("¿Atienden los sábados?")
    page.locator('textarea[name="text"]').fill("Sí, de 8 a 12. *Te espero* <b>aquí</b>.")
    page.locator('[data-action="send"]').click()
    bubble = page.locator("[data-message]", has_text="de 8 a 12")
    expect(bubble).to_have_attribute("data-status", "read")
    expect(bubble).to_contain_text("oscar")
    assert served.twilio.accepted(phone)[-1].body == "Sí, de 8 a 12. *Te espero* <b>aquí</b>."
    expect(page.locator('textarea[name="text"]')).to_have_value("")
    before = len(served.twilio.accepted(phone))
    page.locator('[data-action="release"]').click()
    expect(page.locator('[data-action="takeover"]')).to_be_visible()
    writes(served, phone, "¿Y los domingos?")
    served.until(lambda: len(served.twilio.accepted(phone)) > before)
    contexts = [str(entry.data["text"]) for entry in served.elevenlabs.journal.entries("context")]
    assert any("de 8 a 12" in text for text in contexts), "the agent knows what the person wrote"


def test_typed_text_stays_while_the_page_changes(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Marta Díaz", "Hola")
    served.call("POST", f"/api/conversations/{phone}/takeover", json={})
    oscar.open(f"/console/conversations/{number}")
    area = oscar.page.locator('textarea[name="text"]')
    area.press_sequentially("Te cuento que ")
    for count in range(3):
        writes(served, phone, f"mensaje {count}")
        expect(oscar.page.locator("#messages")).to_contain_text(f"mensaje {count}")
        area.press_sequentially(f"parte {count} ")
    expect(area).to_have_value("Te cuento que parte 0 parte 1 parte 2 ")
    expect(area).to_be_focused()
    oscar.page.reload()
    expect(oscar.page.locator('textarea[name="text"]')).to_have_value("Te cuento que parte 0 parte 1 parte 2 ")


def test_an_impatient_person_sends_once(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Jorge Peña", "Hola")
    oscar.open(f"/console/conversations/{number}")
    oscar.page.locator('textarea[name="text"]').fill("Una sola vez")
    oscar.page.evaluate("for (let i = 0; i < 4; i++) document.querySelector('[data-action=send]').click()")
    expect(oscar.page.locator("[data-message]", has_text="Una sola vez")).to_have_attribute("data-status", "read")
    assert [sent.body for sent in served.twilio.accepted(phone)].count("Una sola vez") == 1


def test_a_message_that_is_tried_again_after_a_lost_answer_goes_out_once(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Sara Muñoz", "Hola")
    page = oscar.page
    page.goto(f"{oscar.url}/console/conversations/{number}")
    lost = []

    def lose(route: object) -> None:
        lost.append(route.fetch())  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    page.route("**/messages", lose, times=1)
    page.locator('textarea[name="text"]').fill("¿Llegó?")
    page.locator('[data-action="send"]').click()
    expect(page.locator("#toast")).not_to_be_empty()
    assert [answer.status for answer in lost] == [200]
    page.locator('[data-action="send"]').click()
    expect(page.locator('textarea[name="text"]')).to_have_value("")
    assert [sent.body for sent in served.twilio.accepted(phone)].count("¿Llegó?") == 1
    oscar.faults[:] = [fault for fault in oscar.faults if "ERR_FAILED" not in fault]


def test_taking_over_from_a_colleague_asks_first(oscar: Window, browser: Browser, served: Served) -> None:
    _, number = met(served, "Diego Torres", "Hola")
    with window(browser, served) as ada:
        ada.log_in("ada")
        ada.open(f"/console/conversations/{number}")
        ada.page.locator('[data-action="takeover"]').click()
        expect(ada.page.locator('[data-action="release"]')).to_be_visible()
    oscar.open(f"/console/conversations/{number}")
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        if len(asked) == 1:
            dialog.dismiss()
        else:
            dialog.accept()

    oscar.page.on("dialog", answer)
    button = oscar.page.locator('[data-action="takeover"]')
    button.click()
    expect(button).to_be_enabled()
    expect(oscar.page.locator("#handling")).to_have_attribute("data-handler-by", "ada")
    button.click()
    expect(oscar.page.locator("#handling")).to_have_attribute("data-handler-by", "oscar")
    assert all("ada" in message for message in asked)


def test_when_the_window_is_closed_an_approved_template_can_be_sent(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Rosa Gil")
    oscar.open(f"/console/conversations/{number}")
    page = oscar.page
    expect(page.locator('[data-window="closed"]')).to_be_visible()
    page.locator('select[name="content_sid"]').select_option(TEMPLATE.sid)
    expect(page.locator('input[name="var.1"]')).to_have_value("Rosa Gil")
    page.locator('input[name="var.2"]').fill("la visita")
    expect(page.locator(".template-text")).to_have_text("Hola Rosa Gil, ¿seguimos con la visita?")
    page.locator('[data-action="send"]').click()
    served.until(lambda: len(served.twilio.accepted(phone)) == 2)
    expect(page.locator("[data-message]")).to_have_count(2)


def test_the_composer_opens_when_the_customer_writes(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Pedro Paz")
    oscar.open(f"/console/conversations/{number}")
    expect(oscar.page.locator('[data-window="closed"]')).to_be_visible()
    writes(served, phone, "Buenas")
    expect(oscar.page.locator('[data-window="open"] textarea[name="text"]')).to_be_visible()


def test_names_and_texts_are_only_text(oscar: Window, served: Served) -> None:
    phone, number = met(served, HOSTILE.replace("\u0000", ""), HOSTILE.replace("\u0000", ""))
    for path in ("/console/", f"/console/conversations/{number}", "/console/campaigns", "/console/?q=%3Cscript%3E"):
        oscar.open(path)
        assert oscar.page.locator("img[src='x'], main script").count() == 0
        assert "\u202e" not in oscar.page.content()
    oscar.open(f"/console/conversations/{number}")
    expect(oscar.page.locator("#messages")).to_contain_text("<script>alert(2)</script>{{7*7}}")
    del phone


def test_a_viewer_sees_no_buttons_that_change_anything(browser: Browser, served: Served) -> None:
    phone, number = met(served, "Ana García", "Hola")
    served.call("POST", f"/api/conversations/{phone}/takeover", json={})
    writes(served, phone, "¿Sigues ahí?")
    with window(browser, served) as vera:
        vera.log_in("vera")
        vera.open(f"/console/conversations/{number}")
        expect(vera.page.locator("#messages")).to_contain_text("¿Sigues ahí?")
        assert vera.page.locator("[data-action]").count() == 0
        vera.open("/console/system")
        assert vera.page.locator("[data-action]").count() == 0
    assert served.call("GET", "/api/conversations?limit=500").json["conversations"][0]["unread"] == 1


def test_a_page_is_printed_light_and_without_buttons_also_in_dark_mode(browser: Browser, served: Served) -> None:
    _, number = met(served, "Rosa Vega", "Hola")
    with window(browser, served, color_scheme="dark") as one:
        one.log_in("ada")
        one.page.emulate_media(media="print", color_scheme="dark")
        one.open(f"/console/conversations/{number}")
        shown = "getComputedStyle(document.body).backgroundColor"
        assert one.page.evaluate(shown) == "rgb(243, 245, 243)"
        assert not one.page.locator("[data-action]").first.is_visible()


def test_a_session_that_is_ended_elsewhere_leads_to_the_login(oscar: Window, served: Served) -> None:
    _, number = met(served, "Ana García", "Hola")
    oscar.open(f"/console/conversations/{number}")
    oscar.page.context.clear_cookies()
    # It leaves the page, so nobody may wait there for its end.
    oscar.page.evaluate("void refresh()")
    oscar.page.wait_for_url(f"{oscar.url}/console/login**")
    # The browser itself reports the refused refresh, if it comes to it before it leaves the page.
    oscar.faults[:] = [fault for fault in oscar.faults if "401" not in fault]


def test_the_language_is_the_users_own(browser: Browser, served: Served) -> None:
    with window(browser, served) as one:
        one.log_in("ada")
        one.page.locator('header [data-lang="en"]').click()
        expect(one.page.locator("html")).to_have_attribute("lang", "en")
        expect(one.page.get_by_role("link", name="Campaigns")).to_be_visible()
        one.page.locator('header [data-lang="es"]').click()
        expect(one.page.locator("html")).to_have_attribute("lang", "es")


def test_the_inbox_and_a_thread_are_usable_by_keyboard(oscar: Window, served: Served) -> None:
    phone, number = met(served, "Teresa Lima", "Hola")
    oscar.open("/console/")
    oscar.page.locator(row(number)).focus()
    oscar.page.keyboard.press("Enter")
    oscar.page.wait_for_url(f"**/console/conversations/{number}")
    oscar.page.locator('textarea[name="text"]').focus()
    oscar.page.keyboard.type("Hola, Teresa")
    oscar.page.keyboard.press("Enter")
    expect(oscar.page.locator("[data-message]", has_text="Hola, Teresa")).to_be_visible()
    served.until(lambda: served.twilio.accepted(phone)[-1].body == "Hola, Teresa")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_window(
    browser: Browser, served: Served, width: int, scheme: str
) -> None:
    _, number = met(served, "Un nombre larguísimo " * 6, "supercalifragilistico" * 20)
    with window(browser, served, viewport={"width": width, "height": 844}, color_scheme=scheme) as one:
        one.open("/console/login")
        assert one.axe() == []
        one.log_in("ada")
        pages = (
            "",
            f"conversations/{number}",
            "campaigns",
            "campaigns?by=day",
            "system",
            "users",
            "nothing-here",
            "?q=zzz",
        )
        for path in pages:
            one.open(f"/console/{path}")
            assert one.axe() == [], path
            inner, outer = one.widest()
            assert inner <= outer, path
        one.faults[:] = [fault for fault in one.faults if "404" not in fault]
