"""An example receiver of wa-relay's alerts: verifies each one, and passes it on to Slack and by e-mail.

Standard library only. The secret is in WA_RELAY_ALERTS_SECRET; SLACK_WEBHOOK_URL and ALERT_MAIL_TO name the targets.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import os
import smtplib
import sys
import time
import urllib.request
from collections import OrderedDict, defaultdict
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("WA_RELAY_ALERTS_SECRET", "")
SLACK = os.environ.get("SLACK_WEBHOOK_URL", "")
MAIL_TO, MAIL_FROM = os.environ.get("ALERT_MAIL_TO", ""), os.environ.get("ALERT_MAIL_FROM", "wa-relay@localhost")
MAIL_SERVER = os.environ.get("ALERT_MAIL_SERVER", "localhost:25")
CONSOLE = os.environ.get("WA_RELAY_CONSOLE_URL", "")  # e.g. https://relay.example.com/console
TOLERANCE, LONGEST = 300, 65_536
HANDLED: OrderedDict[str, None] = OrderedDict()  # lost in a restart: an alert may then come twice

TEXTS = {
    "handover.wanted": "Un cliente pide hablar con una persona: {phone_number}",
    "handover.unanswered": "Un cliente espera respuesta desde {unanswered_since}: {phone_number}",
    "conversation.muted": "Una conversación quedó en silencio por una hora ({reason}): {phone_number}",
    "send.uncertain": "No se sabe si el mensaje {message_id} se envió: decídelo con wa-relay resolve",
    "account.held": "Twilio rechaza la cuenta o el remitente ({error_code}): todo está detenido",
    "sender.limited": "El remitente llegó a su límite ({error_code}): sus aperturas esperan una hora",
    "burst.held": "Hay {held} aperturas detenidas por precaución: revísalas y usa wa-relay resume",
    "template.stopped": "Twilio detuvo la plantilla {content_sid} ({error_code})",
    "agent.failing": "El agente {agent_id} falló {failures} veces seguidas",
    "poller.failing": "No se pueden leer las llamadas de ElevenLabs ({failures} intentos)",
    "webhook.failing": "Los webhooks de Twilio no llegan bien ({cause})",
    "disk.low": "Queda poco espacio en disco: {free_bytes} bytes",
}


def is_genuine(headers, body: bytes, now: float) -> bool:
    """Checks the signature and the age of a request (Standard Webhooks)."""
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(now - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(expected, one) for one in given)


def text_of(alert: dict) -> str:
    """The sentence that people read."""
    data = defaultdict(lambda: "?", {name: value for name, value in alert["data"].items() if value is not None})
    text = TEXTS.get(alert["type"], alert["type"]).format_map(data)
    if CONSOLE and "conversation_id" in data:
        text += f" {CONSOLE}/conversations/{str(data['conversation_id']).rpartition('_')[2]}"
    return text


def pass_on(text: str) -> None:
    """Sends the sentence to Slack and by e-mail; without either, prints it. Raises OSError if that fails."""
    if SLACK:
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(SLACK, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()
    if MAIL_TO:
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = f"wa-relay: {text}"[:150], MAIL_FROM, MAIL_TO
        message.set_content(text)
        with smtplib.SMTP(MAIL_SERVER, timeout=5) as server:
            server.send_message(message)
    if not SLACK and not MAIL_TO:
        print(text, flush=True)


class Receiver(BaseHTTPRequestHandler):
    """Acknowledges an alert once it has been passed on; otherwise wa-relay sends it again."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= LONGEST:
            return self.answer(413)
        body = self.rfile.read(length)
        if not is_genuine(self.headers, body, time.time()):
            return self.answer(401)
        webhook_id = self.headers["webhook-id"]
        if webhook_id not in HANDLED:
            try:
                pass_on(text_of(json.loads(body)))
            except (OSError, smtplib.SMTPException) as error:
                print(f"not passed on: {error}", file=sys.stderr, flush=True)
                return self.answer(502)
            HANDLED[webhook_id] = None
            if len(HANDLED) > 10_000:
                HANDLED.popitem(last=False)
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Logs nothing: the path and the address are of no use."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    chosen = parser.parse_args()
    if not SECRET:
        parser.error("set WA_RELAY_ALERTS_SECRET to the value of alerts.secret")
    server = ThreadingHTTPServer((chosen.host, chosen.port), Receiver)
    print(f"listens on http://{chosen.host}:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
