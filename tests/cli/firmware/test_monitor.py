"""``firmware monitor`` as people and programs see it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from span_events.cli.firmware.monitor import picture
from span_events.cli.firmware.progress import Progress
from tests.bench.waiting import until
from tests.cli.bench import COLLECTION, DEVICE, TOKEN, run
from tests.cli.bench import device as device_document
from tests.cli.scripted import Play, Refuse, Scripted, event

OTHER = "17kl14hm46h4c3"
OLD, NEW = "17dh0cf43jfg01", "17dh0cf43jfg02"
PATH = f"/span/collections/{COLLECTION}"
LIVE = '{"type":"live"}\n'
REVOKED = 1008
"""A close that ends every stream for good."""


def device(identifier: str = DEVICE, **firmware: str) -> dict[str, Any]:
    known = {"currentFirmwareId": OLD, "targetFirmwareId": "0", "firmwareVersion": "1.0", "state": "Pending"}
    return device_document(deviceId=identifier, firmware=known | firmware)


def api(*devices: dict[str, Any], management: str = "collection") -> dict[str, Any]:
    """Build the API's documents of a fleet."""
    return {
        PATH: {"collectionId": COLLECTION, "firmware": {"management": management, "targetFirmwareId": NEW}},
        f"{PATH}/devices": {"devices": devices},
        f"{PATH}/firmware": {"images": [{"imageId": OLD, "version": "1.0"}, {"imageId": NEW, "version": "1.1"}]},
    }


def state(word: str, number: int = 1, identifier: str = DEVICE, **data: str) -> str:
    data = {"state": word, "targetVersion": "1.1", **data}
    return event("firmwareStateChange", number=number, deviceId=identifier, data=data)


def current(number: int = 2, identifier: str = DEVICE) -> str:
    data = {"version": "1.1", "imageId": NEW}
    return event("firmwareCurrent", number=number, deviceId=identifier, data=data)


async def monitor(server: Scripted, *arguments: str) -> Result:
    return await run(
        *("--endpoint", server.url, "--token", TOKEN, "firmware", "monitor", "-c", COLLECTION, *arguments),
        env={"NO_COLOR": "1"},
    )


def lines(result: Result) -> list[str]:
    """Return the lines, without their times."""
    return [re.sub(r"^\d\d:\d\d:\d\d  ", "", each) for each in result.stdout.splitlines()]


async def test_the_stream_is_filtered_by_firmware_events() -> None:
    """Of the devices that were named; with the keys that Span does not have, whatever the server's profile is."""
    async with Scripted([Play(code=REVOKED)]) as server:
        await monitor(server, "-d", OTHER, "-d", DEVICE)

    ((path, query, token),) = server.requests
    assert (path, token) == (f"{PATH}/activity", TOKEN)
    assert ("event", "/^firmware/") in query
    assert [value for name, value in query if name == "device"] == sorted([DEVICE, OTHER])
    assert query[-2:] == [("extended", "1"), ("profile", "extended")]


async def test_without_a_terminal_each_change_is_a_line() -> None:
    """From the state at the start to the end of all updates; the summary is on standard error."""
    async with Scripted(documents=api(device())) as server:

        async def looked() -> None:
            await until(lambda: f"{PATH}/devices" in server.lookups)

        events = [state("Downloading", 1, percent="40"), current(2), state("Current", 3, message="runs 1.1")]
        server.script.append(Play([LIVE, looked, *events], hold=True))
        result = await monitor(server, "--until-done")

    assert result.exit_code == 0
    assert lines(result)[-1] == f"{DEVICE}  pump-3  1.1  Current  100 %  runs 1.1"
    assert result.stderr == "-- 1 of 1 run what they should\n"


async def test_a_failed_update_ends_with_status_1() -> None:
    """When all other devices are done."""
    documents = api(
        device(currentFirmwareId=NEW, firmwareVersion="1.1", state="Current"),
        device(OTHER, state="UpdateFailed", stateMessage="downloaded 1.1 to the end, and reports 1.0\x1b[2J"),
    )
    async with Scripted([Play([LIVE], hold=True)], documents=documents) as server:
        result = await monitor(server, "--until-done")

    assert result.exit_code == 1
    assert lines(result) == [
        f"{DEVICE}  pump-3  1.1  Current  100 %",
        f"{OTHER}  pump-3  1.0 → 1.1  UpdateFailed  ? %  downloaded 1.1 to the end, and reports 1.0\\x1b[2J",
    ]
    assert result.stderr.splitlines()[-1] == "-- 1 of 2 run what they should, 1 failed"


@pytest.mark.parametrize(
    "documents", [api(device(), management="disabled"), api()], ids=["management is off", "there are no devices"]
)
async def test_nothing_to_wait_for_is_an_error(documents: dict[str, Any]) -> None:
    """A script must not take an end without devices for success."""
    async with Scripted([Play([LIVE], hold=True)], documents=documents) as server:
        result = await monitor(server, "--until-done")

    assert result.exit_code == 1
    assert f"error: No device that is watched in collection {COLLECTION} should run an image\n" in result.stderr
    assert "hint: `span-events firmware assign` says which should" in result.stderr


async def test_a_fleet_without_targets_prints_one_note() -> None:
    """The command goes on: a target may be assigned."""
    again = event("deviceUpdated", number=1)
    script = [Play([LIVE, again]), Play([LIVE, again], code=REVOKED)]
    async with Scripted([*script], documents=api(device(), management="disabled")) as server:
        result = await monitor(server)

    assert result.exit_code == 1
    assert result.stderr.count("should run an image yet; `span-events firmware assign` says which should") == 1


async def test_json_prints_the_servers_own_bytes() -> None:
    """The end of all updates also ends the command."""
    events = [state("Downloading", 1, percent="10"), current(2)]
    documents = api()
    documents[f"{PATH}/devices"] = _in_turn({"devices": [device(currentFirmwareId=NEW, state="Current")]})
    async with Scripted([Play([*events, LIVE], hold=True)], documents=documents) as server:
        result = await monitor(server, "--until-done", "--json")

    assert result.stdout == "".join(events)
    assert result.exit_code == 0


async def test_a_new_connection_is_a_new_look() -> None:
    """No event reports the changes meanwhile."""
    documents = api()
    documents[f"{PATH}/devices"] = _in_turn(
        {"devices": [device()]},
        {"devices": [device(currentFirmwareId=NEW, firmwareVersion="1.1", state="Current")]},
    )
    async with Scripted([Play([LIVE]), Play([LIVE], hold=True)], documents=documents) as server:
        result = await monitor(server, "--until-done")

    assert result.exit_code == 0
    assert lines(result) == [f"{DEVICE}  pump-3  1.0 → 1.1  Pending  0 %", f"{DEVICE}  pump-3  1.1  Current  100 %"]
    assert "-- connection lost: " in result.stderr


async def test_a_server_that_is_away_for_a_moment_is_asked_again() -> None:
    """The stream reports the lost connection."""
    documents = api()
    documents[f"{PATH}/devices"] = _in_turn(
        Refuse(503, "The registry cannot be used now"), {"devices": [device(currentFirmwareId=NEW, state="Current")]}
    )
    async with Scripted([Play([LIVE], hold=True)], documents=documents) as server:
        result = await monitor(server, "--until-done")

    assert result.exit_code == 0


async def test_a_refusal_ends_it() -> None:
    """A refusal of the stream, or of the snapshot."""
    async with Scripted([Refuse(404, "There is no collection 17", field="collection")]) as server:
        stream = await monitor(server)
    async with Scripted([Play([LIVE], hold=True)]) as server:
        snapshot = await monitor(server)

    assert (stream.exit_code, snapshot.exit_code) == (1, 1)
    assert stream.stderr == "error: There is no collection 17\nhint: `span-events collection list` shows the ids.\n"
    assert snapshot.stderr.startswith("error: There is no such device\n")


def test_a_picture_has_a_bar_for_each_device() -> None:
    """And counts below."""
    progress = _progress(device(state="Downloading"), device(OTHER, currentFirmwareId=NEW, firmwareVersion="1.1"))
    progress.updates[DEVICE].fetched = 40

    assert _shown(progress, rows=5) == [
        f"{DEVICE}  {'━' * 8}{'╌' * 12}   40 %  Downloading   pump-3  1.0 → 1.1",
        f"{OTHER}  {'━' * 20}  100 %  Pending       pump-3  1.1",
        "1 of 2 run what they should, 1 under way",
    ]


@pytest.mark.parametrize(("columns", "bar"), [(40, 10), (80, 13), (300, 30)])
def test_a_line_never_wraps(columns: int, bar: int) -> None:
    """Bars and states stay on a narrow terminal; the rest is cut."""
    (line, _) = _shown(_progress(device(stateMessage="x" * 500)), rows=5, columns=columns)

    assert line.startswith(f"{DEVICE}  {'╌' * bar}    0 %")
    assert len(line) == columns
    assert line.endswith("…")


def test_a_picture_fits_the_terminal() -> None:
    """Failed devices come first, finished ones are left out."""
    states = ["Current"] * 4 + ["Pending"] * 2 + ["TimedOut"]
    devices = [
        device(f"{number}", state=word, currentFirmwareId=NEW if word == "Current" else OLD)
        for number, word in enumerate(states)
    ]
    shown = _shown(_progress(*devices), rows=3)

    assert [each.split()[0] for each in shown[:3]] == ["6", "4", "5"]
    assert shown[3] == "4 of 7 run what they should, 2 under way, 1 failed; 4 more are not shown"
    assert len(_shown(_progress(*devices), rows=0)) == 2


def test_control_characters_from_devices_are_escaped() -> None:
    odd = device(firmwareVersion="\x1b[31m1", stateMessage="[bold]\n\x07")
    odd["tags"] = {"name": "\x1b]0;x"}
    shown = "\n".join(_shown(_progress(odd), rows=3))

    assert not re.search(r"[\x00-\x09\x0b-\x1f]", shown)
    assert "[bold]\\n\\x07" in shown


def _in_turn(*documents: Any) -> Any:
    """Give one document after the other; the last one for ever."""
    rest = list(documents)
    return lambda: rest.pop(0) if len(rest) > 1 else rest[0]


def _progress(*devices: dict[str, Any]) -> Progress:
    documents = api(*devices)
    progress = Progress()
    progress.take(documents[PATH], devices, documents[f"{PATH}/firmware"]["images"])
    return progress


def _shown(progress: Progress, *, rows: int, columns: int = 120) -> list[str]:
    """Draw a picture on a terminal that has no colours."""
    console = Console(width=columns, color_system=None, force_terminal=True, legacy_windows=False)
    with console.capture() as capture:
        console.print(picture(progress, rows=rows, columns=columns))
    return [each.rstrip() for each in capture.get().splitlines()]
