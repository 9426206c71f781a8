"""
Invariant: a request of The Things Stack's API is decoded, or refused with `UndecodableRequest` or `StatusError`.

A decoded one names only entities with a valid id, and echoes the known fields of what it was given.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from span_events.dialects.things_stack.errors import StatusError, UndecodableRequest
from span_events.dialects.things_stack.requests import StreamRequest, of_document, of_json, of_protobuf
from span_events.proto import things_stack_pb2 as pb

ID: Final = re.compile("[a-z0-9-]{2,36}")
WORDS: Final = (
    *("identifiers", "tail", "after", "names", "application_ids", "applicationIds", "device_ids", "gateway_ids"),
    *(
        "user_ids",
        "application_id",
        "device_id",
        "gateway_id",
        "user_id",
        "eui",
        "dev_eui",
        "app1",
        "2024-01-01T00:00:00Z",
    ),
)
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=12,
)


def check(request: StreamRequest) -> None:
    """Check a decoded request."""
    assert request.entities
    assert len(request.entities) == len(request.identifiers)
    assert all(ID.fullmatch(each.id) for each in request.entities)
    assert all(ID.fullmatch(each.application) for each in request.entities if each.kind == "device")
    assert 0 <= request.tail < 1 << 32
    orjson.dumps(request.identifiers)


@given(st.binary(max_size=500))
def test_garbage_is_refused(octets: bytes) -> None:
    """Any octets, as JSON and as protobuf."""
    with suppress(UndecodableRequest, StatusError):
        check(of_json(octets))
    with suppress(DecodeError, UndecodableRequest, StatusError):
        check(of_protobuf(pb.StreamEventsRequest.FromString(octets)))


@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=4))
def test_wrong_documents_are_refused(document: dict[str, Any]) -> None:
    """Known words in unknown places."""
    with suppress(UndecodableRequest, StatusError):
        check(of_document(document))


@given(
    st.lists(
        st.builds(
            lambda application, device: {
                "device_ids": {"device_id": device, "application_ids": {"application_id": application}}
            },
            st.from_regex("[a-z0-9](-?[a-z0-9]){2,11}", fullmatch=True),
            st.from_regex("[a-z0-9](-?[a-z0-9]){2,11}", fullmatch=True),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**32 - 1),
    st.lists(st.text(max_size=20), max_size=3),
)
def test_json_and_protobuf_are_the_same_request(identifiers: list[dict[str, Any]], tail: int, names: list[str]) -> None:
    by_json = of_document({"identifiers": identifiers, "tail": tail, "names": names})
    by_protobuf = of_protobuf(pb.StreamEventsRequest(identifiers=identifiers, tail=tail, names=names))

    assert by_json == by_protobuf
    assert by_json.identifiers == by_protobuf.identifiers == identifiers
