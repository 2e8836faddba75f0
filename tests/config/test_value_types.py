"""The values that each key takes and refuses, and the messages of faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from wa_relay.config import KEYS, Config, ConfigError, load


def from_toml(folder: Path, text: str, **env: str) -> Config:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, env, cwd=folder)


def errors(folder: Path, text: str = "", **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_toml(folder, text, **env)
    return str(caught.value).splitlines()


def assignment(name: str, value: str) -> str:
    table, _, leaf = name.rpartition(".")
    return f"[{table}]\n{leaf} = {value}\n"


BAD = [
    ("general.timezone", '""'),
    ("general.timezone", '"../../etc/passwd"'),
    ("general.timezone", '"/etc/localtime"'),
    ("general.timezone", '"America"'),
    ("general.timezone", '"localtime"'),
    ("general.timezone", "5"),
    ("quiet_hours.holidays", '"ZZ"'),
    ("quiet_hours.holidays", '"COL"'),
    ("server.host", '""'),
    ("server.host", '"127.0.0.1:80"'),
    ("server.host", '"a b"'),
    ("server.port", "-1"),
    ("server.port", "65536"),
    ("server.port", "3001.0"),
    ("server.port", "true"),
    ("server.port", '"3001"'),
    ("server.public_url", '"relay.example.com"'),
    ("server.public_url", '"ftp://relay.example.com"'),
    ("server.public_url", '"http://relay.example.com"'),
    ("server.public_url", '"http://10.0.0.1"'),
    ("server.public_url", '"https://relay.example.com/?a=1"'),
    ("server.public_url", '"https://relay.example.com?"'),
    ("server.public_url", '"https://relay.example.com/#rc=5"'),
    ("server.public_url", '"https://user:pass@relay.example.com"'),
    ("server.public_url", '"https://my_relay.example.com"'),
    ("server.public_url", '"https://"'),
    ("server.public_url", '"https://relay.example.com:99999"'),
    ("server.public_url", '"https://relay.example.com:"'),
    ("server.public_url", '"https://[::1"'),
    ("server.public_url", '"https://relay.example.com/a b"'),
    ("server.public_url", '"https://relay.example.com\\n"'),
    ("server.public_url", '"https://relé.example.com"'),
    ("server.token", "5"),
    ("server.token", '"with\\nnewline"'),
    ("server.token", '"with-ñ"'),
    ("server.token", '" spaces "'),
    ("database.path", '""'),
    ("database.path", '"folder/"'),
    ("database.path", '"a\\u0000b"'),
    ("twilio.account_sid", '"US123"'),
    ("twilio.account_sid", '"AC"'),
    ("twilio.account_sid", '"AC/../x"'),
    ("twilio.account_sid", '"ACñ"'),
    ("twilio.sender", '"14155238886"'),
    ("twilio.sender", '"whatsapp:+0415523888"'),
    ("twilio.sender", '"whatsapp:+1 415 523 8886"'),
    ("twilio.sender", '"whatsapp:+٣١٣٨٥٣٩١٥٥"'),
    ("twilio.messaging_service_sid", '"AC123"'),
    ("twilio.base_url", '""'),
    ("twilio.base_url", '"http://api.twilio.com"'),
    ("twilio.verify_signature", '"true"'),
    ("twilio.verify_signature", "1"),
    ("twilio.messages_per_second", "0"),
    ("twilio.messages_per_second", "10000.1"),
    ("elevenlabs.transport", '"carrier pigeon"'),
    ("elevenlabs.turn_timeout_seconds", "0"),
    ("elevenlabs.turn_timeout_seconds", "91"),
    ("elevenlabs.settle_seconds", "-0.1"),
    ("elevenlabs.settle_seconds", "31"),
    ("poll.interval_seconds", "0"),
    ("poll.interval_seconds", "-1"),
    ("poll.interval_seconds", "1e9"),
    ("poll.interval_seconds", '"5m"'),
    ("poll.interval_seconds", "nan"),
    ("poll.interval_seconds", "inf"),
    ("poll.interval_seconds", "true"),
    ("poll.interval_seconds", "0x" + "f" * 5000),
    ("poll.agent_ids", '"agent_1"'),
    ("poll.agent_ids", "[1]"),
    ("poll.agent_ids", '[""]'),
    ("poll.max_call_age_hours", "0"),
    ("poll.max_call_age_hours", "8761"),
    ("poll.push_grace_seconds", "-1"),
    ("poll.push_grace_seconds", "601"),
    ("opening.min_gap_hours", "-1"),
    ("opening.burst_limit", "-1"),
    ("opening.burst_limit", "1.5"),
    ("opening.default_name", "1"),
    ("opening.completed.body", "1"),
    ("opening.completed.content_sid", '"MG1"'),
    ("opening.completed.content_variables", '"x"'),
    ("opening.completed.content_variables", '{ "1" = 5 }'),
    ("opening.completed.content_variables", '{ "" = "x" }'),
    ("reply.debounce_seconds", "16"),
    ("reply.max_length", "19"),
    ("reply.max_length", "1601"),
    ("reply.unknown_sender", '"Ignorar"'),
    ("quiet_hours.start", '"24:00"'),
    ("quiet_hours.start", '"7"'),
    ("quiet_hours.start", "7"),
    ("opt_out.keywords", '"BAJA"'),
    ("log.level", '"loud"'),
    ("log.format", '"xml"'),
    ("log.file", "false"),
    ("log.personal_data", '"yes"'),
    ("log.level", "1979-05-27"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_one_fault_that_names_file_and_key(tmp_path: Path, name: str, value: str) -> None:
    (error,) = errors(tmp_path, assignment(name, value))
    assert error.startswith(f"{tmp_path}/config.toml: {name}: ")
    assert len(error) < 400


GOOD = [
    ("general.timezone", '"Etc/GMT-5"'),
    ("server.host", '"::1"'),
    ("server.host", '"relay-1.internal"'),
    ("server.port", "0"),
    ("server.port", "65535"),
    ("server.public_url", '"https://relay.example.com:8443/twilio"'),
    ("server.public_url", '"http://127.0.0.2:1"'),
    ("server.public_url", '"http://[::1]:8000"'),
    ("server.public_url", '""'),
    ("server.token", '"two words"'),
    ("twilio.account_sid", '"ACtest"'),
    ("twilio.messages_per_second", "0.1"),
    ("twilio.messages_per_second", "10000"),
    ("elevenlabs.turn_timeout_seconds", "1"),
    ("elevenlabs.turn_timeout_seconds", "90"),
    ("elevenlabs.settle_seconds", "0"),
    ("poll.interval_seconds", "1"),
    ("poll.interval_seconds", "3600"),
    ("poll.max_call_age_hours", "8760"),
    ("poll.push_grace_seconds", "0"),
    ("opening.burst_limit", "0"),
    ("opening.completed.body", '"""Hola\nde nuevo"""'),
    ("reply.debounce_seconds", "0"),
    ("reply.max_length", "20"),
    ("reply.fallback", '""'),
    ("log.level", '"WARNING"'),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_good_value_is_taken(tmp_path: Path, name: str, value: str) -> None:
    assert list(from_toml(tmp_path, assignment(name, value)).origins) == [name]


def test_a_bare_number_is_a_sender_and_a_slash_at_the_end_goes(tmp_path: Path) -> None:
    text = '[twilio]\nsender = "+14155238886"\nbase_url = "https://api.twilio.com/"\n[server]\npublic_url = "https://a.co/x//"'
    config = from_toml(tmp_path, text)
    assert config.twilio.sender == "whatsapp:+14155238886"
    assert (config.twilio.base_url, config.server.public_url) == ("https://api.twilio.com", "https://a.co/x")


def test_a_host_that_twilio_can_not_call_is_named_as_such(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, WA_RELAY_SERVER_PUBLIC_URL="https://my_relay.example.com")
    assert "Twilio calls no host with an underscore" in error


def test_all_faults_come_at_once_each_with_its_source_and_the_right_name(tmp_path: Path) -> None:
    text = """
[server]
tokn = "a-secret-token-nobody-may-see"
[twilio]
twillio_sid = "AC1"
[poll]
interval_seconds = 0
[quiet_hours]
start = "07:00"
end = "07:00"
[general]
timezone = "Bogota"
[elevenlab]
api_key = "another-secret"
"""
    file = tmp_path / "config.toml"
    assert errors(tmp_path, text, WA_RELAY_SERVER_PROT="80", WA_RELAY_REPLY_MAX_LENGTH="many") == [
        f"{file}: server.tokn: there is no such key (did you mean server.token?)",
        f"{file}: twilio.twillio_sid: there is no such key (did you mean twilio.account_sid?)",
        f"{file}: elevenlab: there is no such table (did you mean elevenlabs?)",
        "environment variable WA_RELAY_SERVER_PROT: there is no such key (did you mean WA_RELAY_SERVER_PORT?)",
        f'{file}: general.timezone: should be a time zone such as "America/Bogota", not the text "Bogota"'
        " (did you mean America/Bogota?)",
        f"{file}: poll.interval_seconds: should be greater than or equal to 1, not 0",
        "environment variable WA_RELAY_REPLY_MAX_LENGTH: reply.max_length: should be a whole number,"
        ' not the text "many"',
        f"{file}: quiet_hours: quiet_hours.start and quiet_hours.end are the same time: leave both empty for none",
    ]


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("twillio_sid = 1", "twilio.account_sid"),
        ("port = 3001", "server.port"),
        ("[poll]\ninterval = 5", "poll.interval_seconds"),
        ("[opening]\nbody = 'x'", "opening.completed.body"),
        ("[opening.complete]\nbody = 'x'", "opening.completed"),
        ("[twillio]", "twilio"),
        ("[quiet-hours]", "quiet_hours"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, text: str, nearest: str) -> None:
    (error,) = errors(tmp_path, text)
    assert error.endswith(f"(did you mean {nearest}?)")


def test_a_name_like_no_other_is_not_guessed(tmp_path: Path) -> None:
    assert errors(tmp_path, "zzz = 1") == [f"{tmp_path}/config.toml: zzz: there is no such key"]


@pytest.mark.parametrize(
    ("zone", "nearest"),
    [
        ("Bogota", "America/Bogota"),
        ("america/bogota", "America/Bogota"),
        ("America/Bogta", "America/Bogota"),
        ("Mexico City", "America/Mexico_City"),
    ],
)
def test_a_time_zone_is_answered_with_the_nearest(tmp_path: Path, zone: str, nearest: str) -> None:
    (error,) = errors(tmp_path, WA_RELAY_GENERAL_TIMEZONE=zone)
    assert error.endswith(f"(did you mean {nearest}?)")


def test_a_value_where_a_table_belongs_is_a_fault(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, "server = 5")
    assert error.endswith("server: is a table: write [server] and its keys below it")
    (error,) = errors(tmp_path, "[[twilio]]\nsender = ''")
    assert "twilio: is a table" in error


def test_unknown_names_of_the_environment_are_faults_but_for_those_of_others(tmp_path: Path) -> None:
    env = {"TWILIO_API_KEY": "x", "PATH": "/bin", "WA_RELAY_CONFIG": "/x", "_WA_RELAY_COMPLETE": "bash"}
    assert load(None, env, cwd=tmp_path).origins == {}
    (error,) = errors(tmp_path, WA_RELAY_SERVER_PORT_FILE="/x")
    assert error.endswith("(did you mean WA_RELAY_SERVER_PORT?)")
    (error,) = errors(tmp_path, WA_RELAY_TOKEN="")
    assert error.endswith("(did you mean WA_RELAY_SERVER_TOKEN?)")


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "", "1_0", "٣", "1e999", "9" * 5000])
def test_a_number_in_the_environment_is_plain_and_finite(tmp_path: Path, text: str) -> None:
    (error,) = errors(tmp_path, WA_RELAY_POLL_INTERVAL_SECONDS=text)
    assert error.startswith("environment variable WA_RELAY_POLL_INTERVAL_SECONDS: poll.interval_seconds: should be ")
    (error,) = errors(tmp_path, WA_RELAY_SERVER_PORT=text)
    assert "server.port: should be " in error


def test_the_environment_is_utf_8(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, WA_RELAY_REPLY_FALLBACK="adi\udcf3s")
    assert error.endswith("should be UTF-8 without control characters")


def test_variables_in_the_environment_are_json(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, WA_RELAY_OPENING_COMPLETED_CONTENT_VARIABLES="{1: x}")
    assert error.endswith('should be a table (in the environment, a JSON object), not the text "{1: x}"')


# Rules over several keys


@pytest.mark.parametrize("text", ['start = "21:00"', 'end = "21:00"'])
def test_quiet_hours_have_both_ends(tmp_path: Path, text: str) -> None:
    (error,) = errors(tmp_path, f"[quiet_hours]\n{text}")
    assert error.endswith("go together: set both or none")


def test_unsigned_webhooks_are_for_this_machine_only(tmp_path: Path) -> None:
    text = "[twilio]\nverify_signature = false\n[server]\nhost = "
    for host in ("0.0.0.0", "::", "192.168.1.5", "relay.internal"):
        (error,) = errors(tmp_path, f"{text}'{host}'")
        assert "twilio.verify_signature: false is refused unless server.host is this machine" in error
    for host in ("127.0.0.1", "::1", "localhost"):
        assert from_toml(tmp_path, f"{text}'{host}'").twilio.verify_signature is False


def test_an_agent_for_strangers_is_named(tmp_path: Path) -> None:
    text = '[reply]\nunknown_sender = "agent"\n'
    (error,) = errors(tmp_path, text)
    assert "reply.unknown_sender_agent_id: " in error
    assert from_toml(tmp_path, text + 'unknown_sender_agent_id = "agent_1"').reply.unknown_sender_agent_id == "agent_1"


def test_a_keyword_can_not_mean_both(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, "[opt_out]\nreturn_keywords = ['alta', 'stop']")
    assert "opt_out.return_keywords: stop: also in opt_out.keywords" in error


def test_a_rule_keeps_still_about_a_value_that_is_already_wrong(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, "[quiet_hours]\nstart = '25:00'\nend = '08:00'")
    assert "quiet_hours.start: should be a time of day" in error


# The file itself


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
    assert load(path, {}, cwd=tmp_path).server.port == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[server]\nport = \n", "is not valid TOML: Invalid value (at line 2, column 8)"),
        (b"[server]\nport = 1\nport = 2\n", "is not valid TOML: Cannot overwrite a value (at line 3, column 9)"),
        (b"[server]\n# \xff\n", "is not UTF-8 (at line 2): save it as UTF-8"),
        (b"x = " + b"[" * 100_000, "is not valid TOML: "),
        (b"[server]\nport = " + b"9" * 5000, "is not valid TOML: a number is too long"),
        (b" " * (2 << 20), "is over 1048576 bytes: too large for a configuration file"),
    ],
)
def test_a_file_that_is_not_toml_is_a_fault_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, cwd=tmp_path)
    assert str(caught.value).startswith(f"{path}: {message}")


# Secrets stay out of every fault

SECRET = "Zq8-vEry-sEcret-w0rd-Xk3"


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if key.may_be_in_file or "url" in name])
@pytest.mark.parametrize("spoilt", ["{}\\n", "{}é", " {}", "https://u:{}@h.co/?{}#", "{}"])
def test_no_fault_shows_a_secret(tmp_path: Path, name: str, spoilt: str) -> None:
    """Whether it is spoilt, in the wrong place, in a list, or under a name that does not exist."""
    value = '"' + spoilt.replace("{}", SECRET) + '"'
    text = assignment(name, f"[{value}]") + f"unknown = {value}\n"
    found = errors(tmp_path, text) + errors(tmp_path, f"junk = {value}\n" + assignment(name, value))
    found += errors(tmp_path, **{KEYS[name].variables[0]: f"{SECRET}\n{SECRET}", "WA_RELAY_X": SECRET})
    found += errors(tmp_path, MICROSERVICE_TOKEN_FILE=SECRET, WA_RELAY_POLL=SECRET)
    assert not any(SECRET[:12] in line for line in found)


def test_the_tail_of_a_long_secret_identifies_it(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, f"[server]\ntoken = ' {SECRET}'")
    assert error.endswith("begins or ends with a space, which HTTP takes away: ****-Xk3 (len 25)")
