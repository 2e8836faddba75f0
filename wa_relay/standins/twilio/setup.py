"""The routes that `doctor` asks: account, senders, messaging services, templates and their approval."""

from __future__ import annotations

from collections.abc import Mapping

from wa_relay.standins.twilio import registry, shapes
from wa_relay.standins.twilio.registry import Sender
from wa_relay.standins.twilio.settings import Stage
from wa_relay.standins.twilio.state import SANDBOX, Template

Found = dict[str, object] | None
"""The resource, None for 404."""


class Setup:
    """Answers for one account. `parts` are what a path names."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def account(self) -> Found:
        """The account."""
        account = self._stage.registry.account
        return shapes.account(self._stage.account_sid, self._stage.clock(), account.status, account.kind)

    def senders(self, path: str, query: Mapping[str, str]) -> Found:
        """A page of the WhatsApp senders."""
        entries = [registry.sender(one) for one in self._senders()]
        return registry.page(entries, self._stage.url + path, query)

    def sender(self, sid: str) -> Found:
        """One sender."""
        return next((registry.sender(one) for one in self._senders() if registry.sender_sid(one.number) == sid), None)

    def service(self, sid: str) -> Found:
        """A messaging service."""
        one = self._stage.registry.services.get(sid)
        return registry.service(self._stage.account_sid, one, self._date()) if one else None

    def service_senders(self, sid: str, path: str, query: Mapping[str, str]) -> Found:
        """A page of the senders in a service."""
        one = self._stage.registry.services.get(sid)
        if one is None:
            return None
        entries = [
            registry.service_sender(self._stage.account_sid, one, number, self._date()) for number in one.senders
        ]
        return registry.page(entries, self._stage.url + path, query)

    def contents(self, *, approvals: bool) -> Found:
        """All templates."""
        templates = list(self._stage.world.templates.values())
        return shapes.contents(self._stage.account_sid, templates, self._stage.clock(), approvals=approvals)

    def content(self, sid: str) -> Found:
        """A template."""
        template = self._template(sid)
        return shapes.content(self._stage.account_sid, template, self._stage.clock()) if template else None

    def approval(self, sid: str) -> Found:
        """Meta's approval of a template."""
        template = self._template(sid)
        return shapes.approval(self._stage.account_sid, template) if template else None

    def _template(self, sid: str) -> Template | None:
        return self._stage.world.templates.get(sid)

    def _senders(self) -> list[Sender]:
        stage = self._stage
        if stage.registry.senders is not None:
            return list(stage.registry.senders.values())
        webhook = stage.settings.webhook_url
        return [Sender(number, callback_url=webhook) for number in stage.senders if number != SANDBOX]

    def _date(self) -> str:
        return shapes.iso(self._stage.clock())
