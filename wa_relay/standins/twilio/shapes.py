"""Twilio's answers as JSON: messages, pages, errors, media, templates. Pure.

The order of keys and the types are those of real answers: numbers of segments and media are texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate

from wa_relay.model import Moment
from wa_relay.standins.twilio.state import Medium, Message, Template

VERSION = "2010-04-01"
CONTENT_HOST = "https://content.twilio.com"


def date(moment: Moment | None) -> str | None:
    """RFC 2822 in UTC, whole seconds."""
    return None if moment is None else formatdate(int(moment))[:-5] + "+0000"


def account_path(account_sid: str) -> str:
    """The path below which all of an account lies."""
    return f"/{VERSION}/Accounts/{account_sid}"


def message(account_sid: str, one: Message) -> dict[str, object]:
    """A Message resource."""
    path = f"{account_path(account_sid)}/Messages/{one.sid}"
    numeric = isinstance(one.error_code, int)
    return {
        "body": one.body,
        "num_segments": "0" if one.sender is None else "1",
        "direction": one.direction,
        "from": one.sender,
        "date_updated": date(one.updated_at),
        "price": None,
        "error_message": one.error_message,
        "uri": f"{path}.json",
        "account_sid": account_sid,
        "num_media": str(len(one.media)),
        "to": one.to,
        "date_created": date(one.created_at),
        "status": one.status,
        "sid": one.sid,
        "date_sent": date(one.sent_at),
        "messaging_service_sid": one.service,
        "error_code": one.error_code if numeric else None,
        "price_unit": None,
        "api_version": VERSION,
        "subresource_uris": {"media": f"{path}/Media.json"},
    }


def error(status: int, code: int, text: str) -> dict[str, object]:
    """The body of a refusal; `status` is the HTTP status."""
    return {"code": code, "message": text, "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status}


def account(account_sid: str, now: Moment, status: str = "active", kind: str = "Full") -> dict[str, object]:
    """An Account resource."""
    path = account_path(account_sid)
    return {
        "auth_token": "hidden",
        "date_created": date(now),
        "date_updated": date(now),
        "friendly_name": "stand-in",
        "owner_account_sid": account_sid,
        "sid": account_sid,
        "status": status,
        "subresource_uris": {"messages": f"{path}/Messages.json"},
        "type": kind,
        "uri": f"{path}.json",
    }


def medium(account_sid: str, one: Message, file: Medium) -> dict[str, object]:
    """A Media resource."""
    return {
        "sid": file.sid,
        "account_sid": account_sid,
        "parent_sid": one.sid,
        "content_type": file.content_type,
        "date_created": date(one.created_at),
        "date_updated": date(one.created_at),
        "uri": f"{account_path(account_sid)}/Messages/{one.sid}/Media/{file.sid}.json",
    }


def media_page(account_sid: str, one: Message) -> dict[str, object]:
    """All Media of a message, on one page."""
    uri = f"{account_path(account_sid)}/Messages/{one.sid}/Media.json?PageSize=50&Page=0"
    files = [medium(account_sid, one, file) for file in one.media]
    return {
        "first_page_uri": uri,
        "end": max(0, len(files) - 1),
        "media_list": files,
        "previous_page_uri": None,
        "uri": uri,
        "page_size": 50,
        "start": 0,
        "next_page_uri": None,
        "page": 0,
    }


def content(account_sid: str, template: Template, now: Moment) -> dict[str, object]:
    """A Content resource."""
    url = f"{CONTENT_HOST}/v1/Content/{template.sid}"
    return {
        "language": template.language,
        "date_updated": iso(now),
        "variables": template.variables,
        "friendly_name": template.name,
        "account_sid": account_sid,
        "url": url,
        "sid": template.sid,
        "date_created": iso(now),
        "types": _types(template),
        "links": {
            "approval_fetch": f"{url}/ApprovalRequests",
            "approval_create": f"{url}/ApprovalRequests/whatsapp",
        },
    }


def _types(template: Template) -> dict[str, object]:
    if not template.buttons:
        return {"twilio/text": {"body": template.body}}
    actions = [{"title": text, "id": text, "type": "QUICK_REPLY"} for text in template.buttons]
    return {"twilio/quick-reply": {"body": template.body, "actions": actions}}


def approval(account_sid: str, template: Template) -> dict[str, object]:
    """Meta's approval of a template."""
    return {
        "url": f"{CONTENT_HOST}/v1/Content/{template.sid}/ApprovalRequests",
        "whatsapp": _whatsapp(template),
        "account_sid": account_sid,
        "sid": template.sid,
    }


def contents(account_sid: str, templates: Sequence[Template], now: Moment, *, approvals: bool) -> dict[str, object]:
    """All templates, on one page; with their approvals if asked for."""
    entries = [content(account_sid, template, now) for template in templates]
    if approvals:
        for entry, template in zip(entries, templates, strict=True):
            entry["approval_requests"] = _whatsapp(template)
            del entry["links"], entry["url"]
    uri = f"{CONTENT_HOST}/v1/{'ContentAndApprovals' if approvals else 'Content'}?PageSize=50&Page=0"
    meta: dict[str, object] = {
        "page": 0,
        "page_size": 50,
        "first_page_url": uri,
        "previous_page_url": None,
        "url": uri,
        "next_page_url": None,
        "key": "contents",
    }
    return {"meta": meta, "contents": entries}


def encoded(body: Mapping[str, object]) -> bytes:
    """JSON in UTF-8, as it goes over the wire."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _whatsapp(template: Template) -> dict[str, object]:
    return {
        "category": template.category,
        "status": template.approval,
        "name": template.name,
        "type": "whatsapp",
        "content_type": "twilio/text",
        "allow_category_change": True,
        "rejection_reason": "",
    }


def iso(moment: Moment) -> str:
    """ISO 8601 in UTC, whole seconds."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
