"""`wa-relay config`: what is wrong, what is in force, which file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.whole import run

TOKEN = "a-token-that-nobody-may-see"
COMPLETE = {
    "WA_RELAY_CONSOLE_ENABLED": "true",
    "WA_RELAY_SERVER_PUBLIC_URL": "https://relay.acme.co",
    "MICROSERVICE_TOKEN": TOKEN,
    "TWILIO_ACCOUNT_SID": "ACtest",
    "TWILIO_AUTH_TOKEN": "auth-token",
    "ELEVENLABS_API_KEY": "xi-key",
    "WA_RELAY_TWILIO_SENDER": "whatsapp:+14155238886",
}


def test_check_lists_all_faults_and_what_serve_needs(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[server]\ntokn = "{TOKEN}"\nport = -1\n', encoding="utf-8")
    code, out, _ = run(tmp_path, "config", "check", **{**COMPLETE, "TWILIO_AUTH_TOKEN": ""})
    assert code == 78
    assert [line.split(": ")[1] for line in out.splitlines()] == ["server.tokn", "server.port", "twilio.auth_token"]
    assert TOKEN not in out
    code, out, _ = run(tmp_path, "config", "check", "--json", **COMPLETE)
    assert (code, [each["nearest"] for each in json.loads(out)]) == (78, ["server.token", None])


def test_check_of_a_complete_configuration_exits_with_0(tmp_path: Path) -> None:
    assert run(tmp_path, "config", "check", **COMPLETE) == (0, "the environment has all that serve needs\n", "")
    assert run(tmp_path, "config", "check", "--json", **COMPLETE) == (0, "[]\n", "")


def test_check_warns_of_sample_values(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "config", "check", **{**COMPLETE, "TWILIO_ACCOUNT_SID": "ACxxxxxxxx"})
    assert (code, err) == (
        0,
        "warning: environment variable TWILIO_ACCOUNT_SID: twilio.account_sid: is a sample value: "
        "replace it with your own\n",
    )


def test_show_lists_every_key_and_masks_secrets(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "config", "show", **COMPLETE)
    assert (code, err) == (0, "")
    assert 'server.token = "***"  # MICROSERVICE_TOKEN' in out.splitlines()
    assert 'general.timezone = "America/Bogota"  # default' in out.splitlines()
    assert not any(secret in out for secret in (TOKEN, "auth-token", "xi-key"))
    code, out, err = run(tmp_path, "config", "show", "--json", **COMPLETE)
    entry = next(each for each in json.loads(out) if each["key"] == "server.token")
    assert entry == {"key": "server.token", "value": "***", "source": "env", "where": "MICROSERVICE_TOKEN"}


def test_show_lists_an_unknown_key_without_its_value_and_exits_with_78(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[server]\ntokn = "{TOKEN}"\n', encoding="utf-8")
    code, out, err = run(tmp_path, "config", "show", "--json")
    assert code == 78
    assert json.loads(out)[-1]["key"] == "server.tokn"
    assert TOKEN not in out + err
    assert "did you mean server.token?" in err


def test_path_prints_the_file_in_use(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "config", "path")
    assert (code, out) == (78, "")
    assert "there is no file" in err
    assert run(tmp_path, "--config", "mine.toml", "config", "path")[0] == 78
    (tmp_path / "mine.toml").touch()
    assert run(tmp_path, "--config", "mine.toml", "config", "path") == (0, f"{tmp_path}/mine.toml\n", "")
