"""Numbers as programs write them, as people type them, and as logs show them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wa_relay import phone

NUMBERS = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True)


@pytest.mark.parametrize(
    "typed",
    [
        "+573138539155",
        "573138539155",
        "whatsapp:+573138539155",
        "WhatsApp: +57 313 853 9155",
        "whatsapp:573138539155",
        "+57 313 853 9155",
        "+57-313-853-9155",
        " +57 (313) 853.91.55 ",
        "57 313 8539155",
        "0057 313 8539155",
        "+57\u00a0313\u2009853\u202f9155",
        "+57\u2011313\u2013853\u22129155",
        "\u202a+57 313 853 9155\u202c",
    ],
)
def test_a_number_is_read_as_people_type_it(typed: str) -> None:
    assert phone.parse(typed) == "+573138539155"


@pytest.mark.parametrize(
    "typed",
    [
        *("", "+", "ana", "+57", "12", "3001112233", "+0573138539155", "+5731385391551234567", "+57 313 853 915x"),
        *("++573138539155", "+٥٧٣١٣٨٥٣٩١٥٥", "whatsapp:", "CO.", "co.1A2b", "573138539155,573138539156"),
        "+57/3138539155",
    ],
)
def test_a_number_without_its_country_code_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="country code"):
        phone.parse(typed)


@example("+999123456789")
@example("+3412345678")
@given(NUMBERS)
def test_every_number_that_a_backend_may_report_can_be_asked_for(number: str) -> None:
    assert phone.e164(number) == number
    assert phone.parse(number) == number
    assert phone.parse(f"whatsapp:{number}") == number
    assert phone.address(phone.to_address(number)) == number


@pytest.mark.parametrize("user", ["CO.1A2b3C", "US.ENT.x9", "ES.1000200030004000"])
def test_a_customer_who_hides_the_number_has_a_bsuid(user: str) -> None:
    assert phone.parse(user) == phone.parse(f"whatsapp:{user}") == phone.address(f"whatsapp:{user}") == user
    assert phone.mask(user) == f"{user[:3]}•••••••"


@pytest.mark.parametrize(
    "text",
    [
        "+1234567",
        "+0123456789",
        "+1234567890123456",
        "573138539155",
        "+57 3138539155",
        "+573138539155\n",
        "+５73138539155",
    ],
)
def test_e164_is_checked_to_the_letter(text: str) -> None:
    assert phone.e164(text) is None


@pytest.mark.parametrize(
    "text", ["+573138539155", "whatsapp:573138539155", "whatsapp:+57313 ", "sms:+573138539155", "whatsapp:co.1", ""]
)
def test_an_address_is_twilios_own(text: str) -> None:
    assert phone.address(text) is None


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+573138539155", "+57•••••••55"),
        ("+14155238886", "+1•••••••86"),
        ("+50688887777", "+506•••••••77"),
        ("573138539155", "•••••••"),
        ("Ana", "•••••••"),
        ("", "•••••••"),
    ],
)
def test_a_mask_shows_the_country_and_the_last_two_digits(number: str, masked: str) -> None:
    assert phone.mask(number) == masked


@given(st.one_of(NUMBERS, st.text()))
def test_a_mask_shows_at_most_five_digits(number: str) -> None:
    assert sum(character.isdigit() for character in phone.mask(number)) <= 5


@pytest.mark.parametrize(
    ("number", "other"),
    [
        ("+525512345678", "+5215512345678"),
        ("+541123456789", "+5491123456789"),
        ("+551187654321", "+5511987654321"),
    ],
)
def test_a_mobile_of_mexico_argentina_or_brazil_has_two_spellings(number: str, other: str) -> None:
    assert (phone.other_spelling(number), phone.other_spelling(other)) == (other, number)


@pytest.mark.parametrize("number", ["+573138539155", "+34600111222", "+551133334444", "+52551234567", "CO.1A2b"])
def test_any_other_number_has_one_spelling(number: str) -> None:
    assert phone.other_spelling(number) is None
