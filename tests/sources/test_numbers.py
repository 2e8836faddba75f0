"""Dialled numbers as ElevenLabs and the telephony providers write them."""

from __future__ import annotations

import pytest

from wa_relay.sources.numbers import read_dialled


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("+573001112233", "+573001112233"),
        ("573001112233", "+573001112233"),
        ("57 300 111-2233", "+573001112233"),
        ("00573001112233", "+573001112233"),
        ("34600111222", "+34600111222"),
        ("5215512345678", "+5215512345678"),
        ("+5215512345678", "+5215512345678"),
    ],
)
def test_a_number_without_its_plus_is_read_as_an_international_number(written: str, read: str) -> None:
    assert read_dialled(written) == read


@pytest.mark.parametrize(
    "written", [None, "", "3001112233", "600111222", "57300", "anonymous", "573001112233x", "sip:573001112233", "+57"]
)
def test_a_number_that_no_country_has_is_not_completed(written: str | None) -> None:
    assert read_dialled(written) is None
