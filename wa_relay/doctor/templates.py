"""The templates: approved, with the variables that the configuration fills in, and not stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wa_relay.channel.content import Template, Templates
from wa_relay.config import Config
from wa_relay.doctor.check import Check, ask
from wa_relay.doctor.service_failures import unreadable
from wa_relay.model import UpstreamError
from wa_relay.reports.figures import StoppedTemplate
from wa_relay.text.escaping import one_line

IN_CONSOLE = "Twilio console, Messaging, Content Template Builder"
WAITING = frozenset({"received", "pending"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A template of the configuration: the keys that name it, each with the variables that go with it."""

    content_sid: str
    uses: tuple[tuple[str, Mapping[str, str]], ...]

    @property
    def name(self) -> str:
        """The name of its check."""
        return self.uses[0][0]


def wanted(config: Config) -> list[Wanted]:
    """Returns the templates that the configuration names, each once."""
    uses: dict[str, list[tuple[str, Mapping[str, str]]]] = {}
    for outcome, opening in config.opening.messages.items():
        if opening.content_sid:
            uses.setdefault(opening.content_sid, []).append((f"opening.{outcome}", opening.content_variables))
    if config.reply.reopen_content_sid:
        use = ("reply.reopen", config.reply.reopen_content_variables)
        uses.setdefault(config.reply.reopen_content_sid, []).append(use)
    return [Wanted(sid, tuple(found)) for sid, found in uses.items()]


async def examine(api: Templates, config: Config, stopped: Sequence[StoppedTemplate], end: float) -> list[Check]:
    """Asks Twilio until the loop's time is `end`."""
    holds = {hold.content_sid: hold for hold in stopped}
    return list(
        await asyncio.gather(*(_check_template(api, each, holds.get(each.content_sid), end) for each in wanted(config)))
    )


def stopped_only(config: Config, stopped: Sequence[StoppedTemplate], why: str) -> list[Check]:
    """The facts about templates that are known without Twilio; `why` explains why Twilio is not asked."""
    holds = {hold.content_sid: hold for hold in stopped}
    return [
        _stopped(each, holds[each.content_sid]) if each.content_sid in holds else Check(each.name, "skipped", why)
        for each in wanted(config)
    ]


async def _check_template(api: Templates, asked: Wanted, stopped: StoppedTemplate | None, end: float) -> Check:
    try:
        found = await ask(api.find(asked.content_sid), "Twilio", end)
    except UpstreamError as error:
        return _stopped(asked, stopped) if stopped else unreadable(asked.name, "Twilio", error, IN_CONSOLE)
    if found is None:
        message = f"the account has no template {asked.content_sid}"
        return Check(asked.name, "fail", message, f"correct {_keys(asked)}")
    judged = judge(asked, found)
    return _stopped(asked, stopped) if stopped and not judged.found else judged


def _stopped(asked: Wanted, hold: StoppedTemplate) -> Check:
    why = f": {one_line(hold.meaning)}" if hold.meaning else ""
    message = f"the template {asked.content_sid} is stopped since {hold.since} (code {one_line(hold.code)}{why})"
    return Check(asked.name, "fail", message, f"correct it, then run: wa-relay resume --template {asked.content_sid}")


def judge(asked: Wanted, template: Template) -> Check:
    """Checks if a template can be sent: its approval, and its variables beside those of the configuration."""
    called, approval = f"the template {one_line(template.name)}", template.approval.lower()
    if approval in WAITING:
        fix = "wait for the approval: until then WhatsApp refuses it"
        return Check(asked.name, "fail", f"{called} is still being reviewed by WhatsApp", fix)
    if approval in ("paused", "disabled"):
        fix = f"see its quality in the {IN_CONSOLE}, or set {_keys(asked)} to another one"
        return Check(asked.name, "fail", f"{called} is {approval} by WhatsApp", fix)
    if approval != "approved":
        why = f" ({one_line(template.rejection)})" if template.rejection else ""
        fix = f"submit it for approval in the {IN_CONSOLE}, or set {_keys(asked)} to another one"
        return Check(asked.name, "fail", f"{called} is not approved: {one_line(template.approval)}{why}", fix)
    for key, variables in asked.uses:
        if fault := _variables_fault(asked.name, key, called, template, variables):
            return fault
    return Check(asked.name, "ok", f"{called} is approved")


def _variables_fault(
    name: str, key: str, called: str, template: Template, variables: Mapping[str, str]
) -> Check | None:
    fix = f"correct {key}{'_' if key == 'reply.reopen' else '.'}content_variables"
    if too_many := sorted(set(variables) - template.places):
        message = f"{called} has no variable {one_line(', '.join(too_many))}: Twilio refuses such a message (21656)"
        return Check(name, "fail", message, fix)
    if missing := sorted(template.places - set(variables)):
        message = f"{called} also needs {one_line(', '.join(missing))}: customers would read its sample values"
        return Check(name, "fail", message, fix)
    return None


def _keys(asked: Wanted) -> str:
    return " and ".join(f"{key}{'_' if key == 'reply.reopen' else '.'}content_sid" for key, _ in asked.uses)
