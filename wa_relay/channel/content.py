"""A template as Twilio's Content API shows it, with WhatsApp's approval."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from wa_relay.channel.transport import AccountApi
from wa_relay.model import UpstreamError

MOST_PAGES = 20
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A template. `approval` is WhatsApp's word (`approved`, `pending`, …), `places` the names of its variables."""

    name: str
    approval: str
    places: frozenset[str]
    rejection: str = ""


@dataclass(frozen=True, slots=True)
class Approved:
    """A template that WhatsApp has approved. `text` is its body, with `{{1}}` for each of its `places`."""

    content_sid: str
    name: str
    language: str
    text: str
    places: tuple[str, ...]


class Templates(AccountApi):
    """The templates of one account."""

    host = "content"
    name = "Content"

    async def find(self, content_sid: str) -> Template | None:
        """Fetches a template with its approval, None when the account does not have it.

        Raises `UpstreamError`. Source: the Content and ApprovalRequests resources.
        """
        path = f"/v1/Content/{content_sid}"
        content = await self._found(path)
        approvals = await self._found(f"{path}/ApprovalRequests") if content is not None else None
        if content is None or approvals is None:
            return None
        approval = approvals.get("whatsapp")
        whatsapp: Mapping[str, object] = approval if isinstance(approval, Mapping) else {}
        return Template(
            name=str(content.get("friendly_name") or content_sid),
            approval=str(whatsapp.get("status") or "unsubmitted"),
            places=_places(content),
            rejection=str(whatsapp.get("rejection_reason") or ""),
        )

    async def approved(self) -> tuple[Approved, ...]:
        """Fetches every approved template, by name. Raises `UpstreamError`.

        Source: the ContentAndApprovals resource.
        """
        found: list[Approved] = []
        path: str | None = "/v1/ContentAndApprovals?PageSize=100"
        for _ in range(MOST_PAGES):
            page = await self._found(path) if path else None
            if page is None:
                break
            contents, meta = page.get("contents"), page.get("meta")
            entries = contents if isinstance(contents, list) else []
            found += [_approved(entry) for entry in entries if isinstance(entry, Mapping) and _is_approved(entry)]
            following = meta.get("next_page_url") if isinstance(meta, Mapping) else None
            # The address comes from an answer: only its query is taken, never another host or path.
            query = urlsplit(following).query if isinstance(following, str) else ""
            path = f"/v1/ContentAndApprovals?{query}" if query else None
        return tuple(sorted(found, key=lambda template: (template.name, template.language)))

    async def _found(self, path: str) -> Mapping[str, object] | None:
        try:
            return await self._get(path)
        except UpstreamError as error:
            if error.status == 404:
                return None
            raise


def _is_approved(entry: Mapping[str, object]) -> bool:
    approval = entry.get("approval_requests")
    return isinstance(approval, Mapping) and str(approval.get("status") or "").lower() == "approved"


def _approved(entry: Mapping[str, object]) -> Approved:
    types = entry.get("types")
    shapes = [shape for shape in types.values() if isinstance(shape, Mapping)] if isinstance(types, Mapping) else []
    text = next((str(shape["body"]) for shape in shapes if shape.get("body")), "")
    places = set(_PLACE.findall(json.dumps(types, ensure_ascii=False)))
    return Approved(
        content_sid=str(entry.get("sid") or ""),
        name=str(entry.get("friendly_name") or entry.get("sid") or ""),
        language=str(entry.get("language") or ""),
        text=text,
        places=tuple(sorted(places, key=lambda place: (not place.isdigit(), len(place), place))),
    )


def _places(content: Mapping[str, object]) -> frozenset[str]:
    """The variables that the texts use, and those that have a sample value."""
    samples = content.get("variables")
    used = _PLACE.findall(json.dumps(content.get("types"), ensure_ascii=False))
    return frozenset(used) | frozenset(samples if isinstance(samples, Mapping) else ())
