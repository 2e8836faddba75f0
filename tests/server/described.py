"""Checks every answer that a test gets against the API description that the daemon serves."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.e2e.stage import Answer
from wa_relay.server.openapi import description

OPERATIONS: dict[tuple[str, str], Any] = {
    (method.upper(), path): operation
    for path, item in description()["paths"].items()
    for method, operation in item.items()
}


def check(method: str, path: str, answer: Answer) -> None:
    """Checks that an answer's status is described, and that its body is as described."""
    name = template(path.partition("?")[0])
    if (method, name) not in OPERATIONS or (answer.status == 404 and answer.json["error"] == "not_found"):
        return
    responses = OPERATIONS[method, name]["responses"]
    assert str(answer.status) in responses, f"{method} {name} answers {answer.status}, which is not described"
    content = responses[str(answer.status)].get("content", {})
    media_type = answer.headers.get("Content-Type", "").partition(";")[0]
    if not content:
        assert answer.text == "" or answer.status == 200
        return
    assert media_type in content, f"{method} {name} answers {answer.status} as {media_type}"
    if media_type == "application/json":
        validator(method, name, answer.status).validate(answer.json)


def template(path: str) -> str:
    """The path as the description has it."""
    path = re.sub(r"^/api/conversations/[^/]+", "/api/conversations/{phone}", path)
    return re.sub(r"^/api/messages/[^/]+", "/api/messages/{id}", path)


@cache
def validator(method: str, name: str, status: int) -> Draft202012Validator:
    """The described body of one answer; other fields than those described are a fault, too."""
    schema = OPERATIONS[method, name]["responses"][str(status)]["content"]["application/json"]["schema"]
    return Draft202012Validator(closed(schema) | {"components": closed(description()["components"])})


def closed(schema: Any) -> Any:
    """The schema with no room for fields that it does not name."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema and schema.get("type") == "object":
        inner["additionalProperties"] = False
    return inner
