"""Forgetting a customer in the console: an admin may, it is logged with the number masked, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.console.visiting import Visitor
from tests.server.served import Served, new_phone
from wa_relay.phone import mask

Make = Callable[..., Visitor]


def test_an_admin_forgets_a_customer_and_the_log_keeps_the_number_masked(served: Served, visitor: Make) -> None:
    phone = new_phone()
    served.opened(phone, "Olvidada Pérez")
    served.until(lambda: served.conversation(phone)["messages"][0]["status"] == "read")
    number = served.conversation(phone)["conversation_id"].removeprefix("conv_local_")
    oscar, ada = visitor("oscar"), visitor("ada")
    assert oscar.post(f"/api/conversations/{phone}/takeover").status_code == 200
    path = f"/console/conversations/{number}/forget"
    assert oscar.post(path).status_code == 403
    assert ada.http.post(path, json={}).status_code == 403
    assert served.conversation(phone)["client_name"] == "Olvidada Pérez"
    assert ada.post(path).status_code == 200
    assert served.call("GET", f"/api/conversations/{phone}").status == 404
    assert "Olvidada" not in ada.get("/console/").text
    code, out, _ = served.run(served.relay.command("console", "log", "--json"), 60)
    assert code == 0
    lines = [(line["user"], line["action"], line["phone_number"]) for line in json.loads(out)]
    assert lines[-2:] == [("oscar", "takeover", mask(phone)), ("ada", "forget", mask(phone))]
    assert phone not in out


def test_an_admin_exports_a_customer_and_it_is_logged(served: Served, visitor: Make) -> None:
    phone = new_phone()
    served.opened(phone, "Exportada Pérez")
    number = served.conversation(phone)["conversation_id"].removeprefix("conv_local_")
    path = f"/console/conversations/{number}/export"
    assert visitor("oscar").get(path).status_code == 403
    answer = visitor("ada").get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.json()["thread"]["client_name"] == "Exportada Pérez"
    code, out, _ = served.run(served.relay.command("console", "log", "--json"), 60)
    assert code == 0
    assert [(line["user"], line["action"], line["phone_number"]) for line in json.loads(out)][-1] == (
        "ada",
        "export",
        phone,
    )
