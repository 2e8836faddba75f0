"""Pages from templates: Jinja2 escapes all values, and the headers let no foreign script run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wa_relay.console.messages import Messages
from wa_relay.model import Moment
from wa_relay.moments import moment
from wa_relay.reports.charts import CHART_CSS
from wa_relay.server.access import Actor
from wa_relay.server.answers import request_id

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
    "Server": "wa-relay",
}
ASSETS = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Place:
    """The console's place: the path that the proxy strips (`base`), and how its cookie is set."""

    base: str
    secure: bool

    @property
    def home(self) -> str:
        """The path of the inbox."""
        return f"{self.base}/console/"

    @property
    def cookie_path(self) -> str:
        """The path for which the cookie is: the API's routes too."""
        return f"{self.base}/"


class Pages:
    """Renders templates in the reader's language, with times in the team's zone."""

    def __init__(self, place: Place, language: str, timezone: tzinfo) -> None:
        self.place = place
        self._language = language
        self._timezone = timezone
        self._messages = {each: Messages.load(each) for each in ("es", "en")}
        self.assets = {name: (FOLDER / "static" / name).read_bytes() for name in ASSETS}
        self.assets["console.css"] += CHART_CSS.encode()
        marks = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self.assets.items()}
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["asset"] = lambda name: f"{place.home}static/{name}?v={marks[name]}"
        self._environment.globals["home"] = place.home
        self._environment.globals["base"] = place.base

    def messages(self, language: str) -> Messages:
        """The messages of a language, else those of `general.language`."""
        return self._messages.get(language) or self._messages[self._language]

    def page(
        self, template: str, actor: Actor | None, now: Moment, *, status: int = 200, language: str = "", **facts: Any
    ) -> web.Response:
        """Answers with a page."""
        messages = self.messages(actor.language if actor else language)
        clock = Clock(messages, self._timezone, now)
        html = self._environment.get_template(template).render(
            t=messages, clock=clock, actor=actor, lang=messages.language, **facts
        )
        headers = {**HEADERS, "Cache-Control": "no-store", "X-Request-Id": request_id()}
        return web.Response(text=html, content_type="text/html", charset="utf-8", status=status, headers=headers)

    def asset(self, name: str) -> web.Response | None:
        """Answers with a file of the console, None for an unknown name."""
        if name not in self.assets:
            return None
        headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable", "X-Request-Id": request_id()}
        return web.Response(body=self.assets[name], content_type=ASSETS[name], charset="utf-8", headers=headers)


def redirect(path: str) -> web.Response:
    """Sends the browser to another page."""
    headers = {**HEADERS, "Location": path, "Cache-Control": "no-store", "X-Request-Id": request_id()}
    return web.Response(status=303, headers=headers)


class Clock:
    """Times as people read them, in the team's zone."""

    def __init__(self, messages: Messages, timezone: tzinfo, now: Moment) -> None:
        self._messages = messages
        self._timezone = timezone
        self._now = now
        self._today = datetime.fromtimestamp(now, timezone).date()

    def local(self, at: Moment | str) -> datetime:
        """A moment, or a time of the API, in the team's zone."""
        return datetime.fromtimestamp(moment(at) if isinstance(at, str) else at, self._timezone)

    def iso(self, at: Moment | str) -> str:
        """For the attribute `datetime`."""
        return self.local(at).isoformat(timespec="seconds")

    def time(self, at: Moment | str) -> str:
        """The time of the day."""
        return f"{self.local(at):%H:%M}"

    def day(self, at: Moment | str) -> str:
        """The day: today, yesterday, a day of the week, or its date."""
        day = self.local(at).date()
        ago = (self._today - day).days
        if ago in (0, 1):
            return self._messages("time.today" if ago == 0 else "time.yesterday")
        weekday = self._messages("time.weekdays").split()[day.weekday()]
        if 1 < ago < 7:
            return weekday
        month = self._messages("time.months").split()[day.month - 1]
        return self._messages("time.date", weekday=weekday, day=day.day, month=month, year=day.year)

    def short(self, at: Moment | str) -> str:
        """The short form for a row of a list: the time if it is today, else the day."""
        local = self.local(at)
        ago = (self._today - local.date()).days
        if ago == 0:
            return self.time(at)
        if ago == 1:
            return self._messages("time.yesterday")
        if 1 < ago < 7:
            return self._messages("time.weekdays").split()[local.weekday()]
        return f"{local:%d/%m/%y}"

    def full(self, at: Moment | str) -> str:
        """The date and the time."""
        return f"{self.local(at):%d/%m/%Y %H:%M}"

    def left(self, until: Moment | str) -> str:
        """Returns the time left until a moment."""
        return self.length((moment(until) if isinstance(until, str) else until) - self._now)

    def since(self, at: Moment | str) -> str:
        """Returns the time since a moment."""
        return self.length(self._now - (moment(at) if isinstance(at, str) else at))

    def length(self, seconds: float) -> str:
        """A length of time, to two units."""
        minutes = max(0, int(seconds // 60))
        if minutes == 0:
            return self._messages("time.seconds", n=max(1, round(seconds)))
        if minutes < 60:
            return self._messages("time.minutes", n=minutes)
        if minutes < 48 * 60:
            return self._messages("time.hours", n=minutes // 60, m=minutes % 60)
        return self._messages("time.days", n=minutes // 1440)
