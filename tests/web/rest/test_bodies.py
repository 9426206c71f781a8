"""Request bodies: any octets are either understood, or refused with reasons."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import InvalidRequest
from span_events.registry.model import Management
from span_events.web.rest.bodies.models import (
    Body,
    CollectionBody,
    DeviceBody,
    GatewayBody,
    ImageBody,
    MessageBody,
    NewCertificateBody,
    NewImageBody,
    PskBody,
    SigningRequestBody,
)
from span_events.web.rest.bodies.reading import parse_body

KINDS = (
    CollectionBody,
    DeviceBody,
    GatewayBody,
    MessageBody,
    NewCertificateBody,
    SigningRequestBody,
    PskBody,
    NewImageBody,
    ImageBody,
)
WORDS = (
    *("tags", "enabled", "config", "ciot", "imsi", "imei", "gateway", "3", "params", "firmware", "management"),
    *("targetFirmwareId", "currentFirmwareId", "metadata", "allocatedIp", "collectionId", "teamId", "payload"),
    *("deviceId", "gatewayId", "keyType", "csr", "identity", "key", "name", "type", "user"),
    *("image", "version", "filename"),
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["", "0", "10.0.0.1"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner),
)


def change(kind: type[CollectionBody] | type[DeviceBody], **body: Any) -> Any:
    return parse_body(json.dumps(body).encode(), kind).change()


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(WORDS), ANYTHING).map(json.dumps).map(str.encode))
def test_any_json_is_understood_or_refused(kind: type[Body], octets: bytes) -> None:
    """Only a refusal with a path, or a change that can be applied."""
    with contextlib.suppress(InvalidRequest):
        body = parse_body(octets, kind)
        if isinstance(body, CollectionBody | DeviceBody | GatewayBody | ImageBody):
            body.change()


@given(st.sampled_from(KINDS), st.binary())
def test_any_octets_are_understood_or_refused(kind: type[Body], octets: bytes) -> None:
    """Not even JSON."""
    with contextlib.suppress(InvalidRequest):
        parse_body(octets, kind)


def test_fields_of_spans_documents_that_cannot_be_set_are_ignored() -> None:
    """Clients send back what they read, at every level."""
    body = {
        "deviceId": "17",
        "lastPayload": "",
        "tags": {"a": "b"},
        "config": {"inet": {}, "ciot": {"imsi": "242017"}, "gateway": {"3": {"gatewayId": "3"}}},
        "metadata": {"inet": {"lastUpdate": "5"}, "ciot": {"mcc": 242, "allocatedAt": "5"}},
        "firmware": {"state": "Current", "currentFirmwareId": 5},
    }
    found = change(DeviceBody, **body)

    assert (found.tags, found.imsi, found.gateways) == ({"a": "b"}, "242017", {3: {}})
    assert found.allocated_ip is None


@pytest.mark.parametrize(("field", "shortest", "longest"), [("imsi", 6, 15), ("imei", 14, 16)])
def test_identities_have_a_number_of_digits(field: str, shortest: int, longest: int) -> None:
    """As text or as a number; leading zeros count (test networks begin with 001)."""
    for good in ("0" * (shortest - 1) + "1", "9" * longest, int("9" * longest)):
        assert getattr(change(DeviceBody, config={"ciot": {field: good}}), field) == str(good)
    wrong: list[object] = ["1" * (shortest - 1), "1" * (longest + 1), -12345678901234, 1.5e13, [], True]
    for bad in [*wrong, "12 456", "١٢٣٤٥٦٧٨٩٠١٢٣٤"]:
        with pytest.raises(InvalidRequest, match=f"config.ciot.{field}: .* is not {shortest} to {longest} digits"):
            change(DeviceBody, config={"ciot": {field: bad}})


@pytest.mark.parametrize(
    "good", ["356938035643809", "35693803564380", "3569380356438001", 356938035643809, "", "0", None]
)
def test_an_imei_is_taken_in_every_form(good: object) -> None:
    """The IMEI is kept as written: with its check digit, without, or with the software version."""
    assert change(DeviceBody, config={"ciot": {"imei": good}}).imei == ("" if good in ("0", None) else str(good))


@pytest.mark.parametrize("bad", ["356938035643808", "356938035643800", 356938035643819])
def test_a_wrong_check_digit_is_refused(bad: object) -> None:
    """The message shows the right check digit."""
    with pytest.raises(InvalidRequest, match=r"config\.ciot\.imei: .* is not an IMEI: .* would be \d$"):
        change(DeviceBody, config={"ciot": {"imei": bad}})


def test_management_is_one_of_spans_words() -> None:
    """In lower case, as everywhere."""
    assert change(CollectionBody, firmware={"management": "disabled"}).management is Management.DISABLED
    with pytest.raises(InvalidRequest) as caught:
        change(CollectionBody, firmware={"management": "Device"})

    assert caught.value.detail == (
        'firmware.management: "Device" is not one of unspecified, disabled, collection, device'
    )


def test_an_id_over_64_bits_is_refused() -> None:
    """63 bits, as ours are."""
    assert change(CollectionBody, teamId="acd772jnc9l0l7").team_id == (1 << 63) - 1
    with pytest.raises(InvalidRequest, match=r"teamId: .* it is over 63 bits"):
        change(CollectionBody, teamId="acd772jnc9l0l8")


@pytest.mark.parametrize(
    "body",
    [
        {"tags": {str(number): number for number in range(10_001)}},
        {f"unknown{number}": 1 for number in range(10_001)},
        {"tags": [1] * 10_001},
        {"config": {"gateway": {str(number): [1] * 200 for number in range(50)}}},
    ],
    ids=["tags", "unknown", "list", "nested"],
)
def test_a_body_with_more_fields_than_any_request_needs_is_refused(body: object) -> None:
    """To check half a million of them would keep devices waiting."""
    with pytest.raises(InvalidRequest, match="The body has over 10000 fields and elements"):
        parse_body(json.dumps(body).encode(), DeviceBody)
