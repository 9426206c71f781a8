"""SIM and hardware of simulated devices."""

from __future__ import annotations

from span_events.simulator.cellular.modems import foreign_modem, modem_at
from span_events.wire import imei


def test_the_numbers_of_a_modem_follow_from_its_address() -> None:
    """So an event shows its device, and a later run finds its devices again."""
    modem = modem_at("127.78.0.1")

    assert modem.imsi == "001010078000001"
    assert modem.imei[:-1] == "00100078000001"


def test_check_digits_are_right() -> None:
    """The API rejects wrong ones; 15 digits each (3GPP TS 23.003 §2.2, §6.2)."""
    for modem in (modem_at("127.77.0.6"), foreign_modem()):
        assert len(modem.imsi) == len(modem.imei) == 15
        assert modem.imei[-1] == imei.check_digit(modem.imei[:14])


def test_a_foreign_modem_belongs_to_no_device() -> None:
    """No octet of an address has 9 hundreds, and repetitions are rare."""
    made = {foreign_modem() for _ in range(100)}

    assert {each.imsi[6] for each in made} == {each.imei[5] for each in made} == {"9"}
    assert len(made) > 95
