"""The REST API's tools, workspace settings and webhooks, by which `doctor` judges a set-up. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wa_relay.standins.elevenlabs.shapes import Json
from wa_relay.standins.elevenlabs.state import WorkspaceWebhook

_USAGE = {"total_calls": 0, "avg_latency_secs": 0.0}
_ACCESS = {"is_creator": True, "creator_name": "Stand-in", "creator_email": "standin@example.org", "role": "admin"}


def tool(tool_id: str, config: Mapping[str, object]) -> Json:
    """A tool of the workspace. `config` is its `tool_config`."""
    return {"id": tool_id, "tool_config": dict(config), "access_info": _ACCESS, "usage_stats": _USAGE}


def settings(webhooks: Sequence[WorkspaceWebhook]) -> Json:
    """The workspace's settings; the first post-call webhook is the one in use."""
    used = next((one.webhook_id for one in webhooks if one.post_call), None)
    return {
        "conversation_initiation_client_data_webhook": None,
        "webhooks": {"post_call_webhook_id": used, "events": ["transcript"] if used else [], "send_audio": False},
        "can_use_mcp_servers": True,
        "rag_retention_period_days": 10,
        "default_livekit_stack": "standard",
    }


def webhook(one: WorkspaceWebhook) -> Json:
    """A webhook of the workspace."""
    return {
        "name": one.name,
        "webhook_id": one.webhook_id,
        "webhook_url": one.url,
        "is_disabled": one.is_disabled,
        "is_auto_disabled": one.is_auto_disabled,
        "created_at_unix": 1_760_000_000,
        "auth_type": "hmac",
        "usage": [{"usage_type": "ConvAI Settings"}] if one.post_call else [],
        "most_recent_failure_error_code": one.failure_code,
        "most_recent_failure_timestamp": one.failed_at,
    }
