"""Filters and scopes of subscribers."""

from __future__ import annotations

import pytest

from span_events import ids
from span_events.errors import InvalidRequest
from span_events.events.activity import Origin
from span_events.events.catalogue import SPAN_NAMES, ClientConnected, FirmwareStateChange, MessageRejected
from span_events.events.filters import PASS_ALL, Scope, parse_filter
from span_events.events.reasons import FirmwareState, MessageRejectedReason

CONNECTED = ClientConnected(origin=Origin(1, 2), identified_by="ip")
REJECTED = MessageRejected(origin=Origin(1, 3), reason=MessageRejectedReason.MALFORMED)


def test_an_empty_filter_passes_every_event() -> None:
    """And is the shared value, so that all such subscribers are one group."""
    assert parse_filter() == PASS_ALL
    assert PASS_ALL.matches(CONNECTED)


def test_names_and_patterns_are_joined_by_or() -> None:
    """Patterns stand between slashes and run over the catalogue only."""
    wish = parse_filter(events=["clientConnected", "/^gateway.*Message$/"])

    assert wish.names == frozenset({"clientConnected", "gatewayUpstreamMessage", "gatewayDownstreamMessage"})
    assert (wish.matches(CONNECTED), wish.matches(REJECTED)) == (True, False)


def test_severity_is_a_least_one() -> None:
    """Warning means warnings and errors."""
    names = parse_filter(severity="warning").names

    assert names is not None
    assert {"messageRejected", "imsiMismatch"} <= names
    assert "clientConnected" not in names


@pytest.mark.parametrize(
    ("least", "states"),
    [
        ("error", {"UpdateFailed", "Reverted"}),
        ("warning", {"UpdateFailed", "Reverted", "TimedOut"}),
        ("info", set(FirmwareState)),
        (None, set(FirmwareState)),
    ],
)
def test_an_event_may_be_as_severe_as_its_state(least: str | None, states: set[str]) -> None:
    """A filter for warnings passes a failed update, and no update in progress."""
    wish = parse_filter(severity=least, events=["/^firmware/"])
    told = {each for each in FirmwareState if wish.matches(FirmwareStateChange(origin=Origin(1, 2), state=each))}

    assert told == states


def test_equal_requests_share_one_group() -> None:
    """A severity that excludes none of the named events is no criterion."""
    assert parse_filter(events=["clientConnected"], severity="info") == parse_filter(events=["clientConnected"])


def test_span_only_leaves_the_extensions_out() -> None:
    """profile=span."""
    assert parse_filter(span_only=True).names == SPAN_NAMES
    assert parse_filter(span_only=True, events=["/Rejected|clientConnected/"]).names == frozenset({"clientConnected"})


def test_devices_are_named_by_their_ids() -> None:
    """Several are joined by or; events of no device do not match."""
    wish = parse_filter(devices=[ids.render(2), ids.render(9)])

    assert (wish.matches(CONNECTED), wish.matches(REJECTED)) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"events": ["clientConected"]}, "event: there is no event 'clientConected'"),
        ({"events": ["/(/"]}, "event: /\\(/ is no regular expression"),
        ({"events": ["/nothing/"]}, "event: no event's name matches /nothing/"),
        ({"events": ["x"] * 65}, "event is given 65 times"),
        ({"severity": "fatal"}, "severity: 'fatal' is not one of debug info warning error"),
        ({"devices": ["xyz"]}, "'xyz' is not a device id"),
    ],
)
def test_a_bad_filter_is_refused_with_parameter_and_value(arguments: dict[str, list[str]], message: str) -> None:
    """The mistake is visible at once."""
    with pytest.raises(InvalidRequest, match=message):
        parse_filter(**arguments)  # type: ignore[arg-type]  # a table of cases


def test_a_misspelt_name_gets_a_suggestion() -> None:
    """The hint names the nearest event."""
    with pytest.raises(InvalidRequest) as caught:
        parse_filter(events=["clientConected"])

    assert caught.value.hint == "did you mean clientConnected?"


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (Scope(), True),
        (Scope(1), True),
        (Scope(2), False),
        (Scope(1, 2), True),
        (Scope(1, 3), False),
        (Scope(2, 2), False),
        (Scope(1, gateway_id=5), False),
    ],
)
def test_a_scope_contains_its_devices_and_gateways(scope: Scope, covered: bool) -> None:
    """A device counts only in its collection, so that a moved device is not followed."""
    assert scope.covers(Origin(1, 2)) is covered
