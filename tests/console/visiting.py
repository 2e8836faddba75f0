"""Visitors of the console: browsers without a screen, logged in or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.server.served import Served, serving

PASSWORD = "correct horse battery"
USERS = {"vera": "viewer", "oscar": "operator", "ada": "admin"}
ON: Mapping[str, Mapping[str, Any]] = {
    "console": {"enabled": True},
    "opening": {"burst_limit": 0},
    "server": {"trusted_proxies": ["127.0.0.0/8"]},
}


class Visitor:
    """One browser. `as_from` is the client's address, as a proxy would name it."""

    def __init__(self, served: Served, as_from: str = "203.0.113.1") -> None:
        self.served, self.as_from = served, as_from
        self.http = httpx.Client(base_url=served.relay.url, headers={"X-Forwarded-For": as_from}, timeout=60)

    def log_in(self, name: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        """Fills in the form."""
        return self.http.post("/console/login", data={"user": name, "password": password, **more})

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Opens a page."""
        return self.http.get(path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        """Posts as a page's script does: JSON, with the session's token."""
        headers = {"X-CSRF-Token": self.csrf, **more.pop("headers", {})}
        return self.http.post(path, json={} if json is None else json, headers=headers, **more)

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Submits a form of a page."""
        return self.http.post(path, data={"csrf_token": self.csrf, **fields})

    @property
    def csrf(self) -> str:
        """The session's token, as the page has it."""
        found = re.search(r'<meta name="csrf-token" content="([0-9a-f]{64})">', self.get("/console/system").text)
        return found[1] if found else ""

    @property
    def cookie(self) -> str | None:
        """The session's cookie."""
        return self.http.cookies.get("wa_relay_session")

    @property
    def is_logged_in(self) -> bool:
        """True if the inbox opens."""
        return self.get("/console/").status_code == 200


@contextmanager
def consoled(folder: Path, settings: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> Iterator[Served]:
    """A daemon with the console on, and a user of each role."""
    merged = {
        section: {**ON.get(section, {}), **(settings or {}).get(section, {})} for section in {*ON, *(settings or {})}
    }
    with serving(folder, merged, **more) as one:
        for name, role in USERS.items():
            code, _, err = one.run(
                one.relay.command("console", "user", "add", name, "--role", role, stdin=PASSWORD.encode() + b"\n"), 60
            )
            assert code == 0, err
        yield one
        assert "Traceback" not in one.relay.log
        assert PASSWORD not in one.relay.log
