"""The layers of the configuration: where the file is found, the defaults, and which source takes precedence."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from wa_relay.config import (
    KEYS,
    OUTCOMES,
    Config,
    ConfigError,
    OpeningMessage,
    Secret,
    SenderNumber,
    discover,
    example_text,
    load,
    require_serve,
)
from wa_relay.config.schema import CompletedMessage, Tables
from wa_relay.model import FINAL_OUTCOMES

ALERT_SECRET = "whsec_" + "MDEy" * 8
ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def from_toml(folder: Path, text: str, **env: str) -> Config:
    return load(written(folder, text), env, cwd=folder)


def errors(folder: Path, text: str = "", **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_toml(folder, text, **env)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return str(caught.value).splitlines()


def dotted(table: dict[str, Any], prefix: str = "") -> set[str]:
    names: set[str] = set()
    for name, value in table.items():
        key = prefix + name
        names |= {key} if key in KEYS or not isinstance(value, dict) else dotted(value, key + ".")
    return names


# The example and the defaults


def test_the_example_loads_and_equals_the_defaults(tmp_path: Path) -> None:
    example = from_toml(tmp_path, example_text())
    defaults = load(None, {}, cwd=tmp_path)
    for section in Config.model_fields:
        if section not in ("path", "origins", "warnings"):
            assert getattr(example, section) == getattr(defaults, section), section


def test_the_example_shows_every_key_and_no_other() -> None:
    shown = dotted(tomllib.loads(re.sub(r"^#(?=\S)", "", example_text(), flags=re.MULTILINE)))
    same = {name.replace("voicemail", other) for name in shown for other in ("failed", "cancelled")}
    assert shown | same == set(KEYS)


def test_the_example_at_the_root_is_the_one_in_the_package() -> None:
    assert (ROOT / "config.example.toml").read_text(encoding="utf-8") == example_text()


def test_the_defaults_are_those_that_are_documented(tmp_path: Path) -> None:
    config = load(None, {}, cwd=tmp_path)
    assert (config.server.host, config.server.port, config.server.public_url) == ("127.0.0.1", 3001, "")
    assert (config.poll.interval_seconds, config.poll.max_call_age_hours, config.poll.push_grace_seconds) == (
        15,
        24,
        20,
    )
    assert (config.reply.debounce_seconds, config.reply.max_length) == (2, 1500)
    assert (config.elevenlabs.transport, config.elevenlabs.turn_timeout_seconds) == ("websocket", 45)
    assert (config.opening.burst_limit, config.opening.min_gap_hours, config.twilio.messages_per_second) == (200, 0, 80)
    assert config.timezone == ZoneInfo("America/Bogota")
    assert config.twilio.verify_signature is True
    assert (config.quiet_hours.start, config.log.file, config.log.personal_data) == (None, None, False)
    assert config.opt_out.return_keywords == ("ALTA", "START")
    assert config.time_divisor == 1.0


def test_the_outcomes_are_those_that_are_final() -> None:
    assert set(OUTCOMES) == FINAL_OUTCOMES


def test_loading_settings_imports_nothing_heavy() -> None:
    """Every command loads them, so that the slow libraries stay out."""
    code = (
        "import sys, pathlib; from wa_relay.config import load; load(None, {}, cwd=pathlib.Path('/tmp'));"
        "slow = ('pydantic_settings', 'httpx', 'aiohttp', 'asyncio', 'difflib', 'phonenumbers', 'holidays');"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30, cwd=ROOT
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# Where it is found


def test_files_are_looked_for_in_order(tmp_path: Path) -> None:
    cwd, xdg, system = tmp_path / "cwd", tmp_path / "xdg", tmp_path / "etc.toml"
    (xdg / "wa-relay").mkdir(parents=True)
    cwd.mkdir()
    env = {"XDG_CONFIG_HOME": str(xdg)}
    assert discover(None, env, cwd, system_file=system) is None
    for path in (system, xdg / "wa-relay" / "config.toml", cwd / "config.toml"):
        path.write_text("")
        assert discover(None, env, cwd, system_file=system) == path
    env["WA_RELAY_CONFIG"] = "named.toml"
    assert discover(None, env, cwd, system_file=system) == cwd / "named.toml"
    assert discover(Path("/elsewhere.toml"), env, cwd, system_file=system) == Path("/elsewhere.toml")


def test_the_user_file_is_below_home_when_xdg_is_not_set(tmp_path: Path) -> None:
    path = tmp_path / ".config" / "wa-relay" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert discover(None, {"HOME": str(tmp_path)}, tmp_path, system_file=tmp_path / "none") == path


def test_a_usual_place_that_may_not_be_looked_at_is_passed_over(tmp_path: Path) -> None:
    # A name that is too long is refused as a folder without permission is, also to root.
    system = tmp_path / "system.toml"
    system.write_text("")
    assert discover(None, {"XDG_CONFIG_HOME": "x" * 300}, tmp_path, system_file=system) == system


def test_a_missing_file_is_a_fault_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file"):
        load(tmp_path / "nowhere.toml", {}, cwd=tmp_path)


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path, {}, cwd=tmp_path)


# Paths


def test_the_database_is_relative_to_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    path = written(tmp_path / "etc", '[database]\npath = "data/relay.db"\n[log]\nfile = "relay.log"')
    config = load(path, {}, cwd=tmp_path)
    assert config.database.path == tmp_path / "etc/data/relay.db"
    assert config.log.file == tmp_path / "etc/relay.log"
    assert config.path == path
    relative = load(Path("etc/config.toml"), {"WA_RELAY_DATABASE_PATH": "x.db"}, cwd=tmp_path)
    assert relative.database.path == tmp_path / "etc/x.db"


def test_without_a_file_the_database_is_in_the_working_folder(tmp_path: Path) -> None:
    assert load(None, {}, cwd=tmp_path).database.path == tmp_path / "wa-relay.db"
    assert load(None, {"WA_RELAY_DATABASE_PATH": "/var/x.db"}, cwd=tmp_path).database.path == Path("/var/x.db")


# Precedence


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[server]\nport = 1\nhost = '::1'\n[poll]\nenabled = false")
    env = {"WA_RELAY_SERVER_PORT": "2", "WA_RELAY_SERVER_HOST": "0.0.0.0"}
    config = load(path, env, {"server.port": "3"}, cwd=tmp_path)
    assert (config.server.port, config.server.host, config.poll.enabled) == (3, "0.0.0.0", False)
    assert config.origin("server.port") == "command line"
    assert config.origin("server.host") == "environment variable WA_RELAY_SERVER_HOST"
    assert config.origin("poll.enabled") == str(path)


def test_every_key_can_be_set_by_the_environment(tmp_path: Path) -> None:
    texts = {
        "general.timezone": "UTC",
        "server.host": "localhost",
        "opt_out.return_keywords": "back",
        "server.public_url": "http://localhost:8080/relay/",
        "twilio.base_url": "http://127.0.0.1:9",
        "elevenlabs.base_url": "http://127.0.0.1:9",
        "twilio.sender": "+14155238886",
        "twilio.account_sid": "AC1",
        "twilio.messaging_service_sid": "MG1",
        "elevenlabs.transport": "http",
        "reply.unknown_sender": "agent",
        "quiet_hours.start": "21:00",
        "quiet_hours.end": "8:00",
        "log.level": "debug",
        "log.format": "json",
        "twilio.verify_signature": "no",
        "poll.enabled": "FALSE",
        "log.personal_data": "1",
        "reply.max_length": "20",
        "general.language": "en",
        "server.push_token": "another",
        "server.trusted_proxies": "10.0.0.0/8, ::1",
        "database.url": "postgresql://relay@db.internal/relay",
        "sender": '[{"number": "+573000000001", "agent_ids": ["agent_1"]}]',
        "reply.typing": "off",
        "reply.ask_again": "1",
        "opt_out.phrases": "no",
        "quiet_hours.preset": "ley-2300",
        "quiet_hours.days": '{"sun": ""}',
        "quiet_hours.holidays": "co",
        "quiet_hours.zone": "number",
        "media.voice_notes": "notice",
        "media.files": "notice",
        "media.language": "en",
        "handover.on_failure": "yes",
        "handover.return_after_hours": "11",
        "handover.keywords": "person",
        "alerts.url": "https://ops.example.com/alerts",
        "alerts.secret": ALERT_SECRET,
        "alerts.events": "send.uncertain,disk.low",
        "console.enabled": "true",
        "console.session_hours": "8",
    }
    types = {str: "HX1", Secret: "s3cret", tuple: "ab, cd", Mapping: "{}", dict: '{"1": "x"}'}
    env = {}
    for name, key in KEYS.items():
        if name == "database.path":  # excludes database.url
            continue
        if name.endswith(".when"):
            texts[name] = '{"interest": ["yes"]}'
        if name.endswith(".body"):
            texts[name] = "Hi"
        env[key.variables[0]] = texts.get(name) or types.get(key.type, "12")
    config = load(None, env, cwd=tmp_path)
    assert set(config.origins) == set(KEYS) - {"database.path"}
    default = Config()
    assert config.server.public_url == "http://localhost:8080/relay"
    assert config.poll.agent_ids == ("ab", "cd")
    assert {name: message.model_dump() for name, message in config.opening.messages.items()} == dict.fromkeys(
        OUTCOMES,
        OpeningMessage(
            body="Hi",
            content_sid="HX1",
            content_variables={"1": "x"},
            delay_seconds=12,
            min_call_seconds=12,
            when={"interest": ("yes",)},
        ).model_dump(),
    )
    assert config.senders == (SenderNumber(number="whatsapp:+573000000001", agent_ids=("agent_1",)),)
    assert (config.quiet_hours.start, config.quiet_hours.end) == (time(21), time(8))
    assert (config.twilio.sender, config.twilio.verify_signature) == ("whatsapp:+14155238886", False)
    for section in set(Tables.model_fields) - {"twilio", "opening", "sender"}:
        mine, theirs = getattr(config, section), getattr(default, section)
        same = {name for name in type(mine).model_fields if getattr(mine, name) == getattr(theirs, name)}
        assert not same, section


def test_a_table_can_be_set_as_json_and_its_keys_beat_it(tmp_path: Path) -> None:
    env = {
        "WA_RELAY_OPENING_VOICEMAIL": '{"body": "Te llamamos", "content_sid": "HX1"}',
        "WA_RELAY_OPENING_VOICEMAIL_BODY": "Hola",
    }
    messages = load(None, env, cwd=tmp_path).opening.messages
    assert messages["voicemail"] == OpeningMessage(body="Hola", content_sid="HX1")
    assert errors(tmp_path, WA_RELAY_POLL="[1]") == [
        "environment variable WA_RELAY_POLL: poll: should be a table, written as a JSON object"
    ]


def test_lists_are_written_with_commas_or_as_json(tmp_path: Path) -> None:
    def keywords(text: str) -> tuple[str, ...]:
        return load(None, {"WA_RELAY_OPT_OUT_KEYWORDS": text}, cwd=tmp_path).opt_out.keywords

    assert keywords("BAJA, DAR DE BAJA,") == ("BAJA", "DAR DE BAJA")
    assert keywords('["a, b", "c"]') == ("a, b", "c")
    assert keywords("") == ()


def test_short_names_are_taken_and_beaten_by_the_long_ones(tmp_path: Path) -> None:
    env = {"MICROSERVICE_TOKEN": "short-name", "TWILIO_ACCOUNT_SID": "ACshort", "ELEVENLABS_API_KEY": "xi"}
    config = from_toml(tmp_path, "[server]\ntoken = 'in-the-file'\n[twilio]\nauth_token = 'kept'", **env)
    assert config.server.token.reveal() == "short-name"
    assert config.twilio.account_sid == "ACshort"
    assert config.elevenlabs.api_key.reveal() == "xi"
    assert config.twilio.auth_token.reveal() == "kept"
    long = load(None, {**env, "WA_RELAY_SERVER_TOKEN": "long-name"}, cwd=tmp_path)
    assert long.server.token.reveal() == "long-name"


@pytest.mark.parametrize("name", ["WA_RELAY_SERVER_TOKEN", "MICROSERVICE_TOKEN"])
def test_a_secret_is_read_from_its_file_without_the_newline(tmp_path: Path, name: str) -> None:
    (tmp_path / "token").write_text("from-a-file\r\n")
    env = {f"{name}_FILE": str(tmp_path / "token")}
    assert load(None, env, cwd=tmp_path).server.token.reveal() == "from-a-file"
    assert load(None, {f"{name}_FILE": "token"}, cwd=tmp_path).server.token.reveal() == "from-a-file"
    assert load(None, {**env, name: "a-value"}, cwd=tmp_path).server.token.reveal() == "a-value"
    assert load(None, {**env, name: ""}, cwd=tmp_path).server.token.reveal() == "from-a-file"


def test_every_secret_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden\n")
    names = ("SERVER_TOKEN", "TWILIO_AUTH_TOKEN", "ELEVENLABS_API_KEY", "ELEVENLABS_WEBHOOK_SECRET")
    config = load(None, {f"WA_RELAY_{name}_FILE": "secret" for name in names}, cwd=tmp_path)
    secrets = (
        config.server.token,
        config.twilio.auth_token,
        config.elevenlabs.api_key,
        config.elevenlabs.webhook_secret,
    )
    assert [secret.reveal() for secret in secrets] == ["hidden"] * 4


def test_the_long_name_of_a_file_beats_the_short_name_of_a_value(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file")
    env = {"WA_RELAY_SERVER_TOKEN_FILE": str(tmp_path / "token"), "MICROSERVICE_TOKEN": "value"}
    assert load(None, env, cwd=tmp_path).server.token.reveal() == "from-a-file"


def test_a_secret_file_that_is_missing_or_empty_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    assert errors(tmp_path, MICROSERVICE_TOKEN_FILE=str(tmp_path / "none"), TWILIO_AUTH_TOKEN_FILE="empty") == [
        f"environment variable MICROSERVICE_TOKEN_FILE ({tmp_path}/none): server.token: there is no such file",
        "environment variable TWILIO_AUTH_TOKEN_FILE: twilio.auth_token: the file is empty",
    ]


def test_an_empty_variable_beats_the_file_so_that_nothing_is_guessed(tmp_path: Path) -> None:
    config = from_toml(tmp_path, "[server]\ntoken = 'in-the-file'", MICROSERVICE_TOKEN="")
    assert not config.server.token
    assert "environment variable MICROSERVICE_TOKEN" in str(require_serve(config)[0])


# Openings


def test_only_completed_calls_are_followed_up_by_default(tmp_path: Path) -> None:
    messages = load(None, {}, cwd=tmp_path).opening.messages
    body = "Hola {client_name}, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"
    assert messages == {"completed": CompletedMessage(body=body, content_variables={"1": "{client_name}"})}


def test_a_template_keeps_the_default_body(tmp_path: Path) -> None:
    messages = from_toml(tmp_path, '[opening.completed]\ncontent_sid = "HX1"').opening.messages
    assert messages["completed"].body.startswith("Hola {client_name}")
    assert messages["completed"].content_sid == "HX1"


def test_an_outcome_with_neither_body_nor_template_is_not_followed_up(tmp_path: Path) -> None:
    text = '[opening.completed]\nbody = ""\n[opening.failed]\n[opening.voicemail]\ncontent_sid = "HX1"'
    assert from_toml(tmp_path, text).opening.messages == {"voicemail": OpeningMessage(content_sid="HX1")}


# The hidden switch


def test_waits_can_be_divided_for_tests(tmp_path: Path) -> None:
    assert load(None, {"WA_RELAY_TIME_DIVISOR": "60"}, cwd=tmp_path).time_divisor == 60.0
    for text in ("0.5", "nan", "inf", "1e999", "-3", "x"):
        assert errors(tmp_path, WA_RELAY_TIME_DIVISOR=text) == [
            "environment variable WA_RELAY_TIME_DIVISOR: should be a number from 1"
        ]
