"""`GET /openapi.json` is OpenAPI 3.1 and describes every route; every answer in these tests is checked against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.server.described import OPERATIONS
from tests.server.served import Served
from tests.server.test_routes import ASKED, POSTED
from wa_relay.server.openapi import description

OPERATORS = ("/api/conversations", "/api/messages", "/api/pause", "/api/resume")
CHANGE = {200, 400, 401, 403, 404, 413, 415, 422, 503}
EXPECTED = {
    ("POST", "/api/call-completed"): {200, 202, 400, 401, 409, 413, 415, 422, 503},
    ("POST", "/api/test-whatsapp"): {200, 400, 401, 413, 415, 422, 502, 503},
    ("POST", "/webhook/twilio/incoming"): {200, 400, 403, 413, 415, 422, 503},
    ("POST", "/webhook/twilio/status"): {204, 400, 403, 413, 415, 422, 503},
    ("POST", "/webhook/elevenlabs/post-call"): {200, 400, 403, 413, 415, 422, 503},
    ("GET", "/api/conversations/{phone}"): {200, 401, 404, 422, 503},
    ("GET", "/api/conversations"): {200, 401, 403, 422, 503},
    ("POST", "/api/conversations/{phone}/messages"): {200, 400, 401, 403, 404, 409, 413, 415, 422, 503},
    ("POST", "/api/conversations/{phone}/takeover"): CHANGE,
    ("POST", "/api/conversations/{phone}/release"): CHANGE,
    ("POST", "/api/conversations/{phone}/read"): CHANGE,
    ("POST", "/api/conversations/{phone}/opt-out"): CHANGE,
    ("POST", "/api/messages/{id}/resolve"): {200, 400, 401, 403, 404, 409, 413, 415, 422, 503},
    ("POST", "/api/pause"): {200, 401, 403, 413, 415, 503},
    ("POST", "/api/resume"): {200, 401, 403, 413, 415, 503},
    ("GET", "/api/media/{media_id}"): {200, 401, 404, 503},
    ("GET", "/api/stats"): {200, 401, 422, 503},
    ("GET", "/api/events"): {200, 401, 503},
    ("GET", "/health"): {200, 503},
    ("GET", "/metrics"): {200, 401},
    ("GET", "/openapi.json"): {200},
}


def test_the_daemon_gives_its_description_to_anyone(served: Served) -> None:
    answer = served.call("GET", "/openapi.json", token=None)
    assert answer.json == description()
    assert answer.headers["Content-Type"].startswith("application/json")


def test_it_has_the_form_of_openapi_3_1() -> None:
    document = description()
    assert set(document) == {"openapi", "info", "paths", "components"}
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert {"title", "version"} <= set(document["info"])
    for (_, path), operation in OPERATIONS.items():
        assert {"summary", "responses", "security"} <= set(operation)
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert all(p["required"] for p in operation.get("parameters", []) if p["in"] == "path")
        assert all(set(p) >= {"name", "in", "schema"} for p in operation.get("parameters", []))
        assert all(response["description"] for response in operation["responses"].values())
        for name in (scheme for wanted in operation["security"] for scheme in wanted):
            assert name in document["components"]["securitySchemes"]


def _schemas(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if "schema" in node and isinstance(node["schema"], dict):
            yield node["schema"]
        for value in node.values():
            yield from _schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from _schemas(value)


def test_each_of_its_schemas_is_one_and_each_reference_leads_somewhere() -> None:
    document = description()
    for schema in (*_schemas(document["paths"]), *document["components"]["schemas"].values()):
        Draft202012Validator.check_schema(schema)
    for name in set(re.findall(r"#/components/schemas/(\w+)", str(document))):
        assert name in document["components"]["schemas"]


def test_every_route_is_described_with_every_status() -> None:
    described = {key: {int(status) for status in one["responses"]} for key, one in OPERATIONS.items()}
    assert described == EXPECTED
    operators = {
        path for _, path in described if path.startswith(("/api/conversations", "/api/messages", "/api/pause"))
    }
    assert {path for _, path in described} == {
        *POSTED,
        *operators,
        "/api/resume",
        "/api/events",
        "/api/media/{media_id}",
        *ASKED[1:],
    }


@pytest.mark.parametrize(
    ("method", "path"), [key for key in EXPECTED if 400 in EXPECTED[key] and EXPECTED[key] is not CHANGE]
)
def test_a_route_that_needs_a_body_describes_it(method: str, path: str) -> None:
    assert OPERATIONS[method, path]["requestBody"]["required"] is True
