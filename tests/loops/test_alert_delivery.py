"""The signature of an alert, checked by the stand-in's own code and by the specification's example."""

from __future__ import annotations

import base64

from wa_relay.loops.alert_delivery import receiver_of, signed_headers
from wa_relay.standins.receiver.signing import fault_of

NOW = 1_795_000_000.7


def test_the_headers_are_those_that_standard_webhooks_wants() -> None:
    secret, body = "whsec_" + base64.b64encode(b"k" * 64).decode(), '{"type": "ñ"}'.encode()
    headers = signed_headers(receiver_of("http://127.0.0.1/", secret).key, "msg_1", body, NOW)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1795000000")
    assert fault_of(secret, headers, body, NOW) == ""


def test_the_signature_is_that_of_the_specifications_example() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    key = receiver_of("https://hooks.example/", secret).key
    headers = signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", body, 1614265330.0)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_key_of_a_receiver_is_not_shown() -> None:
    assert "key" not in repr(receiver_of("https://hooks.example/", "whsec_" + base64.b64encode(b"k" * 32).decode()))
