"""Parts of the API's description that its paths share."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
MAYBE_TEXT: Json = {"type": ["string", "null"]}
NUMBER: Json = {"type": ["number", "null"]}
WHOLE: Json = {"type": "integer"}
MAYBE_WHOLE: Json = {"type": ["integer", "null"]}
MOMENT: Json = {"type": "string", "format": "date-time"}
MAYBE_MOMENT: Json = {"type": ["string", "null"], "format": "date-time"}
PHONE: Json = {"type": "string", "pattern": r"^\+[1-9][0-9]{7,14}$", "examples": ["+573138539155"]}


def record(properties: Json, required: tuple[str, ...] | None = None) -> Json:
    """An object with these properties; all of them are required unless `required` names some."""
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}


def ref(name: str) -> Json:
    """A reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer(text: str, schema: Json) -> Json:
    """A response with a JSON body."""
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def errors(*statuses: int) -> Json:
    """The error responses of these statuses."""
    text = {
        400: "The body is not valid JSON, or the request is not valid HTTP",
        401: "The token is missing or wrong",
        403: "The signature does not match, the form is for another account, or the role does not allow it",
        404: "No conversation with this number, or no such message",
        409: "What is known stands against it: another phone, a closed window, quiet hours, a decided send",
        413: "The body is too large",
        415: "The body has another media type",
        422: "Fields are missing or invalid",
        502: "Twilio refused, or did not accept within 10 s",
        503: "It could not be stored within 2 s: try again",
    }
    return {str(status): answer(text[status], ref("Error")) for status in statuses}


def query(name: str, schema: Json) -> Json:
    """A parameter of the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema}
