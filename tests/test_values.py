"""Quick values behave as other frozen dataclasses, but for assignments at run time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from span_events.values import quick


@quick
@dataclass(frozen=True, slots=True)
class Reading:
    """A value of a hot path."""

    device: int
    octets: bytes = b""
    tags: list[str] = field(default_factory=list, compare=False)
    unit: str | None = field(default=None, kw_only=True)


def test_a_quick_value_has_its_attributes_and_defaults() -> None:
    reading = Reading(7, b"21", unit="C")

    assert (reading.device, reading.octets, reading.unit) == (7, b"21", "C")
    assert Reading(7).tags == []
    assert Reading(7).tags is not Reading(7).tags


def test_quick_values_compare_hash_and_are_replaced_like_others() -> None:
    assert Reading(7, unit="C") == Reading(7, unit="C") != Reading(8, unit="C")
    assert len({Reading(7), Reading(7, b"")}) == 1
    assert replace(Reading(7), unit="C") == Reading(7, unit="C")
    assert repr(Reading(7)) == "Reading(device=7, octets=b'', tags=[], unit=None)"


def test_the_constructor_of_a_quick_value_rejects_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="colour"):
        Reading(7, colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Reading(7, b"", [], "C")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="device"):
        Reading()  # type: ignore[call-arg]
