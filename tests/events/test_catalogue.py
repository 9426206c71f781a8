"""The catalogue: names, keys, meanings, hints and reasons in one place."""

from __future__ import annotations

import inspect

import pytest

from span_events.dialects.span import data_of
from span_events.events import catalogue, reasons
from span_events.events.activity import Event, Origin, Reason, hint_of
from span_events.events.catalogue import CATALOGUE, KEYS, MessageRejected, meaning_of
from span_events.events.reasons import MessageRejectedReason

SPAN = [
    "imeiMismatch",
    "imsiMismatch",
    "ciotConnect",
    "clientConnected",
    "clientDisconnected",
    "upstreamMessage",
    "downstreamMessage",
    "firmwareRequested",
    "firmwareCheck",
    "firmwareUpdateRequired",
    "firmwareCurrent",
    "firmwareStateChange",
    "blobUpload",
    "deviceCreated",
    "deviceUpdated",
    "deviceRemoved",
    "deviceMoved",
    "gatewayConnected",
    "gatewayDisconnected",
    "gatewayDeviceUpdate",
    "gatewayUpstreamMessage",
    "gatewayDownstreamMessage",
    "gatewayConfigUpdate",
    "gatewayCommError",
]
EXTENSIONS = [
    "clientRejected",
    "messageRejected",
    "clientAddressChanged",
    "identityConflict",
    "ciotAddressChanged",
    "clientSilent",
    "messageDuplicate",
    "downstreamQueued",
    "downstreamFailed",
    "certificateExpiring",
    "ciotDisconnect",
    "ciotRejected",
    "gatewayRejected",
    "deviceJoined",
    "deviceStatus",
    "deviceLocation",
    "downstreamAck",
    "networkLog",
    "eventsDropped",
    "outputFailed",
    "outputRecovered",
]
ALL = pytest.mark.parametrize("event", CATALOGUE.values(), ids=str)


def test_the_catalogue_has_spans_events_and_the_extensions() -> None:
    """24 names of Span, 21 of ours."""
    assert [name for name, event in CATALOGUE.items() if not event.extension] == SPAN
    assert [name for name, event in CATALOGUE.items() if event.extension] == EXTENSIONS


def test_every_event_class_of_the_module_is_listed() -> None:
    """The list is kept by hand; this is its check."""
    classes = {
        each
        for _, each in inspect.getmembers(catalogue, inspect.isclass)
        if issubclass(each, Event) and each is not Event
    }

    assert classes == set(CATALOGUE.values())


@ALL
def test_every_event_explains_itself(event: type[Event]) -> None:
    """A meaning of one line, a hint of one sentence, a meaning for each key."""
    assert meaning_of(event).endswith(".")
    assert "\n" not in meaning_of(event)
    assert event.hint.endswith(".")
    assert all(key.meaning for key in KEYS[event])


@ALL
def test_extension_events_of_problems_carry_a_reason(event: type[Event]) -> None:
    """Rejected, failed and dropped always say why."""
    if event.name.endswith(("Rejected", "Failed", "Dropped")):
        assert "reason" in {key.name for key in KEYS[event]}


@pytest.mark.parametrize(
    "closed_set",
    [
        each
        for _, each in inspect.getmembers(reasons, inspect.isclass)
        if issubclass(each, Reason) and each is not Reason
    ],
    ids=lambda each: each.__name__,
)
def test_every_reason_has_a_hint(closed_set: type[Reason]) -> None:
    """A camel-case word and a sentence."""
    for reason in closed_set:
        assert reason.value.isalnum()
        assert reason.hint.endswith((".", "?"))


def test_data_is_text_without_absent_keys() -> None:
    """Numbers and reasons become text; keys stand in alphabetical order."""
    event = MessageRejected(origin=Origin(1, 2), reason=MessageRejectedReason.TOO_LARGE, bytes=20, limit=10)

    assert list(data_of(event).items()) == [
        ("bytes", "20"),
        ("limit", "10"),
        ("reason", "tooLarge"),
    ]


def test_the_hint_is_that_of_the_reason() -> None:
    """The hint of a reason wins over that of the event."""
    event = MessageRejected(origin=Origin(), reason=MessageRejectedReason.UNKNOWN_ADDRESS)

    assert hint_of(event) == MessageRejectedReason.UNKNOWN_ADDRESS.hint
