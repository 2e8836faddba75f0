"""The error of a refused request, and if the request is worth another try."""

from __future__ import annotations

import json

import pytest

from wa_relay.elevenlabs.refusals import refusal
from wa_relay.elevenlabs.uploads import refuses_account
from wa_relay.model import UpstreamError

SPEECH = "POST /v1/speech-to-text"


def refused(request: str, status: int, code: str) -> UpstreamError:
    body = json.dumps({"detail": {"code": code, "status": code, "message": "no"}}).encode()
    return refusal(request, status, {}, body, secret="sk_secret")


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_used_up_quota_is_a_matter_of_the_plan_whatever_the_status(status: int) -> None:
    assert refused(SPEECH, status, "quota_exceeded").message.endswith("see the plan and the credit of the account")


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (401, "missing_permissions")])
def test_a_key_that_may_not_transcribe_is_given_speech_to_text(status: int, code: str) -> None:
    assert "give it Speech to Text" in refused(SPEECH, status, code).message


def test_a_key_that_may_not_upload_is_given_the_permission_of_agents() -> None:
    assert "convai_write" in refused("POST /v1/convai/conversations/conv_1/files", 403, "forbidden").message


@pytest.mark.parametrize(
    ("status", "code", "account"),
    [
        (401, "invalid_api_key", True),
        (402, "payment_required", True),
        (403, "missing_permissions", True),
        (429, "quota_exceeded", True),
        (429, "system_busy", False),
        (400, "invalid_audio", False),
        (422, "validation_error", False),
        (500, "internal_error", False),
    ],
)
def test_key_plan_permission_and_quota_are_the_accounts_and_the_rest_is_not(
    status: int, code: str, account: bool
) -> None:
    assert refuses_account(refused(SPEECH, status, code)) is account
