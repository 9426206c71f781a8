"""Progress of a fleet's update."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.cli.firmware.progress import Outcome, Progress
from span_events.events.reasons import FirmwareState

OLD, NEW = "17dh0cf43jfg01", "17dh0cf43jfg02"
IMAGES: list[dict[str, Any]] = [{"imageId": OLD, "version": "1.0"}, {"imageId": NEW, "version": "1.1"}]


def collection(management: str = "collection", target: str = NEW) -> dict[str, Any]:
    return {"firmware": {"management": management, "targetFirmwareId": target}}


def device(identifier: str = "1", **firmware: str) -> dict[str, Any]:
    """Make a device that runs the old image and has no target of its own."""
    known = {"currentFirmwareId": OLD, "targetFirmwareId": "0", "firmwareVersion": "1.0", "state": "Pending"}
    return {"deviceId": identifier, "tags": {"name": "pump"}, "firmware": known | firmware}


def event(name: str, identifier: str = "1", **data: str) -> dict[str, Any]:
    return {"event": name, "deviceId": identifier, "data": data}


def state(word: str, identifier: str = "1", **data: str) -> dict[str, Any]:
    return event("firmwareStateChange", identifier, state=word, **{"targetVersion": "1.1", **data})


def begun(*devices: dict[str, Any]) -> Progress:
    """Make a progress with a snapshot."""
    progress = Progress()
    progress.begin()
    progress.take(collection(), devices or [device()], IMAGES)
    return progress


@pytest.mark.parametrize(
    ("management", "own", "of_collection", "target"),
    [
        ("disabled", NEW, NEW, None),
        ("unspecified", NEW, NEW, None),
        ("collection", OLD, NEW, NEW),
        ("collection", NEW, "0", None),
        ("device", NEW, OLD, NEW),
        ("device", "0", NEW, NEW),
        ("device", "", NEW, NEW),
        ("device", "0", "0", None),
        ("collection", "0", "17dh0cf43jfg03", None),
    ],
)
def test_devices_with_a_target_are_listed(management: str, own: str, of_collection: str, target: str | None) -> None:
    """By the server's rule; a disabled or deleted image is no target."""
    images = [*IMAGES, {"imageId": "17dh0cf43jfg03", "version": "1.2", "enabled": False}]
    progress = Progress()
    progress.begin()
    progress.take(collection(management, of_collection), [device(targetFirmwareId=own)], images)

    assert [each.target for each in progress.updates.values()] == ([] if target is None else [target])


@pytest.mark.parametrize("word", ["Downloading", "TimedOut", "UpdateFailed", "Reverted", "Initializing"])
def test_a_monitor_that_begins_late_knows_how_much_was_fetched(word: str) -> None:
    """The snapshot holds the progress; without the field (an older server), the progress is unknown, not zero."""
    late = begun(device("1") | {"firmware": {**device()["firmware"], "state": word, "percent": 60}})
    unsaid = begun(device(state=word))

    assert late.updates["1"].percent == 60
    assert unsaid.updates["1"].percent is None


def test_only_the_devices_that_were_named_are_looked_at() -> None:
    progress = Progress(frozenset({"2", "3"}))
    progress.begin()
    progress.take(collection(), [device(each) for each in "123"], IMAGES)

    assert list(progress.updates) == ["2", "3"]


def test_an_update_is_followed_from_event_to_event() -> None:
    """State, versions, and how much was fetched."""
    progress = begun()
    update = progress.updates["1"]
    seen = []
    for each in (
        event("firmwareCheck", version="1.0"),
        event("firmwareUpdateRequired", currentVersion="1.0", targetVersion="1.1", targetImageId=NEW),
        event("firmwareRequested", imageId=NEW, version="1.1", size="1000"),
        state("Downloading", block="0", percent="0", message="began with block 0"),
        state("Downloading", block="5", percent="50"),
        state("Updating", percent="100"),
        event("firmwareCheck", version="1.1"),
        event("firmwareCurrent", version="1.1", imageId=NEW),
        state("Current"),
    ):
        progress.hear(each)
        seen.append((update.state, update.percent, update.version, update.outcome.value))

    assert seen == [
        ("Pending", 0, "1.0", "under way"),
        ("Pending", 0, "1.0", "under way"),
        ("Pending", 0, "1.0", "under way"),
        ("Downloading", 0, "1.0", "under way"),
        ("Downloading", 50, "1.0", "under way"),
        ("Updating", 100, "1.0", "under way"),
        ("Updating", 100, "1.1", "under way"),
        ("Updating", 100, "1.1", "current"),
        ("Current", 100, "1.1", "current"),
    ]
    assert not progress.stale


@pytest.mark.parametrize("word", [FirmwareState.TIMED_OUT, FirmwareState.UPDATE_FAILED, FirmwareState.REVERTED])
def test_a_failed_update_keeps_its_progress_and_may_resume(word: FirmwareState) -> None:
    """Each of the states that are errors."""
    progress = begun()
    update = progress.updates["1"]
    progress.hear(state("Downloading", percent="60"))
    progress.hear(state(word, message="no block was asked for"))
    failed = (update.outcome, update.percent, update.message)
    progress.hear(state("Downloading", percent="60"))

    assert failed == (Outcome.FAILED, 60, "no block was asked for")
    assert update.outcome is Outcome.UNDER_WAY


def test_outcomes_are_counted() -> None:
    current = device("1", currentFirmwareId=NEW, state="Current")
    progress = begun(current, device("2", state="TimedOut"), device("3"), device("4", state="Downloading"))

    assert progress.counts() == {Outcome.CURRENT: 1, Outcome.FAILED: 1, Outcome.UNDER_WAY: 2}
    assert progress.updates["1"].percent == 100


@pytest.mark.parametrize(
    "document",
    [
        event("deviceUpdated"),
        event("deviceMoved"),
        event("deviceCreated", "9"),
        event("eventsDropped"),
        state("Pending", "9"),
        state("Current", targetVersion="1.0"),
        {**state("Current"), "data": {"state": "Current"}},
        event("firmwareUpdateRequired", targetImageId=OLD),
        event("firmwareCurrent", version="1.0", imageId=OLD),
        event("firmwareCurrent", version="0.9"),
    ],
)
def test_changes_without_details_in_events_request_a_new_snapshot(document: dict[str, Any]) -> None:
    """Devices and their new targets."""
    progress = begun()
    before = progress.stale
    progress.hear(document)

    assert (before, progress.stale) == (False, True)


@pytest.mark.parametrize("name", ["firmwareCheck", "firmwareCurrent", "firmwareRequested"])
def test_reports_of_devices_without_a_target_need_none(name: str) -> None:
    """A fleet may send many such events."""
    progress = begun()
    progress.hear(event(name, "9", version="1.0", imageId=OLD))

    assert not progress.stale


def test_events_during_a_snapshot_are_applied_after_it() -> None:
    """The snapshot may be older than the event."""
    progress = begun()
    progress.begin()
    progress.hear(state("Downloading", percent="40"))
    progress.hear(state("Updating"))
    progress.take(collection(), [device(), device("2", state="Downloading")], IMAGES)
    states = [each.state for each in progress.updates.values()]
    progress.begin()
    progress.take(collection(), [device(state="Updating")], IMAGES)

    assert states == ["Updating", "Downloading"]
    assert [each.state for each in progress.updates.values()] == ["Updating"]


def test_a_snapshot_keeps_details_that_only_events_carry() -> None:
    """The downloaded part, as long as target and state are the same."""
    progress = begun(device(state="Downloading"))
    progress.hear(state("Downloading", percent="40"))
    seen = []
    for firmware in ({"state": "Downloading"}, {"state": "Pending"}):
        progress.begin()
        progress.take(collection(), [device(**firmware)], IMAGES)
        seen.append(progress.updates["1"].percent)

    assert seen == [40, 0]


def test_an_event_that_is_odd_harms_nothing() -> None:
    """Another server may send such an event."""
    progress = begun()
    for each in ({}, {"event": "firmwareStateChange"}, state("Downloading", percent="x"), state("X", percent="999")):
        progress.hear(each)

    assert (progress.updates["1"].state, progress.updates["1"].percent) == ("X", 100)
