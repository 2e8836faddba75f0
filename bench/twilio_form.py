"""Twilio's webhook for a customer's message, signed as its documentation says: independent of the product's code."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import urlencode

ACCOUNT = "AC" + "0" * 31 + "1"
TOKEN = "0123456789abcdef0123456789abcdef"
SENDER = "+14155238886"
BODY = "Hola, ¿cuánto cuesta el plan y qué incluye la instalación?"


def phone(customer: int) -> str:
    """The number of a customer, in the numbering of the seeded databases."""
    return f"+57300{customer:07d}"


def message_sid(customer: int, series: int) -> str:
    """The SID of a message: random like Twilio's, so that they spread over an index."""
    return f"SM{hashlib.blake2b(f'{series}/{customer}'.encode(), digest_size=16).hexdigest()}"


def form(customer: int, series: int) -> dict[str, str]:
    """The form of one message of a customer; `series` distinguishes the messages of several loads."""
    number, sid = phone(customer), message_sid(customer, series)
    return {
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ProfileName": f"Cliente {customer}",
        "MessageType": "text",
        "SmsSid": sid,
        "WaId": number[1:],
        "SmsStatus": "received",
        "Body": BODY,
        "To": f"whatsapp:{SENDER}",
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": sid,
        "AccountSid": ACCOUNT,
        "From": f"whatsapp:{number}",
        "ApiVersion": "2010-04-01",
    }


def signature(url: str, fields: dict[str, str]) -> str:
    """`X-Twilio-Signature` of a form that is posted to that address."""
    signed = url + "".join(name + value for name, value in sorted(fields.items()))
    return base64.b64encode(hmac.digest(TOKEN.encode(), signed.encode(), "sha1")).decode()


def request(url: str, path: str, customer: int, series: int, *, forged: bool) -> bytes:
    """The whole HTTP request of one message, its signature right or wrong."""
    fields = form(customer, series)
    body = urlencode(fields).encode()
    signed = signature(url + path, fields)
    if forged:
        signed = signature(url + path, {**fields, "Body": "another text"})
    host = url.partition("://")[2]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        f"Content-Length: {len(body)}\r\nX-Twilio-Signature: {signed}\r\nUser-Agent: TwilioProxy/1.1\r\n"
        "I-Twilio-Idempotency-Token: 3f2d7e5a-0b1c-4c55-9c3e-5a0e7d1f2b3c\r\nAccept: */*\r\n\r\n"
    )
    return head.encode() + body
