"""The account's set-up: WhatsApp senders, messaging services, and their webhooks. For `doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from wa_relay.channel.transport import AccountApi
from wa_relay.model import UpstreamError

PAGE_SIZE = 100
MOST_PAGES = 20


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook for incoming messages. `url` is empty without one."""

    url: str
    method: str


@dataclass(frozen=True, slots=True)
class SenderSetup:
    """A WhatsApp sender. `address` is `whatsapp:+…`, `status` Twilio's word (`ONLINE`, `OFFLINE`, …)."""

    address: str
    status: str
    hook: Hook
    offline_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceSetup:
    """A messaging service and the addresses of its WhatsApp senders.

    With `uses_sender_hook` each sender's own webhook counts, otherwise `hook`.
    """

    sid: str
    hook: Hook
    uses_sender_hook: bool
    senders: frozenset[str]


class AccountSetup(AccountApi):
    """Reads the set-up of one account. Raises `UpstreamError` from every method.

    Source: the resources Channels Senders (Messaging v2), Services and ChannelSenders (Messaging v1).
    """

    host = "messaging"
    name = "Messaging"

    async def senders(self) -> tuple[SenderSetup, ...]:
        """Lists the account's WhatsApp senders."""
        entries = await self._all("/v2/Channels/Senders", {"Channel": "whatsapp"})
        return tuple(map(_sender, entries))

    async def service(self, sid: str) -> ServiceSetup | None:
        """Fetches a messaging service with its senders; None if the account does not have it."""
        path = f"/v1/Services/{sid}"
        try:
            found = await self._get(path)
            entries = await self._all(f"{path}/ChannelSenders", {})
        except UpstreamError as error:
            if error.status == 404:
                return None
            raise
        return ServiceSetup(
            sid,
            _hook(found.get("inbound_request_url"), found.get("inbound_method")),
            found.get("use_inbound_webhook_on_number") is True,
            frozenset(str(entry.get("sender") or "") for entry in entries),
        )

    async def _all(self, path: str, query: Mapping[str, str]) -> list[Mapping[str, object]]:
        asked = {**query, "PageSize": str(PAGE_SIZE)}
        found: list[Mapping[str, object]] = []
        for _ in range(MOST_PAGES):
            page = await self._get(path, asked)
            entries, meta = page.get("senders"), page.get("meta")
            if not isinstance(entries, list):
                raise UpstreamError("Twilio's list of senders is not one")
            found += [entry for entry in entries if isinstance(entry, Mapping)]
            following = meta.get("next_page_url") if isinstance(meta, Mapping) else None
            if not isinstance(following, str) or not following:
                break
            # The address comes from an answer: only its query is taken, never another host or path.
            asked = dict(parse_qsl(urlsplit(following).query, keep_blank_values=True))
        return found


def _sender(entry: Mapping[str, object]) -> SenderSetup:
    webhook, reasons = entry.get("webhook"), entry.get("offline_reasons")
    hook = webhook if isinstance(webhook, Mapping) else {}
    return SenderSetup(
        str(entry.get("sender_id") or ""),
        str(entry.get("status") or ""),
        _hook(hook.get("callback_url"), hook.get("callback_method")),
        tuple(map(_reason, reasons)) if isinstance(reasons, list) else (),
    )


def _hook(url: object, method: object) -> Hook:
    return Hook(str(url or ""), str(method or "POST").upper())


def _reason(entry: object) -> str:
    return str(entry.get("message") or entry.get("code") or "") if isinstance(entry, Mapping) else str(entry)
