"""The list of `config show`."""

from __future__ import annotations

from pathlib import Path

from wa_relay.config import KEYS
from wa_relay.config.effective_values import Setting, settings_of
from wa_relay.config.loader import read

SECRET = "a-secret-that-nobody-may-see"


def listed(folder: Path, text: str = "", **env: str) -> dict[str, Setting]:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return {each.key: each for each in settings_of(read(folder / "config.toml", env, cwd=folder))}


def test_every_key_is_listed_with_its_default(tmp_path: Path) -> None:
    found = listed(tmp_path)
    assert list(found) == list(KEYS)
    assert found["poll.interval_seconds"] == Setting("poll.interval_seconds", 15, "default", None)
    assert found["server.trusted_proxies"].value == ["127.0.0.0/8", "::1"]
    assert (found["quiet_hours.start"].value, found["server.token"].value) == ("", "")


def test_each_value_is_listed_with_the_place_that_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET, encoding="utf-8")
    text = '[server]\nport = 1\n[quiet_hours]\ndays = { sat = "8:00-12:00" }\n[[sender]]\nnumber = "+573000000001"\n'
    env = {"WA_RELAY_SERVER_HOST": "::1", "MICROSERVICE_TOKEN_FILE": "token", "DATABASE_URL": "postgresql://a:b@c/d"}
    found, file = listed(tmp_path, text, **env), str(tmp_path / "config.toml")
    assert found["server.port"] == Setting("server.port", 1, "file", file)
    assert found["server.host"] == Setting("server.host", "::1", "env", "WA_RELAY_SERVER_HOST")
    assert found["server.token"] == Setting("server.token", "***", "secret_file", str(tmp_path / "token"))
    assert found["database.url"] == Setting("database.url", "***", "env", "DATABASE_URL")
    assert found["quiet_hours.days"].value == {"sat": "08:00-12:00"}
    assert found["sender"].value == [{"number": "whatsapp:+573000000001", "agent_ids": (), "messages_per_second": 80.0}]


def test_the_value_of_an_unknown_key_is_never_listed(tmp_path: Path) -> None:
    found = listed(tmp_path, f'[server]\ntokn = "{SECRET}"\n', WA_RELAY_TOKEN=SECRET)
    assert found["server.tokn"] == Setting("server.tokn", None, "file", str(tmp_path / "config.toml"))
    assert found["WA_RELAY_TOKEN"] == Setting("WA_RELAY_TOKEN", None, "env", "WA_RELAY_TOKEN")
    assert SECRET not in str(found)


def test_a_value_that_its_key_does_not_accept_is_not_listed(tmp_path: Path) -> None:
    found = listed(tmp_path, f'[server]\nport = "{SECRET}"\n')
    assert found["server.port"] == Setting("server.port", None, "file", str(tmp_path / "config.toml"))
