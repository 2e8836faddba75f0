"""A daemon for a whole module of tests: it runs beside them, on its own event loop."""

from __future__ import annotations

import asyncio
import base64
import hmac
import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from tests.e2e.stage import TOKEN, Answer, Stage, payload, stage
from tests.server.described import check
from wa_relay.standins.twilio import TwilioStandin

T = TypeVar("T")
FORM = "application/x-www-form-urlencoded"
SECRET = "wsec_standin"
_numbers = itertools.count(1)


class Served:
    """The stage of a module's daemon, used from a test's own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on: Stage) -> None:
        self._loop, self.stage, self.relay, self.twilio, self.elevenlabs = loop, on, on.relay, on.twilio, on.elevenlabs

    def run(self, scenario: Coroutine[Any, Any, T], within: float = 90.0) -> T:
        """Plays a scenario on the daemon's loop."""
        return self.begin(scenario).result(within)

    def begin(self, scenario: Coroutine[Any, Any, T]) -> Future[T]:
        """Begins a scenario that continues beside the test."""
        return asyncio.run_coroutine_threadsafe(scenario, self._loop)

    def until(self, condition: Callable[[], T | None], within: float = 40.0, what: str = "") -> T:
        """Returns the condition's value as soon as it is true."""
        end, pause = time.monotonic() + within, threading.Event()
        while not (found := condition()):
            assert time.monotonic() < end, what or "it did not happen"
            pause.wait(0.01)
        return found

    def call(self, method: str, path: str, **request: Any) -> Answer:
        """Makes one request, with the service token by default."""
        answer = self.run(self.stage.call(method, path, **request))
        check(method, path, answer)
        return answer

    def at_once(self, count: int, method: str, path: str, **request: Any) -> list[Answer]:
        """Makes the same request that many times at the same time."""

        async def all_of_them() -> list[Answer]:
            return list(await asyncio.gather(*(self.stage.call(method, path, **request) for _ in range(count))))

        return self.run(all_of_them())

    def report(self, content: object) -> Answer:
        """Posts a finished call as the backend does."""
        return self.call("POST", "/api/call-completed", json=content)

    def post(self, path: str, body: bytes | str, media_type: str = "application/json", **headers: str) -> Answer:
        """Posts a body as it is, with the service token."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else body.encode()
        return self.call("POST", path, data=io.BytesIO(data), headers={"Content-Type": media_type, **named})

    def form(self, path: str, fields: Mapping[str, str] | Sequence[tuple[str, str]], **changes: Any) -> Answer:
        """Posts a form as Twilio does, signed for the public address unless `signature` says otherwise."""
        body = changes.pop("body", None)
        data = urlencode(list(fields.items() if isinstance(fields, Mapping) else fields)) if body is None else body
        url = changes.pop("url", self.relay.url + path)
        signature = changes.pop("signature", sign(self.twilio.settings.auth_token, url, dict(fields)))
        headers = {"Content-Type": changes.pop("media_type", FORM), **changes.pop("headers", {})}
        if signature is not None:
            headers["X-Twilio-Signature"] = signature
        return self.call("POST", path, token=None, data=data, headers=headers, **changes)

    def raw_form(self, target: str, fields: Mapping[str, str], *signatures: str) -> int:
        """Posts a form to a target as it is written, with that many signatures; returns the status."""
        body = urlencode(fields).encode()
        lines = [f"POST {target} HTTP/1.1", "Host: relay", f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]
        lines += [f"X-Twilio-Signature: {signature}" for signature in signatures]
        return status_of(self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body))

    def inbound(self, phone: str, text: str = "Hola", **fields: str) -> dict[str, str]:
        """The fields of a customer's message."""
        content = {
            "MessageSid": new_sid(),
            "AccountSid": self.twilio.account_sid,
            "From": f"whatsapp:{phone}",
            "To": self.twilio.senders[0],
            "Body": text,
            "NumMedia": "0",
            "MessageType": "text",
        }
        return content | fields

    def webhook(self, body: bytes, *, at: float | None = None, signature: str | None = "", **more: Any) -> Answer:
        """Posts a webhook as ElevenLabs does, rightly signed unless `signature` says otherwise."""
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        if signature is not None:
            headers["ElevenLabs-Signature"] = signature or sign_webhook(body, time.time() if at is None else at)
        return self.call(
            "POST", "/webhook/elevenlabs/post-call", token=None, data=io.BytesIO(body), headers=headers, **more
        )

    def conversation(self, phone: str) -> Any:
        """The thread as the API shows it."""
        return self.call("GET", f"/api/conversations/{phone}").json

    def opened(self, phone: str, name: str | None = "Ana") -> str:
        """Makes a customer known by a call whose opening is accepted; returns the call's key."""
        key = new_key()
        answer = self.report(payload(key, phone, name=name))
        assert answer.json["status"] == "message_sent", answer.text
        return key

    def raw(self, request: bytes, within: float = 5.0) -> bytes:
        """The daemon's whole answer to these bytes, until it is complete or the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.relay.port), timeout=within) as connection:
            connection.sendall(request)
            return read_answers(connection, 1)


@contextmanager
def serving(
    folder: Path,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    twilio: TwilioStandin | None = None,
    start: bool = True,
) -> Iterator[Served]:
    """Runs a daemon between the stand-ins, on a loop in a thread of its own."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Served] = []
    faults: list[BaseException] = []

    async def play() -> None:
        async with stage(folder, settings, twilio=twilio, start=start) as on:
            found.append(Served(loop, on))
            ready.set()
            await over.wait()

    def run() -> None:
        try:
            loop.run_until_complete(play())
        except BaseException as fault:
            faults.append(fault)
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
                loop.run_until_complete(asyncio.wait([task]))
            loop.close()
            ready.set()

    thread = threading.Thread(target=run, name="stage")
    thread.start()
    ready.wait(60)
    try:
        if not found:
            raise faults[0]
        yield found[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(over.set)
        thread.join(60)


def new_phone() -> str:
    """A number that no test has used yet."""
    return f"+57310{next(_numbers):07d}"


def new_key() -> str:
    """A call's id that no test has used yet."""
    return f"conv_{next(_numbers):028d}"


def new_sid() -> str:
    """A message's SID that was not there yet."""
    return f"SM{next(_numbers):032x}"


def sign(token: str, url: str, fields: Mapping[str, str]) -> str:
    """`X-Twilio-Signature` by Twilio's rule."""
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


def sign_webhook(body: bytes, at: float | str, secret: str = SECRET) -> str:
    """`ElevenLabs-Signature` by their rule."""
    moment = at if isinstance(at, str) else str(int(at))
    return f"t={moment},v0={hmac.digest(secret.encode(), moment.encode() + b'.' + body, 'sha256').hex()}"


def read_answers(connection: socket.socket, count: int) -> bytes:
    """Returns the bytes until that many whole answers have come, or the end of the connection."""
    read = b""
    while whole_answers(read) < count:
        chunk = connection.recv(65536)
        if not chunk:
            break
        read += chunk
    return read


def whole_answers(read: bytes) -> int:
    """The number of whole answers in these bytes."""
    count = 0
    while True:
        head, mark, rest = read.partition(b"\r\n\r\n")
        if not mark:
            return count
        lines = [line.lower() for line in head.split(b"\r\n")]
        size = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(rest) < size:
            return count
        count += not lines[0].startswith(b"http/1.1 100")
        read = rest[size:]


def head_of(path: str, method: str = "POST", *, token: str | None = TOKEN, **headers: str | int) -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: relay"]
    if token is not None:
        lines.append(f"X-Service-Token: {token}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def status_of(read: bytes) -> int:
    """The status of the first answer in these bytes."""
    return int(read.split(b" ", 2)[1])


def body_of(read: bytes) -> Any:
    """The JSON of the first answer in these bytes."""
    return json.loads(read.partition(b"\r\n\r\n")[2])


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Checks that an answer is exactly the error envelope; returns what it says."""
    assert answer.status == status, (answer.status, answer.text)
    content: dict[str, Any] = answer.json
    assert list(content) == ["success", "error", "message", "fields"], content
    assert (content["success"], content["error"]) == (False, code), content
    assert isinstance(content["message"], str)
    assert content["message"]
    assert all(list(field) == ["path", "message"] for field in content["fields"]), content
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-Request-Id"]
    assert "Traceback" not in answer.text
    return content


def paths_of(content: Mapping[str, Any]) -> set[str]:
    """The paths of the fields that an error names."""
    return {field["path"] for field in content["fields"]}
