"""The configuration that `serve` needs, warnings, and secrets that are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from wa_relay.config import ConfigError, Secret, load, require_serve
from wa_relay.config.checks import sample_values

COMPLETE = {
    "WA_RELAY_SERVER_PUBLIC_URL": "https://relay.example.com",
    "MICROSERVICE_TOKEN": "test-token",
    "TWILIO_ACCOUNT_SID": "ACtest",
    "TWILIO_AUTH_TOKEN": "auth-token",
    "ELEVENLABS_API_KEY": "xi-key",
    "WA_RELAY_TWILIO_SENDER": "whatsapp:+14155238886",
}


# What serve needs


def test_serve_needs_token_account_key_url_and_sender(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, cwd=tmp_path, serving=True)
    assert {fault.key for fault in caught.value.faults} == {
        "server.token",
        "server.public_url",
        "twilio.account_sid",
        "twilio.auth_token",
        "elevenlabs.api_key",
        "twilio.sender",
    }
    assert "MICROSERVICE_TOKEN" in str(caught.value)
    assert require_serve(load(None, COMPLETE, cwd=tmp_path, serving=True)) == []


@pytest.mark.parametrize("left_out", COMPLETE)
def test_each_of_them_alone_stops_serve(tmp_path: Path, left_out: str) -> None:
    config = load(None, {name: text for name, text in COMPLETE.items() if name != left_out}, cwd=tmp_path)
    (fault,) = require_serve(config)
    assert left_out in fault.message


def test_a_messaging_service_stands_for_a_sender(tmp_path: Path) -> None:
    env = {**COMPLETE, "WA_RELAY_TWILIO_MESSAGING_SERVICE_SID": "MG1"}
    del env["WA_RELAY_TWILIO_SENDER"]
    assert require_serve(load(None, env, cwd=tmp_path)) == []


@pytest.mark.parametrize("token", ["changeme", "ChangeMe", "change-me"])
def test_a_placeholder_is_not_a_token(tmp_path: Path, token: str) -> None:
    (fault,) = require_serve(load(None, {**COMPLETE, "MICROSERVICE_TOKEN": token}, cwd=tmp_path))
    assert (fault.key, fault.source) == ("server.token", "environment variable MICROSERVICE_TOKEN")


def test_wrong_and_missing_keys_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            None,
            {**COMPLETE, "TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": "a\nb", "WA_RELAY_X": "1"},
            cwd=tmp_path,
            serving=True,
        )
    assert [fault.key for fault in caught.value.faults] == ["", "twilio.auth_token", "twilio.account_sid"]


# Warnings

ATTENDED = {"WA_RELAY_CONSOLE_ENABLED": "true"}
"""The console is on: an operator sees a customer who asks for one."""


def test_a_file_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.touch()
    path.chmod(0o644)
    (warning,) = load(path, ATTENDED, cwd=tmp_path).warnings
    assert str(warning) == f"{path}: others can read or change it (mode 0644): chmod 600 {path}"
    path.chmod(0o640)
    assert load(path, ATTENDED, cwd=tmp_path).warnings == ()


def test_a_short_token_is_a_warning_that_does_not_show_it(tmp_path: Path) -> None:
    (warning,) = load(None, {**ATTENDED, "MICROSERVICE_TOKEN": "hunter2"}, cwd=tmp_path).warnings
    assert "short (7 characters)" in str(warning)
    assert "hunter2" not in str(warning)
    long = {**ATTENDED, "MICROSERVICE_TOKEN": "tu-token-secreto-compartido"}
    assert load(None, long, cwd=tmp_path).warnings == ()


def test_handovers_that_no_operator_would_notice_are_a_warning(tmp_path: Path) -> None:
    (warning,) = load(None, {}, cwd=tmp_path).warnings
    assert "no operator would know: set console.enabled or alerts.url" in str(warning)
    nobody_can_ask = {"WA_RELAY_HANDOVER_KEYWORDS": "", "WA_RELAY_HANDOVER_TOOL": ""}
    assert load(None, nobody_can_ask, cwd=tmp_path).warnings == ()
    assert load(None, ATTENDED, cwd=tmp_path).warnings == ()


# Secrets


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("0123456789abcdef0123456789abcdef")
    assert f"{secret} {secret!r} {[secret]}" == "**** Secret('****') [Secret('****')]"
    assert secret.hint() == "****cdef (len 32)"
    assert Secret("short").hint() == "**** (len 5)"
    assert (secret == Secret(secret.reveal()), secret == secret.reveal(), bool(Secret())) == (True, False, False)


def test_a_configuration_prints_without_its_secrets(tmp_path: Path) -> None:
    printed = repr(load(None, COMPLETE, cwd=tmp_path))
    assert not any(secret in printed for secret in ("test-token", "auth-token", "xi-key"))


# Sample values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_AUTH_TOKEN", "your-auth-token"),
        ("TWILIO_AUTH_TOKEN", "<auth token>"),
        ("TWILIO_ACCOUNT_SID", "ACxxxxxxxxxxxx"),
        ("MICROSERVICE_TOKEN", "ChangeMe-please"),
        ("WA_RELAY_SERVER_PUBLIC_URL", "https://relay.example.com/twilio"),
    ],
)
def test_a_sample_value_is_found_and_not_shown(tmp_path: Path, name: str, value: str) -> None:
    own = {**COMPLETE, "WA_RELAY_SERVER_PUBLIC_URL": "https://relay.acme.co"}
    (fault,) = sample_values(load(None, {**own, name: value}, cwd=tmp_path))
    assert fault.source == f"environment variable {name}"
    assert value not in str(fault)
    assert not list(sample_values(load(None, own, cwd=tmp_path)))


@pytest.mark.parametrize("value", ["https://relay.myexample.com", "https://example.com.co"])
def test_a_host_that_only_looks_like_a_sample_is_your_own(tmp_path: Path, value: str) -> None:
    assert not list(sample_values(load(None, {"WA_RELAY_SERVER_PUBLIC_URL": value}, cwd=tmp_path)))


def test_a_text_for_customers_may_say_anything(tmp_path: Path) -> None:
    config = load(None, {"WA_RELAY_OPENING_COMPLETED_BODY": "Visita <nuestra web> example.com xxxx"}, cwd=tmp_path)
    assert not list(sample_values(config))


def test_a_preset_without_a_gap_is_a_warning(tmp_path: Path) -> None:
    env = {**ATTENDED, "WA_RELAY_QUIET_HOURS_PRESET": "ley-2300"}
    (warning,) = load(None, env, cwd=tmp_path).warnings
    assert "not its rules on channels and frequency" in str(warning)
    assert load(None, {**env, "WA_RELAY_OPENING_MIN_GAP_HOURS": "24"}, cwd=tmp_path).warnings == ()
