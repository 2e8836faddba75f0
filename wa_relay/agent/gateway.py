"""A turn as one HTTP request, for users with a gateway that offers what ElevenLabs does not.

`POST {base_url}/v1/convai/conversations/{id}/message` with `{"message", "mode"}`; `elevenlabs.transport = "http"`.
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import aiohttp

from wa_relay.agent.recap import question_text
from wa_relay.agent.tries import Tries, TryFailedError
from wa_relay.elevenlabs.refusals import detail, lacks_capacity
from wa_relay.http import Answer as HttpAnswer
from wa_relay.http import AnswerTooLarge, Poster, retry_after
from wa_relay.model import AgentError, Answer, Moment, NoteTools, NoteTry, Question, Silence, Unreadable
from wa_relay.policy import TryLimits

_ANSWER_FIELDS = ("response", "message", "text", "agent_response")
_MAX_BODY = 1024 * 1024
_RETRIED = frozenset({408, 425, 429})
_NOT_OFFERED = (
    'the message endpoint answered 404: it is not offered by ElevenLabs. Set elevenlabs.transport = "websocket",'
    " or elevenlabs.base_url to a gateway that offers it and knows this conversation"
)
_NO_CALL = (
    'elevenlabs.transport = "http" continues a phone call\'s conversation, and this customer had no call:'
    ' set elevenlabs.transport = "websocket"'
)


class GatewayAgent:
    """Answers questions by the gateway's message endpoint. `http` stays the caller's to close.

    `turn_timeout` seconds for one call.
    """

    needs_context = False
    """The gateway knows the call by its id, and is sent only what the customer wrote."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base_url: str,
        api_key: str,
        *,
        turn_timeout: float,
        limits: TryLimits | None = None,
    ) -> None:
        headers = {"xi-api-key": api_key, "Content-Type": "application/json", "Accept": "application/json"}
        self._poster = Poster(http, base_url, headers)
        self._tries = Tries(turn_timeout, limits)

    async def file_limit(self, _agent_id: str) -> int:
        """A gateway takes text alone."""
        return 0

    async def answer(
        self, question: Question, _note_tools: NoteTools, note_try: NoteTry | None = None
    ) -> Answer | Silence | Unreadable:
        """Returns the gateway's answer. Raises `NoCapacityError`, and `AgentError` when no try brought text.

        A gateway does not say which tools were called.
        """
        if question.call_key is None:
            raise AgentError(_NO_CALL, permanent=True)
        path = f"/v1/convai/conversations/{quote(question.call_key, safe='')}/message"
        body = json.dumps({"message": question_text(question), "mode": "text"}).encode()
        ids = {"agent": question.agent_id, "call": question.call_key}
        return await self._tries.first_answer(
            lambda deadline: self._try(path, body, deadline), ids=ids, note_try=note_try
        )

    async def _try(self, path: str, body: bytes, deadline: Moment) -> Answer:
        within = deadline - asyncio.get_running_loop().time()
        try:
            answer = await self._poster.post(path, body, limit=_MAX_BODY, within=within)
        except AnswerTooLarge as error:
            raise TryFailedError(f"the gateway's answer is over {_MAX_BODY} bytes", permanent=True) from error
        except TimeoutError as error:
            raise TryFailedError("the gateway did not answer in time", away=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TryFailedError(f"no answer from the gateway: {type(error).__name__}", away=True) from error
        if answer.status != 200:
            raise _refused(answer)
        return Answer(text=_answer_in(answer.body))


def _refused(answer: HttpAnswer) -> TryFailedError:
    status = answer.status
    if status == 404:
        return TryFailedError(_NOT_OFFERED, permanent=True)
    if status in (401, 403):
        return TryFailedError(f"the gateway refused the key with {status}: check elevenlabs.api_key", permanent=True)
    if status >= 500 or status in _RETRIED:
        return TryFailedError(
            f"the gateway answered {status}",
            away=status >= 500,
            no_capacity=lacks_capacity(status, detail(answer.body)[0]),
            retry_after=retry_after(answer.headers),
        )
    return TryFailedError(f"the gateway answered {status}, not 200: check elevenlabs.base_url", permanent=True)


def _answer_in(content: bytes) -> str:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TryFailedError("the gateway's answer is not JSON") from error
    if not isinstance(parsed, dict):
        raise TryFailedError("the gateway's answer is not a JSON object")
    for field in _ANSWER_FIELDS:
        value = parsed.get(field)
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise TryFailedError("the gateway answered without text", at_once=True)
