"""Twilio's codes, grouped by the reaction to them, each with a sentence for the operator who must act.

Source: Twilio's error and warning dictionary (twilio.com/docs/api/errors). Twilio assigns Meta's
codes to its own and changes that now and then: a code that is not here is final for its message.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["momentary", "wait", "message", "customer", "template", "sender", "account"]

CODES: dict[str, tuple[Kind, str]] = {
    "14107": (
        "momentary",
        "too many replies to one number in 30 s, perhaps between two machines: take the conversation "
        "over, or leave it muted",
    ),
    "20429": ("momentary", "too many requests at once: it is sent again automatically"),
    "20500": ("momentary", "Twilio had an internal error: check whether the message arrived"),
    "20503": ("momentary", "Twilio was not available: check whether the message arrived"),
    "21611": ("momentary", "the sender's queue at Twilio is full: it is sent again automatically"),
    "30001": ("momentary", "Twilio's queue overflowed: send fewer messages at once"),
    "63009": (
        "momentary",
        "WhatsApp returned an error: look at the message in Twilio's log, and send it again if it matters",
    ),
    "63010": (
        "momentary",
        "Twilio had an internal error on the way to WhatsApp: look at the message in Twilio's log, and "
        "send it again if it matters",
    ),
    "63012": (
        "momentary",
        "WhatsApp returned an internal error: look at the message in Twilio's log, and send it again if it matters",
    ),
    "63017": (
        "momentary",
        "WhatsApp's rate limit was reached: send fewer messages at once (twilio.messages_per_second)",
    ),
    "63018": (
        "momentary",
        "the rate limit of the sender, or of messages to one customer, was reached: send fewer messages "
        "at once, or ask Meta for a higher limit",
    ),
    "63019": ("momentary", "the media could not be fetched: check that its address can be reached without a login"),
    "63038": ("wait", "the account's daily message limit is reached: wait until tomorrow, or upgrade a trial account"),
    "63049": ("wait", "Meta held a marketing template back: use a utility template, or wait a day"),
    "21211": ("customer", "the number is not a valid phone number: correct it in the campaign"),
    "21408": ("message", "the country is not enabled: allow it in Twilio's messaging geographic permissions"),
    "21610": ("customer", "the customer has opted out: nothing may be sent to them"),
    "21614": ("customer", "the number is not a mobile number: call the customer, or correct it in the campaign"),
    "30003": ("customer", "the phone is off or can't be reached: try another day, or call the customer"),
    "30005": ("customer", "the number is unknown or no longer exists: correct it in the campaign"),
    "30036": (
        "message",
        "it waited at Twilio for longer than its validity: if that repeats, check Twilio's status page",
    ),
    "63003": ("customer", "the number has no WhatsApp: call the customer, or correct it in the campaign"),
    "63005": (
        "customer",
        "WhatsApp did not accept the message for this customer: call the customer, or try another day",
    ),
    "63013": (
        "message",
        "the message violates WhatsApp's policy, or a template variable is not right: check the "
        "template and content_variables",
    ),
    "63014": ("customer", "the customer has blocked the sender: do not write to them again"),
    "63015": (
        "customer",
        "the customer has not joined the sandbox, or three days have passed: ask them to send the join code",
    ),
    "63016": ("message", "outside the 24-hour window free text is refused: set content_sid to an approved template"),
    "63021": (
        "message",
        "the template with its variables is too long or malformed: shorten it or its content_variables",
    ),
    "63024": (
        "customer",
        "the number has no WhatsApp, an old version of it, or has not accepted its terms: call the "
        "customer, or correct it in the campaign",
    ),
    "63030": ("message", "a template was sent together with a body or media: report this as a bug in wa-relay"),
    "63031": ("message", "sender and receiver are the same: remove our own number from the campaign"),
    "63032": (
        "customer",
        "the customer is in one of Meta's experiments and gets no marketing messages: use a utility "
        "template, or call the customer",
    ),
    "63033": ("customer", "the customer is blocked: unblock them in Meta's Business Manager if that is a mistake"),
    "63050": (
        "customer",
        "the customer has opted out of this business's marketing messages: send them utility templates only",
    ),
    "63058": ("customer", "WhatsApp does not allow messages to this country: call the customer"),
    "21602": ("message", "the message has no text: report this as a bug in wa-relay"),
    "21603": ("message", "no sender was given: set twilio.sender"),
    "21604": ("message", "no receiver was given: report this as a bug in wa-relay"),
    "21609": ("message", "the status callback is not a valid address: correct server.public_url"),
    "21617": ("message", "the text is longer than 1,600 characters: lower reply.max_length"),
    "21620": ("message", "the media address is not valid: report this as a bug in wa-relay"),
    "21910": ("message", "sender and receiver are of different channels: twilio.sender must begin with whatsapp:"),
    "21654": (
        "message",
        "variables were sent without a template, or a trial account may send only templates: set content_sid, "
        "or upgrade",
    ),
    "21655": ("template", "there is no such template: correct content_sid"),
    "21656": ("message", "the template's variables are not right: correct content_variables"),
    "63027": (
        "template",
        "the template does not exist in this language: add the language to it in Twilio, or correct content_sid",
    ),
    "63028": ("template", "the number of template variables is not the template's: correct content_variables"),
    "63040": ("template", "the template was rejected by WhatsApp: correct it and submit it again"),
    "63041": ("template", "the template is paused for its quality: use another one"),
    "63042": ("template", "the template is disabled: use another one"),
    "20003": ("account", "Twilio refuses the credentials: correct twilio.account_sid and twilio.auth_token"),
    "20005": ("account", "the Twilio account is not active: check the Twilio console"),
    "20404": ("account", "there is no such Twilio account: correct twilio.account_sid"),
    "21701": ("account", "the messaging service does not exist: correct twilio.messaging_service_sid"),
    "21702": ("account", "the messaging service can't be used: check the Twilio console"),
    "21703": ("account", "the messaging service has no sender: add the WhatsApp sender to it"),
    "21704": (
        "account",
        "the messaging service has no sender for this country: add one to it, or correct the number in the campaign",
    ),
    "21705": ("account", "the messaging service is not valid: correct twilio.messaging_service_sid"),
    "30002": ("account", "the Twilio account is suspended: check the Twilio console"),
    "63001": ("sender", "WhatsApp refuses the sender's credentials: check the sender in the Twilio console"),
    "63002": ("sender", "WhatsApp does not know the sender: check the sender in the Twilio console"),
    "63007": ("sender", "there is no such WhatsApp sender: correct twilio.sender"),
    "63008": ("sender", "the sender is not set up for WhatsApp: check it in the Twilio console"),
    "63020": ("sender", "the invitation in Meta's Business Manager is not accepted yet: accept it"),
    "63022": ("sender", "the sender's certificate is not valid: register the sender again"),
    "63051": ("sender", "the sender or its WhatsApp account is locked: register it again, or ask Twilio"),
    "63062": ("sender", "the sender may not send at the moment: check it in the Twilio console"),
    "63112": ("account", "Meta has disabled the WhatsApp account: appeal in Meta's Business Manager"),
}


def meaning(code: str | None) -> str:
    """A sentence that says what a code means and what to do; there is one for every code."""
    if not code:
        return "Twilio gave no code"
    known = CODES.get(code)
    if known is not None:
        return known[1]
    if code == "InvalidSandboxRequest":
        return CODES["63015"][1]
    return f"code {code[:40]} is unknown: look it up in Twilio's error dictionary. The message is not sent again"
