"""The account: its state, senders and messaging services, by which `doctor` judges a set-up. Pure.

Shapes: Twilio's Account, Channels Sender (Messaging v2), Service and Channel Sender (Messaging v1) resources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MESSAGING_HOST = "https://messaging.twilio.com"


@dataclass(frozen=True, slots=True)
class Account:
    """The account. `status` is active, suspended or closed, `kind` Full or Trial."""

    status: str = "active"
    kind: str = "Full"


@dataclass(frozen=True, slots=True)
class Sender:
    """A WhatsApp sender as the Senders list shows it. Addresses may be "" (null)."""

    number: str
    status: str = "ONLINE"
    callback_url: str = ""
    callback_method: str = "POST"
    fallback_url: str = ""
    status_callback_url: str = ""
    quality: str = "HIGH"
    limit: str = "TIER_2K"
    offline_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MessagingService:
    """A messaging service. `senders` are the numbers in it."""

    sid: str
    senders: tuple[str, ...] = ()
    inbound_request_url: str = ""
    inbound_method: str = "POST"
    use_inbound_webhook_on_number: bool = False
    fallback_url: str = ""
    status_callback: str = ""
    validity_period: int = 36_000


@dataclass(slots=True)
class Registry:
    """The registered resources. `senders` None: the stand-in's own senders without the sandbox, with its webhook."""

    account: Account = field(default_factory=Account)
    senders: dict[str, Sender] | None = None
    services: dict[str, MessagingService] = field(default_factory=dict)


def sender_sid(number: str) -> str:
    """The SID of a sender, made from its digits."""
    digits = "".join(sign for sign in number if sign.isdigit())
    return "XE" + digits.rjust(32, "0")


def sender(one: Sender) -> dict[str, object]:
    """A Channels Sender resource."""
    return {
        "sid": sender_sid(one.number),
        "sender_id": one.number,
        "status": one.status,
        "configuration": {"waba_id": "100000000000001", "verification_method": "sms"},
        "webhook": {
            "callback_url": one.callback_url or None,
            "callback_method": one.callback_method,
            "fallback_url": one.fallback_url or None,
            "fallback_method": "POST",
            "status_callback_url": one.status_callback_url or None,
            "status_callback_method": "POST",
        },
        "profile": {"name": "Stand-in", "about": None, "vertical": "Other"},
        "properties": {"quality_rating": one.quality, "messaging_limit": one.limit},
        "offline_reasons": [{"code": reason, "message": reason} for reason in one.offline_reasons] or None,
        "url": f"{MESSAGING_HOST}/v2/Channels/Senders/{sender_sid(one.number)}",
    }


def service(account_sid: str, one: MessagingService, date: str) -> dict[str, object]:
    """A Service resource."""
    url = f"{MESSAGING_HOST}/v1/Services/{one.sid}"
    return {
        "sid": one.sid,
        "account_sid": account_sid,
        "friendly_name": "Stand-in",
        "date_created": date,
        "date_updated": date,
        "inbound_request_url": one.inbound_request_url or None,
        "inbound_method": one.inbound_method,
        "fallback_url": one.fallback_url or None,
        "fallback_method": "POST",
        "status_callback": one.status_callback or None,
        "sticky_sender": True,
        "validity_period": one.validity_period,
        "use_inbound_webhook_on_number": one.use_inbound_webhook_on_number,
        "usecase": "notifications",
        "url": url,
        "links": {"channel_senders": f"{url}/ChannelSenders"},
    }


def service_sender(account_sid: str, one: MessagingService, number: str, date: str) -> dict[str, object]:
    """A Channel Sender of a service."""
    sid = sender_sid(number)
    return {
        "account_sid": account_sid,
        "messaging_service_sid": one.sid,
        "sid": sid,
        "sender": number,
        "sender_type": "WhatsApp",
        "country_code": "CO",
        "date_created": date,
        "date_updated": date,
        "url": f"{MESSAGING_HOST}/v1/Services/{one.sid}/ChannelSenders/{sid}",
    }


def page(entries: Sequence[Mapping[str, object]], base: str, query: Mapping[str, str]) -> dict[str, object]:
    """One page of a list of the Messaging API. `base` is the list's absolute address; pages lead to one another."""
    size, number = max(1, int(query.get("PageSize", "50"))), int(query.get("Page", "0"))
    rest = "".join(f"&{name}={value}" for name, value in query.items() if name not in ("PageSize", "Page", "PageToken"))

    def address(of_page: int) -> str:
        return f"{base}?PageSize={size}&Page={of_page}{rest}"

    start = size * number
    return {
        "senders": list(entries[start : start + size]),
        "meta": {
            "page": number,
            "page_size": size,
            "first_page_url": address(0),
            "previous_page_url": address(number - 1) if number else None,
            "url": address(number),
            "next_page_url": address(number + 1) if start + size < len(entries) else None,
            "key": "senders",
        },
    }
