"""A turn over the agent service's WebSocket: `turn` decides, this carries.

Each try is a session of its own: signed URL, connection, turn, close.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from wa_relay.agent.greeting import UNKNOWN, greeting_of
from wa_relay.agent.outcome import Answered, Failed
from wa_relay.agent.recap import recap, said, variables
from wa_relay.agent.settings import SettingsCache
from wa_relay.agent.tries import AWAY_PAUSE, Limits, TryFailedError, with_tries
from wa_relay.agent.turn import Ask, Turn
from wa_relay.elevenlabs.address import WrongAddressError, socket_url
from wa_relay.elevenlabs.signing import UrlSigner
from wa_relay.model import Answer, Moment, Question, UpstreamError
from wa_relay.policy import Circuit

if TYPE_CHECKING:
    from wa_relay.elevenlabs.client import AgentSettings, ElevenLabs

_MAX_FRAME = 16 * 1024 * 1024
_CLOSE_SECONDS = 2.0
_SHORTEST_WAIT = 0.001  # the library takes 0 for "no limit"
_END_EVENT = "agent_response_complete"
_PERMANENT_STATUSES = frozenset(range(400, 500)) - {408, 425, 429}

_Socket = aiohttp.ClientWebSocketResponse


class TextAgent:
    """Answers questions with text sessions of ElevenLabs agents. `http` stays the caller's to close.

    `turn_timeout` seconds for a session, `settle` seconds of quiet end an answer whose end is not announced.
    `base_url` is `elevenlabs.base_url`: the WebSocket goes to its host. `signer` fetches the signed URLs, `api` does
    without one.
    """

    reads_context = True

    def __init__(
        self,
        api: ElevenLabs,
        http: aiohttp.ClientSession,
        *,
        turn_timeout: float,
        settle: float,
        base_url: str = "",
        signer: UrlSigner | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._sign = (signer or api).signed_url
        self._http = http
        self._turn_timeout = turn_timeout
        self._settle = settle
        self._base_url = base_url
        self._limits = limits or Limits()
        self._circuit = Circuit(pause=AWAY_PAUSE)
        self._settings = SettingsCache(api)
        self._closing: set[asyncio.Task[None]] = set()

    async def answer(self, question: Question) -> Answer:
        """What the agent answers; raises `AgentError` when no try brought text."""
        return await with_tries(
            lambda deadline: self._try(question, deadline),
            self._turn_timeout,
            self._limits,
            self._circuit,
            {"agent": question.agent_id, "call": question.call_key},
        )

    async def close(self) -> None:
        """Ends what is still under way: reads of settings and closing handshakes."""
        await self._settings.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _try(self, question: Question, deadline: Moment) -> Answer:
        settings = await self._settings.get(question.agent_id)
        ask = self._ask(question, settings, deadline)
        socket = await self._connect(question.agent_id, deadline)
        turn = Turn(ask)
        try:
            await self._carry(turn, socket)
        finally:
            self._hang_up(socket)
        outcome = turn.outcome
        if isinstance(outcome, Answered):
            return Answer(text=outcome.text, session_id=turn.session_id)
        if not isinstance(outcome, Failed):
            raise TryFailedError(outcome.reason if outcome else "no outcome", at_once=True)
        if outcome.override_refused and ask.text_only:
            self._settings.override_refused(question.agent_id)
            raise TryFailedError(outcome.reason, at_once=True)
        raise TryFailedError(outcome.reason)

    def _ask(self, question: Question, settings: AgentSettings | None, deadline: Moment) -> Ask:
        own = variables(question)
        ask = Ask(
            text=said(question),
            settle=self._settle,
            deadline=deadline,
            context=recap(question),
            variables=own,
            greeting=UNKNOWN,
        )
        if settings is None:
            return ask
        return replace(
            ask,
            greeting=greeting_of(settings.first_message, own),
            announces_end=settings.client_events is not None and _END_EVENT in settings.client_events,
            text_only=settings.text_only_override and not settings.text_only,
        )

    async def _connect(self, agent_id: str, deadline: Moment) -> _Socket:
        try:
            async with asyncio.timeout_at(deadline):
                url = socket_url(await self._sign(agent_id), self._base_url)
                return await self._http.ws_connect(
                    URL(url, encoded=True),
                    max_msg_size=_MAX_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                )
        except UpstreamError as error:
            raise _unsigned(agent_id, error) from error
        except WrongAddressError as error:
            raise TryFailedError(str(error), permanent=True) from error
        except aiohttp.WSServerHandshakeError as error:
            permanent = error.status in _PERMANENT_STATUSES
            raise TryFailedError(
                f"ElevenLabs refused the session with HTTP {error.status}",
                permanent=permanent,
                away=error.status >= 500,
            ) from error
        except TimeoutError as error:
            raise TryFailedError("no connection to ElevenLabs in time", away=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TryFailedError(f"no connection to ElevenLabs: {type(error).__name__}", away=True) from error

    async def _carry(self, turn: Turn, socket: _Socket) -> None:
        """Runs the session until the turn has its outcome."""
        clock = asyncio.get_running_loop().time
        try:
            await _send(socket, turn.opened(clock()))
            while turn.outcome is None:
                try:
                    message = await socket.receive(max(turn.wake_at - clock(), _SHORTEST_WAIT))
                except TimeoutError:
                    await _send(socket, turn.tick(clock()))
                    continue
                if message.type is aiohttp.WSMsgType.TEXT:
                    await _send(socket, turn.received(message.data, clock()))
                elif message.type is aiohttp.WSMsgType.CLOSE:
                    turn.closed(message.data, message.extra or "")
                elif message.type is not aiohttp.WSMsgType.BINARY:
                    turn.closed(None, "")
        except (aiohttp.ClientError, OSError):
            turn.closed(None, "")

    def _hang_up(self, socket: _Socket) -> None:
        """Closes beside the work: the answer does not wait for the service's goodbye."""
        task = asyncio.create_task(_closed(socket))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _send(socket: _Socket, frames: list[str]) -> None:
    for frame in frames:
        await socket.send_str(frame)


async def _closed(socket: _Socket) -> None:
    try:
        async with asyncio.timeout(2 * _CLOSE_SECONDS):
            await socket.close()
    except (TimeoutError, aiohttp.ClientError, OSError):
        return


def _unsigned(agent_id: str, error: UpstreamError) -> TryFailedError:
    if error.status == 404:
        reason = f"ElevenLabs knows no agent {agent_id}: was it deleted, or is it in another workspace than the key?"
        return TryFailedError(reason, permanent=True)
    return TryFailedError(
        f"no session from ElevenLabs: {error.message}",
        permanent=error.permanent,
        away=error.status is None or error.status >= 500,
        retry_after=error.retry_after,
    )
