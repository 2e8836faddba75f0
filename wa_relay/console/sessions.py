"""Sessions: a random token in a cookie, looked up on each request."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from wa_relay.console.tokens import csrf_token, token_hash
from wa_relay.ledger.console_sessions import find_session
from wa_relay.ledger.reader import Reader
from wa_relay.model import Moment
from wa_relay.server.access import SESSION_COOKIE, Actor

LONGEST_TOKEN = 128


class Sessions:
    """Looks sessions up, on each request: one that ended, or a role that changed, holds at once."""

    def __init__(self, reader: Reader, clock: Callable[[], Moment]) -> None:
        self._reader = reader
        self._clock = clock

    async def find(self, cookie: str) -> Actor | None:
        """Returns the user of a session that has not ended, None for any other cookie."""
        if len(cookie) > LONGEST_TOKEN:
            return None
        user = await self._reader.read(find_session, token_hash(cookie), self._clock())
        if user is None:
            return None
        return Actor(user.name, "console", user.role, csrf_token(cookie), user.language)


def set_cookie(answer: web.StreamResponse, token: str, *, path: str, secure: bool) -> None:
    """Puts a session into the browser, until it is closed; the session itself ends by its own time."""
    answer.set_cookie(SESSION_COOKIE, token, path=path, secure=secure, httponly=True, samesite="Lax")


def clear_cookie(answer: web.StreamResponse, *, path: str, secure: bool) -> None:
    """Takes the session out of the browser."""
    answer.del_cookie(SESSION_COOKIE, path=path, secure=secure, httponly=True, samesite="Lax")
