"""Network addresses."""

from __future__ import annotations

import pytest

from span_events.net import neighbourhood_of


@pytest.mark.parametrize(
    ("host", "neighbour", "stranger"),
    [("10.0.0.1", "10.0.0.254", "10.0.1.1"), ("2001:db8:0:1ff::1", "2001:db8:0:100::2", "2001:db8:0:200::1")],
)
def test_a_neighbourhood_is_a_24_or_a_56(host: str, neighbour: str, stranger: str) -> None:
    """IPv4 and IPv6."""
    assert neighbourhood_of(host) == neighbourhood_of(neighbour) != neighbourhood_of(stranger)
