"""``tail`` as people and programs see it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime

import pytest
from click.testing import Result

from tests.bench.programs import PROGRAM, Program
from tests.bench.waiting import PATIENCE
from tests.cli.bench import COLLECTION, DEVICE, TOKEN, run
from tests.cli.scripted import Play, Refuse, Scripted, event

END = 1008
"""A close that ends every tail."""


async def tail(server: Scripted, *arguments: str, env: dict[str, str] | None = None) -> Result:
    """Run the command until the server ends it."""
    zone = {"TZ": "UTC", "NO_COLOR": "1"}
    return await run("--endpoint", server.url, "--token", TOKEN, "tail", *arguments, env={**zone, **(env or {})})


def local(text: str) -> str:
    """Write a time of 2026-11-20 (UTC) as the local one."""
    return datetime.fromisoformat(f"2026-11-20 {text}+00:00").astimezone().strftime("%H:%M:%S")


@pytest.mark.parametrize(
    ("arguments", "path", "query"),
    [
        ([], "/span/activity", [("extended", "1")]),
        (["-d", DEVICE], "/span/activity", [("extended", "1"), ("device", DEVICE)]),
        (
            ["-c", COLLECTION],
            f"/span/collections/{COLLECTION}/activity",
            [("extended", "1"), ("unattributed", "1")],
        ),
        (["-c", COLLECTION, "--json"], f"/span/collections/{COLLECTION}/activity", []),
        (
            ["-c", COLLECTION, "-d", DEVICE],
            f"/span/collections/{COLLECTION}/devices/{DEVICE}/activity",
            [("extended", "1")],
        ),
        (["-c", COLLECTION, "-g", "3"], f"/span/collections/{COLLECTION}/gateways/3/activity", [("extended", "1")]),
        (
            ["-c", COLLECTION, "-d", DEVICE, "-g", "3"],
            f"/span/collections/{COLLECTION}/devices/{DEVICE}/activity",
            [("extended", "1"), ("gateway", "3")],
        ),
        (["--json"], "/span/activity", []),
        (["--json", "--extended", "-n", "7"], "/span/activity", [("extended", "1"), ("tail", "7")]),
        (
            ["-e", "/^client/", "-e", "blobUpload", "-s", "warning", "--profile", "span", "--json"],
            "/span/activity",
            [("event", "/^client/"), ("event", "blobUpload"), ("severity", "warning"), ("profile", "span")],
        ),
    ],
)
async def test_options_become_a_url(arguments: list[str], path: str, query: list[tuple[str, str]]) -> None:
    async with Scripted([Play(code=END)]) as server:
        await tail(server, *arguments)

    assert server.requests == [(path, query, TOKEN)]


@pytest.mark.parametrize("arguments", [[], ["-s", "warning"], ["-c", COLLECTION], ["-c", COLLECTION, "--json"]])
async def test_no_note_is_printed_with_each_tail(arguments: list[str]) -> None:
    async with Scripted([Play(code=END)]) as server:
        result = await tail(server, *arguments)

    assert result.stderr.startswith("error: ")


async def test_a_device_or_gateway_in_the_environment_is_no_filter() -> None:
    """They are for commands about one device; tail is for looking around."""
    async with Scripted([Play(code=END)]) as server:
        await tail(server, env={"SPAN_DEVICE_ID": DEVICE, "SPAN_GATEWAY_ID": "3"})

    assert server.requests == [("/span/activity", [("extended", "1")], TOKEN)]


async def test_a_too_large_last_is_refused_by_its_option() -> None:
    refusal = Refuse(400, "tail: '5000' is not a whole number from 0 to 1000", field="tail")
    async with Scripted([refusal]) as server:
        result = await tail(server, "--last", "5000")

    assert result.exit_code == 2
    assert "error: --last: at most 1000 (streams.max_tail of the server)\n" in result.stderr


@pytest.mark.parametrize(
    ("text", "error"),
    [("ten", "'ten' is not a whole number"), ("1.5", "'1.5' is not a whole number"), ("-5", "'-5' is below 0")],
)
async def test_a_malformed_number_is_refused_before_any_request(text: str, error: str) -> None:
    async with Scripted() as server:
        result = await tail(server, "-n", text)

    assert result.exit_code == 2
    assert f"error: --last: {error}\n" in result.stderr
    assert server.requests == []


async def test_json_prints_the_servers_own_bytes() -> None:
    async with Scripted([Play(['{"type":"keepalive"}\n', event()], code=END)]) as server:
        result = await tail(server, "--json")

    assert result.stdout == event()
    assert result.exit_code == 1
    assert result.stderr == (
        "error: The server ended the stream: the token is not valid any more\n"
        "hint: The token was revoked or expired: `span-events token create` makes another one.\n"
    )


async def test_a_line_for_people_has_time_severity_device_event_and_data() -> None:
    async with Scripted([Play([event(number=123)], code=END)]) as server:
        result = await tail(server, "-c", COLLECTION)

    (line,) = [each for each in result.stdout.splitlines() if not each.startswith("-- ")]
    assert line == f"{local('11:00:00')}.123  info     {DEVICE}  upstreamMessage     bytes=9 transport=coap"


async def test_a_line_without_an_id_shows_the_second() -> None:
    async with Scripted([Play([event()], code=END)]) as server:
        result = await tail(server, "-c", COLLECTION)

    assert f"{local('11:00:00')}      info     {DEVICE}" in result.stdout


async def test_warnings_and_errors_are_followed_by_their_hint() -> None:
    data = {"at": "4", "detail": "token of 9 octets", "reason": "malformed"}
    frames = [event("messageRejected", number=1, severity="warning", hint="Compare octet 4.", data=data)]
    async with Scripted([Play(frames, code=END)]) as server:
        result = await tail(server, "-c", COLLECTION)

    line, hint = result.stdout.splitlines()[-2:]
    assert line.endswith('messageRejected     reason=malformed at=4 detail="token of 9 octets"')
    assert hint.index("→ Compare octet 4.") == line.index("messageRejected")


async def test_names_of_devices_are_looked_up_once() -> None:
    frames = [event(number=1), event(number=2), event(number=3, deviceId="17kl14hm46h4c3")]
    async with Scripted([Play(frames, code=END)], names={DEVICE: "pump-3"}) as server:
        result = await tail(server, "-c", COLLECTION)

    lines = result.stdout.splitlines()[-3:]
    assert [line.split()[3] for line in lines] == ["pump-3", "pump-3", "upstreamMessage"]
    assert len({line.index("upstreamMessage") for line in lines}) == 1
    assert [path.rpartition("/")[2] for path in server.lookups] == [DEVICE, "17kl14hm46h4c3"]


async def test_a_name_that_may_have_changed_is_looked_up_again() -> None:
    frames = [event(number=1), event("deviceUpdated", number=2)]
    async with Scripted([Play(frames, code=END)], names={DEVICE: "pump-3"}) as server:
        await tail(server, "-c", COLLECTION)

    assert len(server.lookups) == 2


async def test_an_event_without_a_device_has_a_line() -> None:
    unknown = (
        '{"data":{"bytes":"3","reason":"unknownAddress"},"event":"messageRejected","severity":"warning",'
        '"hint":"Set allocatedIp.","time":"2026-11-20 11:00:00"}\n'
    )
    async with Scripted([Play([unknown], code=END)]) as server:
        result = await tail(server)

    assert "warning  -               messageRejected     reason=unknownAddress bytes=3" in result.stdout
    assert server.lookups == []


async def test_a_gateways_event_and_the_collection_are_shown() -> None:
    line = (
        f'{{"collectionId":"{COLLECTION}","event":"gatewayConnected","gatewayId":"17kl14hm46h4c9",'
        '"severity":"info","time":"2026-11-20 11:00:00"}\n'
    )
    async with Scripted([Play([line], code=END)]) as server:
        result = await tail(server)

    assert result.stdout.splitlines()[-1].split()[2:] == [
        "17kl14hm46h4c9",
        "gateway",
        "gatewayConnected",
        f"collection={COLLECTION}",
    ]


async def test_control_characters_from_devices_are_escaped() -> None:
    """A CoAP path may hold any octets, escape sequences among them."""
    frames = [event(number=1, data={"path": "/\x1b[2Jx y\n"})]
    async with Scripted([Play(frames, code=END)], names={DEVICE: "\x1b[31mred"}) as server:
        result = await tail(server, "-c", COLLECTION)

    assert "\x1b" not in result.stdout
    assert 'path="/\\x1b[2Jx y\\n"' in result.stdout
    assert "\\x1b[31mred" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["--json"]])
async def test_dropped_events_are_highlighted(arguments: list[str]) -> None:
    data = {"count": "34", "reason": "slowSubscriber"}
    async with Scripted([Play([event("eventsDropped", number=1, data=data)], code=END)]) as server:
        result = await tail(server, *arguments)

    assert "EVENTS ARE MISSING HERE: reason=slowSubscriber count=34" in (result.stderr if arguments else result.stdout)


async def test_colours_are_for_terminals_and_on_request() -> None:
    async with Scripted([Play([event(number=1)], code=END), Play([event(number=1)], code=END)]) as server:
        plain = await tail(server, env={"NO_COLOR": ""})
        coloured = await tail(server, env={"NO_COLOR": "", "FORCE_COLOR": "1"})

    assert "\x1b[32m" not in plain.stdout
    assert "\x1b[32m" in coloured.stdout


async def test_a_refusal_shows_detail_and_hint() -> None:
    async with Scripted([Refuse(400, "event: there is no event 'x'", "did you mean y?")]) as server:
        result = await tail(server, "-e", "x")

    assert result.exit_code == 1
    assert result.stderr == "error: event: there is no event 'x'\nhint: did you mean y?\n"


async def test_a_lost_connection_is_reported_on_standard_error_and_the_stream_resumes() -> None:
    """With the real pauses, as in a restart of the server."""
    async with Scripted([Play([event(number=1)]), Play([event(number=2)], code=END)]) as server:
        result = await tail(server, "-c", COLLECTION)

    assert len([each for each in result.stdout.splitlines() if "upstreamMessage" in each]) == 2
    assert "-- connection lost: the server is shutting down (1001); trying again" in result.stderr
    assert "-- connected again after " in result.stderr


async def test_ctrl_c_ends_a_tail_with_130_and_lines_leave_a_pipe_at_once() -> None:
    async with (
        Scripted([Play([event()] * 2, code=1001)]) as server,
        Program(PROGRAM, "--endpoint", server.url, "tail", "--json") as process,
    ):
        line = await process.line()
        process.send_signal(signal.SIGINT)
        ended = await process.finish()

    assert line == event().rstrip("\n")
    assert ended.status == 130
    assert "Traceback" not in ended.complaints


async def test_a_reader_that_goes_away_ends_a_tail_quietly() -> None:
    """As in ``span-events tail | head -1``, at the next event."""
    reading, writing = os.pipe()
    os.close(reading)
    async with Scripted([Play([event()])]) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "span_events", "--endpoint", server.url, "tail"),
            stdout=writing,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(writing)
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()

    assert process.returncode == 141
    assert errors == b""
