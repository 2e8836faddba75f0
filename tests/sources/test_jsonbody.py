"""Our own routes read a body in one way only, or refuse it."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.model import PayloadError
from wa_relay.sources.jsonbody import parse_object


def refusal(body: bytes) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        parse_object(body)
    assert caught.value.code == "invalid_json"
    return caught.value


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"123", b"true", b"NaN", b"9" * 5000, b"{", b"{} {}"])
def test_a_body_that_is_not_an_object_is_refused(body: bytes) -> None:
    assert "must be" in refusal(body).message or "must have" in refusal(body).message


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"])
def test_a_body_that_is_nested_too_deep_is_refused(body: bytes) -> None:
    assert refusal(body).message == "JSON is nested too deeply"


def test_ordinary_nesting_is_accepted() -> None:
    depth = 40
    assert parse_object(b'{"a":' + b"[" * depth + b"]" * depth + b"}")


def test_a_key_that_comes_twice_is_never_chosen_from() -> None:
    assert refusal(b'{"phone":"+571","phone":"+572"}').message == 'duplicate key "phone"'
    inner = refusal(b'{"recipient":{"x":[{"a":1,"a":1}]}}')
    assert inner.fields == (("recipient.x.0", 'duplicate key "a"'),)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "-" + "9" * 41])
def test_a_number_that_nothing_holds_is_refused_by_its_field(number: str) -> None:
    assert refusal(f'{{"recipient":{{"n":{number}}}}}'.encode()).fields[0][0] == "recipient.n"


@pytest.mark.parametrize(
    "body", [b'{"a":"\xff"}', '{"a":1}'.encode("utf-16"), b'{"a":"\\ud800"}', b'{"\\ud800":1}', b'{"a\\u0000":1}']
)
def test_text_that_is_not_utf8_is_refused(body: bytes) -> None:
    refusal(body)


def test_a_byte_order_mark_is_accepted_and_nuls_are_removed() -> None:
    assert parse_object(b'\xef\xbb\xbf{"name":"A\\u0000na","emoji":"\\ud83d\\ude00"}') == {"name": "Ana", "emoji": "😀"}


@given(st.binary(max_size=60))
def test_whatever_comes_ends_in_an_object_or_a_refusal(body: bytes) -> None:
    with suppress(PayloadError):
        assert isinstance(parse_object(body), dict)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abcdé", max_size=3), values, max_size=4))
def test_honest_json_comes_out_as_it_went_in(content: dict[str, object]) -> None:
    assert parse_object(json.dumps(content).encode()) == content
