"""Asking Twilio: sending once, and looking at what it has. The official client, with our transport."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp
from twilio.base.exceptions import TwilioException
from twilio.http.response import Response
from twilio.rest import Client

from wa_relay.channel.attachments import ListedFile
from wa_relay.channel.errors import meaning
from wa_relay.channel.refusals import classify
from wa_relay.channel.transport import LARGEST_ANSWER, TWILIO, Transport, asked_pause, basic, form, host_beside
from wa_relay.config import Twilio
from wa_relay.http import Answer, AnswerTooLarge, Poster, TooLateToBegin, retry_after
from wa_relay.model import Accepted, Listed, Moment, NotSent, Outgoing, Page, SendResult, Unclear, UpstreamError
from wa_relay.phone import address, to_address

_SID = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
TYPING_TIMEOUT = 10.0
LIST_PAGE, SWEEP_PAGE, MOST_PAGES = 50, 200, 20
_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,  # refused, DNS, TLS: before the first byte of the request
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class TwilioChannel:
    """The WhatsApp senders of one Twilio account. `sender` is the default one, `further` are the others (`+57…`)."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        account_sid: str,
        auth_token: str,
        sender: str,
        messaging_service_sid: str,
        base_url: str,
        further: Sequence[str] = (),
        status_callback: str = "",
        database: str = "",
        send_timeout: float = 35.0,
        list_timeout: float = 20.0,
    ) -> None:
        self._account = account_sid
        self._base_url = base_url.rstrip("/")
        self._sender = address(sender) or ""
        self._further = tuple(further)
        self._service = messaging_service_sid
        self._callback = status_callback
        self._database = database
        self._listing = Client(account_sid, auth_token, http_client=Transport(http, base_url, total=list_timeout))
        headers = self._listing.get_headers("POST", None) | basic(account_sid, auth_token)
        self._sending = Poster(http, base_url, headers)
        self._send_timeout = send_timeout
        self._indicators = Transport(http, host_beside("messaging", base_url), total=TYPING_TIMEOUT)
        self._auth = (account_sid, auth_token)

    @classmethod
    def of(cls, http: aiohttp.ClientSession, settings: Twilio, **more: Any) -> Self:
        """The default sender that the settings name; without a `status_callback` no receipts are asked for."""
        return cls(
            http,
            account_sid=settings.account_sid,
            auth_token=settings.auth_token.reveal(),
            sender=settings.sender,
            messaging_service_sid=settings.messaging_service_sid,
            base_url=settings.base_url,
            **more,
        )

    async def send(self, message: Outgoing) -> SendResult:
        """Makes one request for one message, and says what its answer proves.

        Source: the Messages resource, and error 20500 on requests that must not be repeated.
        """
        try:
            # Not by `messages.create`: it reads the whole answer into an object, which took 5 % of a pushed call, and
            # its module takes 7 MB of memory. Nor by the client's request, whose headers and answer took 3 %.
            answer = await self._sending.post(
                f"{self._messages}.json",
                form(self._fields(message)),
                limit=LARGEST_ANSWER,
                within=self._send_timeout,
            )
        # The only errors that prove that not one byte left: all later ones leave it open.
        except _NOT_CONNECTED as error:
            return NotSent(f"no connection: {type(error).__name__}", answered=False, code=type(error).__name__)
        except TooLateToBegin:
            return NotSent("the connection came so late that every rule is asked again")
        except (aiohttp.ClientError, TimeoutError, OSError, AnswerTooLarge) as error:
            name = type(error).__name__
            return Unclear(f"the connection failed after the request had begun: {name}", name)
        except Exception as error:
            # Whatever is made of an invalid answer: the request was made.
            return Unclear(f"Twilio answered with something that is not a message: {type(error).__name__}")
        return _result(answer)

    @property
    def senders(self) -> tuple[str | None, ...]:
        """Our numbers whose inbound messages are listed; only None if a messaging service may have others."""
        # A messaging service chooses the number itself, so any number of the account may be ours.
        if self._service or not self._sender:
            return (None,)
        return (self._sender, *self._further)

    async def find(self, to: str, since: Moment, sender: str | None = None) -> tuple[Listed, ...]:
        """Every message from one of our numbers to one customer since a moment, newest first."""
        query: dict[str, object] = {"To": to_address(to), "PageSize": LIST_PAGE}
        if sender or self._sender:
            query["From"] = to_address(sender or self._sender)
        found: list[Listed] = []
        following: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._page(query, following)
            found += page.messages
            following = page.next
            oldest = page.messages[-1].created_at if page.messages else None
            if following is None or (oldest is not None and oldest < since):
                return tuple(found)
        # Not the part that was read: a send that is missing from it may be on a later page.
        raise UpstreamError(f"Twilio's list of messages to one customer does not end after {MOST_PAGES} pages.")

    async def inbound_page(self, following: str | None, sender: str | None = None) -> Page:
        """One page of what was sent to one of our numbers, newest first; to any of them if `sender` is None."""
        query: dict[str, object] = {"PageSize": SWEEP_PAGE}
        if sender is None:
            return await self._page(query, following)
        query["To"] = to_address(sender)
        page = await self._page(query, following)
        # A message to another number is not ours, whatever was asked for.
        return Page(tuple(message for message in page.messages if message.to == sender), page.next)

    async def fetch(self, sid: str) -> Listed | None:
        """Fetches one message in its present state, None if Twilio does not have it."""
        path = f"{self._messages}/{quote(sid, safe='')}.json"
        try:
            found = _listed(await self._get(path, {}))
        except UpstreamError as error:
            if error.status == 404:
                return None
            raise
        if found.sid != sid:
            raise UpstreamError("Twilio's answer is not the message. It is asked again automatically.")
        return found

    async def files_of(self, sid: str) -> tuple[ListedFile, ...]:
        """The files of one message; none if Twilio has no such message. Raises `UpstreamError`."""
        path = f"{self._messages}/{quote(sid, safe='')}/Media"
        try:
            data = await self._get(f"{path}.json", {})
        except UpstreamError as error:
            if error.status == 404:
                return ()
            raise
        entries = data.get("media_list")
        found = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
        return tuple(
            ListedFile(str(entry.get("content_type") or ""), f"{self._base_url}{path}/{entry['sid']}")
            for entry in found
            if isinstance(entry.get("sid"), str)
        )

    async def delete_media(self, sid: str) -> None:
        """Deletes the media of one message; raises `UpstreamError`."""
        folder = f"{self._messages}/{quote(sid, safe='')}/Media"
        try:
            listed = (await self._get(f"{folder}.json", {})).get("media_list")
        except UpstreamError as error:
            if error.status == 404:
                return
            raise
        for medium in listed if isinstance(listed, list) else ():
            if isinstance(medium, Mapping):
                await self._delete(f"{folder}/{quote(str(medium.get('sid')), safe='')}.json")

    async def delete_message(self, sid: str) -> None:
        """Deletes one message; raises `UpstreamError`."""
        await self._delete(f"{self._messages}/{quote(sid, safe='')}.json")

    async def show_typing(self, sid: str) -> None:
        """Shows the customer who sent that message that an answer is being written, for 25 s; marks it as read.

        Raises `UpstreamError`, and what the connection raises. Source: the Typing Indicators resource, version 2.
        """
        answer: Response = await self._indicators.request(
            "POST",
            "/v2/Indicators/Typing.json",
            data={"messageId": sid, "channel": "whatsapp"},
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            auth=self._auth,
        )
        if not 200 <= answer.status_code < 300:
            raise UpstreamError(f"Twilio answered HTTP {answer.status_code}", status=answer.status_code)

    async def check(self) -> str:
        """Asks for the account; returns its status (`active`). For `doctor`."""
        account = await self._get(f"/2010-04-01/Accounts/{self._account}.json", {})
        return str(account.get("status") or "unknown")

    @property
    def _messages(self) -> str:
        return f"/2010-04-01/Accounts/{self._account}/Messages"

    def _fields(self, message: Outgoing) -> dict[str, object]:
        fields: dict[str, object] = {"To": to_address(message.to)}
        if self._service:
            fields["MessagingServiceSid"] = self._service
        if message.sender or self._sender:
            fields["From"] = to_address(message.sender or self._sender)
        if message.message_id is not None:
            # The database's mark keeps ids apart after a restore or a new database: they begin at 1 again.
            mark = f"&d={self._database}" if self._database else ""
            fields["StatusCallback"] = f"{self._callback}?m={message.message_id}{mark}"
        # Without it Twilio may keep a message for ten hours and deliver it in the night.
        fields["ValidityPeriod"] = message.validity_seconds
        if message.content_sid:
            fields["ContentSid"] = message.content_sid
            fields["ContentVariables"] = json.dumps(dict(message.content_variables or {}), ensure_ascii=False)
        else:
            fields["Body"] = message.body or ""
        return fields

    async def _page(self, query: Mapping[str, object], following: str | None) -> Page:
        path = f"{self._messages}.json"
        if following is not None:
            # The address comes from an answer: only its query is taken, never another host or path.
            query = dict(parse_qsl(urlsplit(following).query, keep_blank_values=True))
        data = await self._get(path, query)
        entries = data.get("messages")
        if not isinstance(entries, list):
            raise UpstreamError("Twilio's list of messages is not a list. It is asked again automatically.")
        # An entry without a SID is useless: it can't be adopted, and it can't be answered once.
        messages = tuple(found for entry in entries if isinstance(entry, Mapping) and (found := _listed(entry)).sid)
        after = data.get("next_page_uri")
        return Page(messages, after if isinstance(after, str) and after else None)

    async def _delete(self, path: str) -> None:
        """Deletes a resource; one that is not there is deleted already."""
        try:
            answer: Response = await self._listing.request_async("DELETE", TWILIO + path)
        except (aiohttp.ClientError, TimeoutError, OSError, AnswerTooLarge, TwilioException) as error:
            raise UpstreamError(f"Twilio can't be reached ({type(error).__name__}).") from error
        if answer.status_code not in (200, 204, 404):
            raise _fault(answer.status_code, _json(answer.text))

    async def _get(self, path: str, query: Mapping[str, object]) -> Mapping[str, object]:
        try:
            answer: Response = await self._listing.request_async("GET", TWILIO + path, params=dict(query))
        except (aiohttp.ClientError, TimeoutError, OSError, AnswerTooLarge, TwilioException) as error:
            raise UpstreamError(
                f"Twilio can't be reached ({type(error).__name__}): check the network. It is asked again automatically."
            ) from error
        data = _json(answer.text)
        if answer.status_code != 200 or not isinstance(data, Mapping):
            raise _fault(answer.status_code, data)
        return data


def _result(answer: Answer) -> SendResult:
    """Returns what the answer to a send proves. Anything unknown leaves it open: the request was made."""
    data = _json(answer.body.decode("utf-8", "replace"))
    known: Mapping[str, object] = data if isinstance(data, Mapping) else {}
    if not 200 <= answer.status < 300:
        code = str(known.get("code") or "")
        named = code if code != str(answer.status) else ""
        message = str(known.get("message") or "")[:300]
        return classify(answer.status, named or None, message, retry_after(answer.headers))
    sid = known.get("sid")
    # A proxy's 201 with a page of its own: whether Twilio got the request is unknown.
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        return Unclear("Twilio answered without a SID")
    return Accepted(sid, str(known.get("status") or "queued"))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fault(status: int, data: object) -> UpstreamError:
    code = str(data["code"]) if isinstance(data, Mapping) and data.get("code") else None
    permanent = 400 <= status < 500 and status not in (408, 429)
    explanation = meaning(code) if code else "the answer does not come from Twilio"
    return UpstreamError(
        f"Twilio answered HTTP {status}: {explanation}.",
        permanent=permanent,
        retry_after=asked_pause(),
        status=status,
        code=code,
    )


def _listed(entry: Mapping[str, object]) -> Listed:
    code = entry.get("error_code")
    media = str(entry.get("num_media") or "0")
    sid = entry.get("sid")
    return Listed(
        sid=sid if isinstance(sid, str) else "",
        direction=str(entry.get("direction") or ""),
        to=address(str(entry.get("to") or "")) or "",
        sender=address(str(entry.get("from") or "")) or "",
        body=str(entry.get("body") or ""),
        status=str(entry.get("status") or ""),
        created_at=_moment(entry.get("date_created")),
        error_code=None if code is None else str(code),
        num_media=int(media) if media.isascii() and media.isdigit() else 0,
    )


def _moment(text: object) -> Moment | None:
    try:
        return parsedate_to_datetime(str(text)).timestamp() if text else None
    except (ValueError, TypeError, OverflowError):
        return None
