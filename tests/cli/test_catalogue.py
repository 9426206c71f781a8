"""``events``: the catalogue without a server."""

from __future__ import annotations

import json
import re

from span_events.events.catalogue import CATALOGUE
from tests.cli.bench import run


async def test_every_event_has_a_line() -> None:
    result = await run("events")

    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["EVENT", "SEVERITY", "MEANING", "DATA"]
    assert [line.split()[0] for line in lines] == list(CATALOGUE)


async def test_one_event_is_explained_with_keys_and_reasons() -> None:
    result = await run("events", "messageRejected")

    assert "messageRejected: an event of span-events, warning" in result.stdout
    assert re.search(r"remoteAddress +host:port that it came from \(may be absent\)", result.stdout)
    assert "unknownAddress         No device has this address" in result.stdout


async def test_an_event_of_varying_severity_lists_it_by_reason() -> None:
    """In words, in the table and in JSON."""
    shown = (await run("events", "firmwareStateChange")).stdout
    (document,) = json.loads((await run("events", "firmwareStateChange", "--json")).stdout)
    (state,) = [each for each in document["keys"] if each["name"] == "state"]
    severities = {each["value"]: each.get("severity") for each in state["reasons"]}

    assert "firmwareStateChange: an event of Span, info, warning or error" in shown
    assert "look at its boot log for why it gave the new one up. (error)" in shown
    assert document["severity"] == "info"
    assert severities["Downloading"] is None
    assert (severities["TimedOut"], severities["UpdateFailed"]) == ("warning", "error")


async def test_events_are_chosen_by_pattern() -> None:
    result = await run("events", "/^downstream/")

    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [
        "downstreamMessage",
        "downstreamQueued",
        "downstreamFailed",
        "downstreamAck",
    ]


async def test_json_has_everything() -> None:
    result = await run("events", "--json")

    documents = json.loads(result.stdout)
    assert [each["name"] for each in documents] == list(CATALOGUE)
    assert {"name", "severity", "extension", "meaning", "hint", "keys"} == set(documents[0])


async def test_an_unknown_name_gets_the_nearest_as_a_hint() -> None:
    result = await run("events", "upstreamMesage")

    assert result.exit_code == 1
    assert "hint: did you mean upstreamMessage?" in result.stderr


async def test_a_name_like_no_other_gets_the_list_as_a_hint() -> None:
    result = await run("events", "xxxxxx")

    assert "hint: `span-events events` lists all names." in result.stderr
