"""A stream that survives lost connections."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import NoReturn

import pytest
from websockets.exceptions import ConnectionClosedError

from span_events.client.api import Client
from span_events.client.stream import LAST_DELAY, Stream, backoff
from span_events.errors import AccessDenied, NotFound, ServerUnreachable, SpanEventsError, Unauthenticated
from tests.bench.ports import free_port
from tests.bench.waiting import until
from tests.cli.bench import TOKEN
from tests.cli.scripted import Play, Refuse, Scripted, event, identifier

REVOKED = Play(code=1008, reason="the token was revoked")
"""Ends every stream for good."""


async def read(
    server: Scripted, *, last: int = 0, reconnect: bool = True, query: Sequence[tuple[str, str]] = ()
) -> tuple[list[str], list[str], SpanEventsError | None]:
    """Read a stream until it ends: its lines, its notes, and the error at its end."""
    lines: list[str] = []
    notes: list[str] = []
    async with Client(server.url, TOKEN) as client:
        stream = Stream(
            *(client, "/span/activity", query),
            last=last,
            reconnect=reconnect,
            notify=notes.append,
            pauses=lambda: itertools.repeat(0.0),
        )
        try:
            async for line in stream.lines():
                lines.append(line.octets.decode())  # noqa: PERF401  # what came before an error counts
        except SpanEventsError as exc:
            return lines, notes, exc
    return lines, notes, None


def queries(server: Scripted) -> list[list[tuple[str, str]]]:
    """Return the query of each connection."""
    return [query for _, query, _ in server.requests]


async def test_lines_are_the_octets_of_the_server() -> None:
    """Text and binary frames alike; a missing newline is added."""
    odd = '{"event" : "upstreamMessage","collectionId":"1", "time":"2026-11-20 11:00:00"}'
    async with Scripted([Play([event(), odd.encode()]), REVOKED]) as server:
        lines, _, _ = await read(server)

    assert lines == [event(), odd + "\n"]


async def test_token_and_filters_are_sent() -> None:
    async with Scripted([REVOKED]) as server:
        await read(server, last=5, query=[("event", "/^client/"), ("severity", "warning")])

    assert server.requests == [
        ("/span/activity", [("event", "/^client/"), ("severity", "warning"), ("tail", "5")], TOKEN)
    ]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1013])
async def test_a_lost_connection_is_opened_again_behind_the_last_id(code: int) -> None:
    """With ids the server knows exactly where to go on; tail is for the beginning only."""
    script = [Play([event(number=1), event(number=2)], code=code), Play([event(number=3)], code=1006), REVOKED]
    async with Scripted([*script]) as server:
        lines, notes, _ = await read(server, last=5, query=[("extended", "1")])

    assert lines == [event(number=1), event(number=2), event(number=3)]
    assert queries(server) == [
        [("extended", "1"), ("tail", "5")],
        [("extended", "1"), ("after", identifier(2))],
        [("extended", "1"), ("after", identifier(3))],
    ]
    assert [each.partition(":")[0].partition(" after")[0] for each in notes] == [
        "connection lost",
        "connected again",
        "connection lost",
        "connected again",
    ]


async def test_the_reason_of_a_close_is_reported() -> None:
    async with Scripted([Play(code=1013, reason="you read too slowly"), REVOKED]) as server:
        _, notes, _ = await read(server)

    assert notes[0].startswith(
        "connection lost: the server asks to try again later (1013: you read too slowly); trying again"
    )


async def test_plain_lines_resume_at_their_second_without_repeats() -> None:
    """Without ids the last second is asked for again; the same line twice is two events, and stays two."""
    first, second, third = event(), event("clientConnected"), event("deviceUpdated")
    later = event(time="2026-11-20 11:00:01")
    async with Scripted([Play([first, first, second]), Play([first, first, second, third, first, later]), REVOKED]) as (
        server
    ):
        lines, _, _ = await read(server)

    assert lines == [first, first, second, third, first, later]
    assert queries(server) == [[], [("after", "2026-11-20T11:00:00Z")], [("after", "2026-11-20T11:00:01Z")]]


async def test_a_stream_without_events_resumes_at_the_servers_own_clock() -> None:
    """The Date header of its first answer: the two clocks need not agree."""
    async with Scripted([Play(date="Fri, 20 Nov 2026 10:59:30 GMT"), Play([event()]), REVOKED]) as server:
        lines, _, _ = await read(server, last=3)

    assert lines == [event()]
    assert queries(server) == [
        [("tail", "3")],
        [("after", "2026-11-20T10:59:30Z")],
        [("after", "2026-11-20T11:00:00Z")],
    ]


async def test_objects_that_are_no_events_are_skipped() -> None:
    frames = ['{"type":"keepalive"}\n', '{"type":"live"}\n', event(number=1), "nonsense", "[]"]
    async with Scripted([Play(frames), REVOKED]) as server:
        lines, notes, _ = await read(server)

    assert lines == [event(number=1)]
    assert sum("no JSON object" in each for each in notes) == 2


async def test_dropped_events_do_not_move_the_position() -> None:
    """They concern this subscriber alone; the events that they stand for are older or newer than they."""
    dropped = event("eventsDropped", number=9, data={"count": "3", "reason": "slowSubscriber"})
    async with Scripted([Play([event(number=1), dropped]), REVOKED]) as server:
        lines, _, _ = await read(server)

    assert lines == [event(number=1), dropped]
    assert queries(server)[1] == [("after", identifier(1))]


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthenticated), (403, AccessDenied), (404, NotFound)])
@pytest.mark.parametrize("before", [[], [Play()]], ids=["at first", "later"])
async def test_a_refusal_is_final(status: int, kind: type[SpanEventsError], before: list[Play]) -> None:
    async with Scripted([*before, Refuse(status, "Not you.", "Ask.")]) as server:
        _, _, error = await read(server)

    assert type(error) is kind
    assert (str(error), error.hint) == ("Not you.", "Ask.")
    assert len(server.requests) == len(before) + 1


async def test_a_revoked_token_ends_the_stream() -> None:
    async with Scripted([REVOKED]) as server:
        _, _, error = await read(server)

    assert isinstance(error, Unauthenticated)
    assert str(error) == "The server ended the stream: the token was revoked"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_server_that_is_not_ready_yet_is_asked_again(status: int) -> None:
    """Only after a first connection: at the start, the error goes to the user."""
    async with Scripted([Play(), Refuse(status), Refuse(status), Play([event()]), REVOKED]) as server:
        lines, notes, _ = await read(server)
    async with Scripted([Refuse(status, "Later.")]) as busy:
        _, _, error = await read(busy)

    assert lines == [event()]
    assert len([each for each in notes if each.startswith("connection lost")]) == 2
    assert str(error) == "Later."


async def test_without_reconnect_a_lost_connection_is_an_error() -> None:
    async with Scripted([Play([event()], reason="maintenance")]) as server:
        lines, notes, error = await read(server, reconnect=False)

    assert lines == [event()]
    assert notes == []
    assert isinstance(error, ServerUnreachable)
    assert str(error) == "The stream ended: the server is shutting down (1001: maintenance)"


async def test_a_closed_port_at_the_start_is_an_error() -> None:
    async with Client(f"http://127.0.0.1:{free_port()}", TOKEN) as client:
        stream = Stream(client, "/span/activity", [], notify=print)
        with pytest.raises(ServerUnreachable, match="connection refused"):
            await anext(stream.lines())


def test_pauses_double_up_to_their_limit() -> None:
    """With jitter, so that a thousand clients do not come back in the same instant."""
    pauses = list(itertools.islice(backoff(), 12))

    assert 0.25 <= pauses[0] <= 0.5
    assert 0.5 <= pauses[1] <= 1.0
    assert all(LAST_DELAY / 2 <= each <= LAST_DELAY for each in pauses[6:])


async def test_a_cancellation_that_the_connection_turns_into_its_end_ends_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the stream would try again, and a Ctrl-C would have no effect."""
    tries = 0

    class Connection:
        """Loses a cancellation: it raises its own end instead."""

        async def __aenter__(self) -> NoReturn:
            nonlocal tries
            tries += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionClosedError(None, None) from None
            raise AssertionError

        async def __aexit__(self, *_exc: object) -> None: ...

    monkeypatch.setattr(Stream, "_connect", lambda *_args, **_options: Connection())
    async with Client("http://127.0.0.1:1", TOKEN) as client:
        stream = Stream(client, "/span/activity", (), notify=lambda _: None, pauses=lambda: itertools.repeat(0.0))
        reading = asyncio.ensure_future(anext(stream.lines()))
        await until(lambda: tries == 1)
        reading.cancel()
        await asyncio.wait([reading])

    assert reading.cancelled()
    assert tries == 1
