"""IMEI and IMEISV."""

from __future__ import annotations

import pytest

from span_events.wire import imei


@pytest.mark.parametrize(
    ("body", "digit"),
    [("35693803564380", "9"), ("49015420323751", "8"), ("35693600700028", "9"), ("00000000000000", "0")],
)
def test_the_check_digit_is_that_of_published_examples(body: str, digit: str) -> None:
    """Luhn over 14 digits (TS 23.003 annex B)."""
    assert imei.check_digit(body) == digit


@pytest.mark.parametrize("form", ["35693803564380", "356938035643800", "356938035643809", "3569380356438001"])
def test_every_form_is_the_same_imei(form: str) -> None:
    """Without a check digit, with a zero in its place, whole, and with the version of the software."""
    assert imei.canonical(form) == "356938035643809"
    assert imei.same_hardware(form, "3569380356438099")


def test_another_serial_number_is_other_hardware() -> None:
    """The fourteenth digit still counts."""
    assert not imei.same_hardware("356938035643809", "356938035643819")
