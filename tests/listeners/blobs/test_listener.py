"""The HTTP port for blobs: its connections, defects and settings."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from span_events.accepting import RefusedAccepts
from span_events.config import BlobsConfig
from span_events.errors import ListenerUnavailable
from span_events.listeners.blobs.clients import PlainAcceptor
from span_events.listeners.blobs.listener import BlobListener
from span_events.wire.coap.messages import Code
from tests.bench.servers import running
from tests.bench.waiting import until
from tests.listeners.blobs.bench import (
    BlobBench,
    upload,
)
from tests.listeners.coap.bench import RawClient as UdpClient
from tests.listeners.coap.bench import post


async def test_a_new_connection_takes_the_place_of_the_oldest_without_a_request(blobs: BlobBench) -> None:
    """Idle connections must not exclude devices."""
    with blobs.client() as oldest, blobs.client() as younger:
        await until(lambda: blobs.plain.accepted == 2)
        answer = await blobs.curl("--data-binary", "octets")
        said = await oldest.receive()
        await younger.send(upload(b"mine"))
        served = await younger.answer()

    assert (answer.status, said, served.status) == (200, b"", 200)
    assert blobs.plain.displaced == 1


async def test_a_new_connection_is_closed_if_all_are_uploading(blobs: BlobBench) -> None:
    """No running upload is ended for another one."""
    with blobs.client() as first, blobs.client() as second:
        for each in (first, second):
            await each.send(upload(b"", length=6))
        await until(lambda: len(blobs.files) == 2)
        with blobs.client() as another:
            said = await another.receive()
        for each in (first, second):
            await each.send(b"octets")
        answers = [await each.answer() for each in (first, second)]

    assert said == b""
    assert [each.status for each in answers] == [200, 200]


async def test_stopping_closes_running_uploads(blobs: BlobBench) -> None:
    """No file is left, and the server does not wait for the client."""
    with blobs.client() as client:
        await client.send(upload(b"", length=6))
        await until(lambda: len(blobs.files) == 1)
        await blobs.plain.stop()
        said = await client.receive()
    await blobs.fleet.blobs.close()

    assert said == b""
    assert blobs.files == []


async def test_a_defect_is_counted_and_answered(blobs: BlobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next upload is served."""
    with monkeypatch.context() as patch:
        patch.setattr(blobs.fleet.reception, "identify", lambda *_, **__: 1 // 0)
        answer = await blobs.curl("--data-binary", "x")
    again = await blobs.curl("--data-binary", "x")

    assert (answer.status, answer.text) == (500, "this is the server's fault\n")
    assert again.status == 200
    assert blobs.plain.defects == 1


async def test_a_defect_before_the_request_is_counted_too(blobs: BlobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends, and the next upload is served."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(PlainAcceptor, "open", fail)
        with blobs.client() as client:
            await until(lambda: blobs.plain.defects == 1)
            said = await client.receive()
    again = await blobs.curl("--data-binary", "x")

    assert (said, again.status) == (b"", 200)


async def test_a_port_that_is_taken_is_named_with_its_setting(blobs: BlobBench) -> None:
    port = int(blobs.plain.address.rpartition(":")[2])
    second = BlobListener(
        "blobs_tls",
        BlobsConfig(),
        setting="blobs.tls_port",
        port=port,
        acceptor=PlainAcceptor(blobs.fleet.reception, blobs.fleet.identification),
        blobs=blobs.fleet.blobs,
        clock=blobs.fleet.clock,
        refused=RefusedAccepts(blobs.fleet.clock),
    )
    with pytest.raises(ListenerUnavailable) as caught:
        await second.start()

    assert f"port {port}/tcp" in str(caught.value)
    assert "SPAN_EVENTS_BLOBS__TLS_PORT=0" in caught.value.hint


async def test_disabled_blobs_are_not_served(tmp_path: Path) -> None:
    """Neither the ports nor the path of CoAP; the other paths are served."""
    async with running(tmp_path, blobs={"enabled": False}) as it:
        await it.device(await it.collection(), "127.0.0.1")
        host, _, port = it.server.addresses["coap"].rpartition(":")
        with closing(UdpClient("127.0.0.1", (host, int(port)))) as client:
            replies = [
                await client.exchange(post(b"x", path=path, message_id=n)) for n, path in enumerate(("blob", "x"))
            ]

        assert not {"blobs", "blobs_tls"} & it.server.addresses.keys()
        assert [each.code for each in replies] == [Code.NOT_IMPLEMENTED, Code.CREATED]


async def test_a_cut_upload_counts_the_octets_that_came_with_the_head(blobs: BlobBench) -> None:
    """The developer compares the number with what the device sent."""
    with blobs.client() as client:
        await client.send(upload(b"12345", length=50))
        await until(lambda: blobs.files != [])
        await client.send(b"67890")
        client.end()
        answer = await client.answer()

    assert answer.text == "incomplete: the connection ended after 10 of 50 octets\n"
