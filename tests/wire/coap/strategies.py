"""Hypothesis strategies for CoAP messages."""

from __future__ import annotations

from hypothesis import strategies as st

from span_events.wire.coap.messages import CoapMessage, Option, Options, Type

NUMBERS = st.integers(0, 65_535).filter(lambda number: number not in set(Option))
UNTYPED = st.tuples(NUMBERS, st.binary(max_size=300))
TEXT = st.tuples(st.sampled_from([8, 11, 15, 20]), st.text(max_size=60).map(str.encode))
UINTS = st.tuples(st.sampled_from([12, 17]), st.binary(max_size=2))


def in_order(options: list[tuple[int, bytes]]) -> Options:
    """Return options sorted by number; equal numbers keep their order."""
    return tuple(sorted(options, key=lambda option: option[0]))


def messages() -> st.SearchStrategy[CoapMessage]:
    """Return the strategy for well-formed messages that are not empty."""
    shape = st.sampled_from(
        [
            (Type.CON, 0),
            (Type.NON, 0),
            *((kind, group) for kind in (Type.CON, Type.NON, Type.ACK) for group in (2, 4, 5)),
        ]
    )
    return st.builds(
        lambda shape, detail, *rest: CoapMessage(shape[0], shape[1] << 5 | detail, *rest),
        shape,
        st.integers(1, 31),
        st.integers(0, 65_535),
        st.binary(max_size=8),
        st.lists(st.one_of(UNTYPED, TEXT, UINTS), max_size=6).map(in_order),
        st.binary(max_size=200),
    )
