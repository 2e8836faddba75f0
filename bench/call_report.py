"""The report of a campaign backend after a call: to the relay, and to the Node service of the comparison."""

from __future__ import annotations

import json

from bench.twilio_form import phone

TOKEN = "bench-token-0123456789abcdef"
PATH = "/api/call-completed"


def call_request(customer: int, series: int) -> bytes:
    """The whole HTTP request that reports one call to the relay."""
    return _request(
        {
            "batch_id": "btcal_bench",
            "agent_id": "agent_4701k8fcsvhaes5s1h6tw894g98s",
            "agent_name": "Valentina",
            "batch_name": "Campaña Octubre",
            "recipient": {
                "id": f"rcpt_{series}_{customer}",
                "phone_number": phone(customer),
                "status": "completed",
                "conversation_id": f"conv_{series}_{customer}",
                "variables": {},
            },
            "call_metadata": {"client_name": "Ana García", "client_id": str(customer), "group_name": "Bogotá"},
        }
    )


def peer_call_request(customer: int, series: int) -> bytes:
    """The same call in the shape that the Node service takes."""
    return _request(
        {
            "phone": phone(customer),
            "name": "Ana García",
            "call_id": f"conv_{series}_{customer}",
            "campaign": "Campaña Octubre",
            "outcome": "completed",
        }
    )


def _request(payload: object) -> bytes:
    body = json.dumps(payload, ensure_ascii=False).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: relay.example.com\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Service-Token: {TOKEN}\r\nUser-Agent: axios/1.7\r\nAccept: */*\r\n\r\n"
    )
    return head.encode() + body
