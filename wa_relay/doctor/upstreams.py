"""What a failed question to one of the two services means for a person."""

from __future__ import annotations

from wa_relay.doctor.check import Check
from wa_relay.model import UpstreamError
from wa_relay.text.safe import one_line


def failed(name: str, service: str, error: UpstreamError, *, credentials: str, address: str) -> Check:
    """The finding for an error: `credentials` and `address` are the keys of the configuration to look at."""
    if error.status in (401, 403):
        refused = "refuses the credentials" if error.status == 401 else "does not allow this with these credentials"
        return Check(name, "fail", f"{service} {refused} (HTTP {error.status})", f"correct {credentials}")
    if error.status is None:
        return Check(name, "fail", one_line(error.message.partition(": ")[0]), f"check the network, and {address}")
    if error.status == 429 or error.status >= 500:
        fix = f"try again later; if it persists, check the status page of {service}"
        return Check(name, "fail", f"{service} responds with HTTP {error.status}", fix)
    return Check(name, "fail", one_line(error.message).rstrip("."), f"correct {credentials} and {address}")
