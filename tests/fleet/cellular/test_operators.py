"""Countries and networks by their codes."""

from __future__ import annotations

import pytest

from span_events.fleet.cellular import operators as mcc
from span_events.fleet.cellular.operators import Country, country_of, network_name


@pytest.mark.parametrize(
    ("code", "country"),
    [
        ("242", Country("NO", "Norway")),
        ("208", Country("FR", "France")),
        ("310", Country("US", "United States")),
        ("316", Country("US", "United States")),
        ("520", Country("TH", "Thailand")),
        ("655", Country("ZA", "South Africa")),
        ("001", None),
        ("901", None),
        ("999", None),
        ("", None),
    ],
)
def test_a_country_has_one_or_more_codes(code: str, country: Country | None) -> None:
    """Test networks (001, 999) and satellites (901) have no country."""
    assert country_of(code) == country


def test_the_table_is_well_formed() -> None:
    """Three digits from 2 to 7 on, two capital letters, and one name for the same letters."""
    assert len(mcc._COUNTRIES) > 200
    assert all(len(code) == 3 and code.isdecimal() and "2" <= code[0] <= "7" for code in mcc._COUNTRIES)
    assert all(len(each.code) == 2 and each.code.isupper() for each in mcc._COUNTRIES.values())
    assert len({each.code for each in mcc._COUNTRIES.values()}) == len(set(mcc._COUNTRIES.values()))
    assert {code[:3] for code in mcc._NETWORKS} <= mcc._COUNTRIES.keys()


def test_only_some_networks_have_a_name() -> None:
    """Zeros count: 242-01 and 242-001 differ."""
    assert network_name("242", "01") == "Telenor"
    assert network_name("242", "001") == ""
    assert network_name("001", "01") == ""
