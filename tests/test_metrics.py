"""The metrics: those of the document, each value of a label from the start, counted when something happens."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.stage import payload
from tests.server.served import Served, new_key, new_phone, serving
from wa_relay import metrics
from wa_relay.server.openapi import description

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"
LABELS: dict[str, set[tuple[str, ...]]] = {
    "wa_relay_paused": {(by,) for by in ("operator", "burst", "account")},
    "wa_relay_sends_total": {
        (kind, result)
        for kind in ("opening", "reply", "notice", "human")
        for result in ("accepted", "refused", "failed", "uncertain")
    },
    "wa_relay_turns_total": {(result,) for result in ("answered", "failed", "silent")},
    "wa_relay_calls_total": {
        (source, outcome)
        for source in ("push", "poll", "webhook")
        for outcome in ("completed", "voicemail", "failed", "cancelled", "unusable_number")
    },
    "wa_relay_receipts_total": {(s,) for s in ("queued", "sent", "delivered", "read", "failed", "undelivered")},
}
"""The names in the outside contract."""


NONE: frozenset[str] = frozenset()


def _of(*values: str) -> frozenset[str]:
    return frozenset(values)


def _samples(text: str) -> dict[str, dict[frozenset[str], float]]:
    found: dict[str, dict[frozenset[str], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.values())] = sample.value
    return found


def _asked(served: Served) -> dict[str, dict[frozenset[str], float]]:
    answer = served.call("GET", "/metrics", token=None)
    assert answer.headers["Content-Type"].startswith("text/plain")
    return _samples(answer.text)


def test_the_document_lists_exactly_the_metrics() -> None:
    listed = re.findall(r"^\| `(wa_relay_\w+)` \| (\w+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    families = text_string_to_metric_families(metrics.exposition().decode())
    own = {family.name: family.type for family in families if family.name.startswith("wa_relay_")}
    assert {name + "_total" * (kind == "counter"): kind for name, kind in own.items()} == dict(listed)


def test_every_label_value_is_there_from_the_start_and_nothing_of_a_person(tmp_path: Path) -> None:
    with serving(tmp_path) as one:
        found = _asked(one)
        for name, values in LABELS.items():
            assert set(found[name]) == {frozenset(value) for value in values}, name
            assert not any(found[name].values()), name
        assert found["wa_relay_up"] == {NONE: 1.0}
        assert found["process_resident_memory_bytes"][NONE] > 0
        for path, item in description()["paths"].items():
            if path.startswith("/webhook/"):
                codes = set(item["post"]["responses"])
                assert {frozenset((path, code)) for code in codes} <= set(found["wa_relay_webhooks_total"])
                assert found["wa_relay_webhook_seconds_count"][frozenset((path,))] == 0


def test_events_are_counted(tmp_path: Path) -> None:
    with serving(tmp_path) as one:
        phone = new_phone()
        report = payload(new_key(), phone)
        assert one.report(report).status == 200
        assert one.report(report).json["duplicate"]
        form = one.inbound(phone)
        assert one.form("/webhook/twilio/incoming", form).status == 200
        assert one.form("/webhook/twilio/incoming", form, signature="A" * 27 + "=").status == 403
        one.until(lambda: _asked(one)["wa_relay_receipts_total"][_of("read")] >= 2)
        found = _asked(one)
        assert found["wa_relay_calls_total"][_of("push", "completed")] == 1
        assert found["wa_relay_sends_total"][_of("opening", "accepted")] == 1
        assert found["wa_relay_sends_total"][_of("reply", "accepted")] == 1
        assert found["wa_relay_turns_total"][_of("answered")] == 1
        assert found["wa_relay_webhooks_total"][_of("/webhook/twilio/incoming", "200")] == 1
        assert found["wa_relay_webhooks_total"][_of("/webhook/twilio/incoming", "403")] == 1
        assert found["wa_relay_webhook_seconds_count"][_of("/webhook/twilio/incoming")] == 2
        for name in ("commit", "turn", "send"):
            assert found[f"wa_relay_{name}_seconds_count"][NONE] > 0
