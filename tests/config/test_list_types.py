"""The values that hold several parts: `[[sender]]`, `when`, `days`, alerts, and what each says when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wa_relay.config import Config, ConfigError, load
from wa_relay.config.policy_rules import rules_of


def from_toml(folder: Path, text: str, **env: str) -> Config:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load(path, env, cwd=folder)


def faults(folder: Path, text: str, **env: str) -> list[str]:
    """The faults of a text, without the file."""
    with pytest.raises(ConfigError) as caught:
        from_toml(folder, text, **env)
    return [str(fault).removeprefix(f"{folder / 'config.toml'}: ") for fault in caught.value.faults]


# The tables of senders


def sender(**values: str) -> str:
    return "[[sender]]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())


FIRST = sender(number='"+573000000001"', agent_ids='["agent_1"]')


def test_a_sender_needs_only_its_number(tmp_path: Path) -> None:
    config = from_toml(tmp_path, sender(number='"+573000000001"') + sender(number='"whatsapp:+573000000002"'))
    assert [(each.number, each.agent_ids, each.messages_per_second) for each in config.senders] == [
        ("whatsapp:+573000000001", (), 80),
        ("whatsapp:+573000000002", (), 80),
    ]


def test_conversations_begin_at_the_sender_of_their_agent(tmp_path: Path) -> None:
    rules = rules_of(from_toml(tmp_path, '[twilio]\nsender = "+573000000009"\n' + FIRST))
    assert (rules.default_sender, rules.senders) == ("+573000000009", {"agent_1": "+573000000001"})


SENDERS = [
    (
        sender(number='"+57"'),
        ['table 1: number: should be a WhatsApp number such as "whatsapp:+14155238886": + and 8 to 15 digits'],
    ),
    (FIRST + sender(agent_ids='["agent_2"]'), ["table 2: number: is missing"]),
    (
        FIRST + sender(number='"+573000000001"'),
        ["number whatsapp:+573000000001 is listed twice: keep one of them"],
    ),
    (
        FIRST + sender(number='"+573000000002"', agent_ids='["agent_2", "agent_1"]'),
        ["agent agent_1 is listed twice: keep one of them"],
    ),
    (
        sender(number='"+573000000001"', agent_ids='["agent_1", "agent_1"]'),
        ["agent agent_1 is listed twice: keep one of them"],
    ),
    (
        sender(number='"+573000000001"', agent_id='["agent_1"]'),
        ["table 1: agent_id: there is no such key (did you mean agent_ids?)"],
    ),
    (
        sender(number='"+573000000001"', agent_ids='"agent_1"', messages_per_second="0"),
        [
            "table 1: agent_ids: should be a list of agent ids, not text",
            "table 1: messages_per_second: should be greater than 0, not 0",
        ],
    ),
    (
        '[sender]\nnumber = "+573000000001"\n',
        ["should be a list of tables ([[sender]], in the environment a JSON list of objects), not a table"],
    ),
    (
        '[twilio]\nsender = "+573000000001"\n' + FIRST,
        ["whatsapp:+573000000001 is twilio.sender already: list only further numbers"],
    ),
]


@pytest.mark.parametrize(("text", "messages"), SENDERS)
def test_a_wrong_sender_is_named_with_its_place(tmp_path: Path, text: str, messages: list[str]) -> None:
    assert faults(tmp_path, text) == [f"sender: {message}" for message in messages]


def test_senders_in_the_environment_are_a_json_list(tmp_path: Path) -> None:
    config = load(None, {"WA_RELAY_SENDER": '[{"number": "+573000000001"}]'}, cwd=tmp_path)
    assert config.senders[0].number == "whatsapp:+573000000001"
    (fault,) = faults(tmp_path, "", WA_RELAY_SENDER='{"number": "+573000000001"}')
    assert fault.startswith("environment variable WA_RELAY_SENDER: sender: should be a list of tables")
    (fault,) = faults(tmp_path, "", WA_RELAY_SENDER='["+573000000001"]')
    assert fault.startswith("environment variable WA_RELAY_SENDER: sender: table 1: should be a table")
    assert load(None, {"WA_RELAY_SENDER": ""}, cwd=tmp_path).senders == ()


# when


@pytest.mark.parametrize(
    ("written", "accepted"),
    [
        ('{ interest = ["yes", "maybe"] }', {"interest": ("yes", "maybe")}),
        ('{ interest = "yes", age = 30 }', {"interest": ("yes",), "age": (30,)}),
        ("{ agreed = [true], score = [4.5, 5] }", {"agreed": (True,), "score": (4.5, 5)}),
        ("{}", {}),
    ],
)
def test_a_condition_lists_the_values_that_are_accepted(tmp_path: Path, written: str, accepted: Any) -> None:
    config = from_toml(tmp_path, f"[opening.completed]\nwhen = {written}\n")
    assert rules_of(config).openings["completed"].when == accepted


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('"yes"', 'should be a table such as { interest = ["yes", "maybe"] }, not text'),
        ("{ interest = [] }", '"interest" accepts no value, so no call would match: list one or leave it out'),
        (
            "{ interest = { a = 1 } }",
            '"interest" should have texts, numbers, true or false, or a list of them, not a table',
        ),
        ("{ age = [nan] }", '"age" should have texts, numbers, true or false, or a list of them, not a number'),
        ('{ " " = "yes" }', "the name of a collected value is empty"),
    ],
)
def test_a_wrong_condition_says_what_is_wrong(tmp_path: Path, written: str, message: str) -> None:
    assert faults(tmp_path, f"[opening.completed]\nwhen = {written}\n") == [f"opening.completed.when: {message}"]


# days


def test_days_are_spans_of_minutes(tmp_path: Path) -> None:
    config = from_toml(tmp_path, '[quiet_hours]\ndays = { sat = "8:00-12:00, 14:00-24:00", sun = "" }\n')
    assert config.quiet_hours.days == {"sat": ((480, 720), (840, 1440)), "sun": ()}


def test_a_preset_sets_every_day_and_the_holidays_and_a_day_overrides_it(tmp_path: Path) -> None:
    text = '[quiet_hours]\npreset = "ley-2300"\ndays = { sun = "10:00-12:00" }\n'
    rules = rules_of(from_toml(tmp_path, text))
    assert rules.holidays == "CO"
    assert rules.hours == {**dict.fromkeys(range(5), ((420, 1140),)), 5: ((480, 900),), 6: ((600, 720),)}


WANTED = 'should have hours such as "08:00-12:00,14:00-18:00", or "" for none'
DAYS = [
    ('"08:00-12:00"', 'should be a table such as { sat = "08:00-12:00", sun = "" }, not text'),
    (
        '{ saturday = "" }',
        '"saturday" is not a day: the days are mon, tue, wed, thu, fri, sat, sun (did you mean sat?)',
    ),
    ("{ sat = 8 }", f"sat {WANTED}, not a number"),
    ('{ sat = "8-12" }', f'sat {WANTED}, not the text "8-12"'),
    ('{ sat = "08:00-24:30" }', f'sat {WANTED}: a day ends at 24:00, not the text "08:00-24:30"'),
    (
        '{ sat = "21:00-02:00" }',
        f"sat {WANTED}: 21:00-02:00 ends before it begins; write the hours after midnight under their day",
    ),
    ('{ sat = "08:00-12:00,11:00-14:00" }', f"sat {WANTED}: the hours overlap or are not in order"),
]


@pytest.mark.parametrize(("written", "message"), DAYS)
def test_wrong_days_say_which_day_is_wrong(tmp_path: Path, written: str, message: str) -> None:
    assert faults(tmp_path, f"[quiet_hours]\ndays = {written}\n") == [f"quiet_hours.days: {message}"]


# Alerts, networks, the two databases


SECRET = "whsec_" + "MDEy" * 8


@pytest.mark.parametrize("secret", ["whsec_", "whsec_short", "MDEy" * 8, "whsec_" + "MDEy" * 30, "whsec_" + "****" * 8])
def test_the_secret_of_alerts_is_that_of_standard_webhooks(tmp_path: Path, secret: str) -> None:
    (fault,) = faults(tmp_path, f'[alerts]\nsecret = "{secret}"\n')
    assert fault.startswith("alerts.secret: should be whsec_ and base64 of 24 to 64 bytes")
    assert secret not in fault.removeprefix("alerts.secret: should be whsec_ and") or secret == "whsec_"


def test_alerts_need_a_secret_and_https(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[alerts]\nurl = "https://ops.acme.co/hook?team=1"\n')
    assert fault.startswith("alerts.secret: alerts.url needs it")
    (fault,) = faults(tmp_path, f'[alerts]\nurl = "http://ops.acme.co"\nsecret = "{SECRET}"\n')
    assert "https, because http is for this machine only" in fault
    config = from_toml(tmp_path, f'[alerts]\nurl = "http://127.0.0.1:9/hook?team=1"\nsecret = "{SECRET}"\n')
    assert config.alerts.url == "http://127.0.0.1:9/hook?team=1"


def test_an_unknown_alert_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[alerts]\nevents = ["send.uncertain", "disk.full"]\n')
    assert fault.startswith("alerts.events: item 2: should be one of handover.wanted, ")
    assert fault.endswith("(did you mean disk.low?)")


def test_a_wrong_network_is_answered_with_the_one_around_it(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[server]\ntrusted_proxies = ["::1", "10.0.0.1/8"]\n')
    assert fault.startswith("server.trusted_proxies: item 2: should be an address or a network")
    assert fault.endswith("(did you mean 10.0.0.0/8?)")


@pytest.mark.parametrize("name", ["DATABASE_URL", "WA_RELAY_DATABASE_URL", "DATABASE_URL_FILE"])
def test_path_and_url_of_the_database_exclude_each_other(tmp_path: Path, name: str) -> None:
    url, text = "postgresql://relay:pass-w0rd@db.internal/relay", '[database]\npath = "relay.db"\n'
    (tmp_path / "url").write_text(url, encoding="utf-8")
    value = str(tmp_path / "url") if name.endswith("_FILE") else url
    (fault,) = faults(tmp_path, text, **{name: value})
    assert "database.path (" in fault
    assert "database.url (" in fault
    assert "pass-w0rd" not in fault
    assert load(None, {name: value}, cwd=tmp_path).database.url.reveal() == url


def test_a_url_of_another_database_is_refused_without_showing_it(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "", DATABASE_URL="mysql://relay:pass-w0rd@db.internal/relay")
    assert fault == (
        "environment variable DATABASE_URL: database.url: should be a URL such as "
        '"postgresql://relay@db.internal/relay"'
    )


def test_the_push_token_is_not_the_token(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[server]\ntoken = "same"\npush_token = "same"\n')
    assert fault.startswith("server.push_token: is the same as server.token")


def test_a_word_does_not_both_opt_out_and_hand_over(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[handover]\nkeywords = ["¡Baja!"]\n')
    assert fault == "handover.keywords: ¡Baja!: also in opt_out.keywords; a keyword can't mean both"
