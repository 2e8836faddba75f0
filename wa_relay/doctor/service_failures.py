"""Explains a failed question to one of the two services."""

from __future__ import annotations

from wa_relay.doctor.check import Check
from wa_relay.model import UpstreamError
from wa_relay.text.escaping import one_line


def failed(name: str, service: str, error: UpstreamError, *, credentials: str, address: str) -> Check:
    """The finding for an error: `credentials` and `address` are the keys of the configuration to look at."""
    if error.status in (401, 403):
        refused = "refuses the credentials" if error.status == 401 else "does not allow this with these credentials"
        message = f"{service} {refused} (HTTP {error.status})"
        return Check(name, "fail", message, f"correct {credentials}", cause="credentials")
    if error.status is None:
        message = one_line(error.message.partition(": ")[0])
        return Check(name, "fail", message, f"check the network, and {address}", cause="service")
    if error.status == 429 or error.status >= 500:
        fix = f"try again later; if it persists, check the status page of {service}"
        return Check(name, "fail", f"{service} responds with HTTP {error.status}", fix, cause="service")
    message = one_line(error.message).rstrip(".")
    return Check(name, "fail", message, f"correct {credentials} and {address}", cause="credentials")


def unreadable(name: str, service: str, error: UpstreamError, where: str) -> Check:
    """Returns a check that can't be made because the service hides what it needs; `where` the user finds it."""
    why = f"HTTP {error.status}" if error.status else one_line(error.message.partition(": ")[0])
    return Check(name, "skipped", f"can't be read from {service} ({why}); look here: {where}")
