"""Identifiers: time-ordered numbers, as Span ids and as ULIDs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events import ids
from span_events.errors import InvalidRequest

PUBLISHED = {"17dh0cf43jfgl8": 0x1000400000000000, "17dh0cf43jfgl9": 0x1000400000000001}
NOW_NS = 1_780_000_000_000_000_000


@pytest.mark.parametrize(("text", "number"), PUBLISHED.items())
def test_published_ids_are_read_and_written_as_span_does(text: str, number: int) -> None:
    """Base 24, digits 0-9a-n, 14 characters for today's ids."""
    assert ids.parse(text) == number
    assert ids.render(number) == text


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_parse_inverts_render(number: int) -> None:
    """Every unsigned 64-bit number has exactly one text."""
    text = ids.render(number)

    assert ids.parse(text) == number
    assert text == "0" or not text.startswith("0")


@pytest.mark.parametrize("text", ["", "o", "17DH0CF43JFGL8", "17dh0cf43jfgl8 ", "-1", "1_0", "n" * 14, "1" * 15, "ñ"])
def test_what_is_no_id_is_refused_with_its_name(text: str) -> None:
    """Upper case, foreign digits, spaces and more than 64 bits are no ids."""
    with pytest.raises(InvalidRequest, match="not a device id"):
        ids.parse(text, what="device")


def test_ids_rise_even_when_the_clock_stands_or_goes_back() -> None:
    """More than 4096 ids in a millisecond borrow from the next one; none is repeated."""
    generator = ids.IdGenerator(node=7)
    made = [generator.next(NOW_NS) for _ in range(10_000)] + [generator.next(NOW_NS - 10**9) for _ in range(10)]

    assert made == sorted(set(made))
    assert {each & 1023 for each in made} == {7}


def test_an_id_tells_its_millisecond() -> None:
    """Ids made later sort later, and `first_at` is the smallest of its millisecond."""
    made = ids.IdGenerator().next(NOW_NS)

    assert ids.unix_ms(made) == NOW_NS // 1_000_000
    assert ids.first_at(NOW_NS // 1_000_000) <= made < ids.first_at(NOW_NS // 1_000_000 + 1)
    assert len(ids.render(made)) == 14


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_a_ulid_is_the_same_id_in_another_notation(number: int) -> None:
    """ULIDs of ours are read back exactly."""
    assert ids.from_ulid(ids.to_ulid(number)) == number


def test_ulids_sort_as_ids_do() -> None:
    """The time stands first in both."""
    generator = ids.IdGenerator()
    made = [generator.next(NOW_NS + step * 400_000) for step in range(50)]

    assert sorted(ids.to_ulid(each) for each in made) == [ids.to_ulid(each) for each in made]


@pytest.mark.parametrize("text", ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "01ARZ3NDEKTSV4RRFFQ69G5FAU"])
def test_what_is_no_ulid_is_refused(text: str) -> None:
    """26 digits of Crockford's base 32."""
    with pytest.raises(InvalidRequest, match="not a ULID"):
        ids.from_ulid(text)


def test_of_a_foreign_ulid_the_time_is_kept() -> None:
    """So that `after=` works with a ULID of another system."""
    foreign = "01M7WA4PZ1" + "Z" * 16

    assert ids.unix_ms(ids.from_ulid(foreign)) == ids.unix_ms(ids.from_ulid("01M7WA4PZ1" + "0" * 16))


@pytest.mark.parametrize(("first", "second"), [(5, 900), (900, 5)])
def test_ids_rise_when_a_process_gets_another_number(first: int, second: int) -> None:
    """A node that could not renew its lease for a day goes on with another number, from the next id on."""
    generator = ids.IdGenerator(first)
    before = [generator.next(NOW_NS) for _ in range(3)]
    generator.node = second
    after = [generator.next(NOW_NS) for _ in range(3)]

    assert before + after == sorted(set(before + after))
    assert [each % ids.NODES for each in before + after] == [first] * 3 + [second] * 3


@pytest.mark.parametrize("node", [-1, 1024])
def test_a_node_number_has_ten_bits(node: int) -> None:
    """Numbers outside would collide with those of other nodes."""
    with pytest.raises(ValueError, match="not between 0 and 1023"):
        ids.IdGenerator(node)
