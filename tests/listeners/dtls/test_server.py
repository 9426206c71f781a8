"""DTLS sessions on a real socket: their events, and CoAPS."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from span_events.errors import NotFound
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.wire.coap.messages import Code, Option, Type, decode
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.listeners.coap.bench import get, post
from tests.listeners.dtls.bench import DtlsBench
from tests.listeners.dtls.changes import remove


async def test_a_certificate_gives_the_three_events_of_a_session(bench: DtlsBench) -> None:
    """Span's published sample: clientConnected, upstreamMessage, clientDisconnected."""
    client = await bench.client().connect()
    client.say(b"hello span")
    client.leave()
    (connected, message, disconnected) = await bench.published(3)

    data = connected[1]
    assert connected[0] == "clientConnected"
    assert (data["id"], data["transport"], data["remoteAddress"]) == ("certificate", "dtls", client.remote)
    assert (data["certificateSerial"], data["cipher"]) == (bench.serial, "ECDHE-ECDSA-AES128-GCM-SHA256")
    assert (int(data["handshakeMs"]) >= 0, data["retransmissions"]) == (True, "0")
    assert (message[0], message[1]["bytes"], message[1]["transport"]) == ("upstreamMessage", "10", "dtls")
    assert (disconnected[0], disconnected[1]["reason"]) == ("clientDisconnected", "closeNotify")
    assert disconnected[1]["remoteAddress"] == client.remote
    assert bench.fleet.messages[0].payload == b"hello span"
    await client.receive_close_notify()


async def test_the_events_of_a_session_have_one_session_id(bench: DtlsBench) -> None:
    """The certificate identifies the device of all three events."""
    client = await bench.client().connect()
    client.say(b"x")
    client.leave()
    await until(lambda: len(bench.fleet.events) == 3)

    assert len({each.session_id for each in bench.fleet.events}) == 1
    assert {each.origin for each in bench.fleet.events} == {bench.device.origin}


async def test_the_log_has_one_line_when_a_session_opens_and_one_with_its_totals(bench: DtlsBench) -> None:
    """The second one counts messages in both directions."""
    with capture_logs() as lines:
        await bench.fleet.outbox.queue(bench.device, b"lamp on", cause=CAUSE)
        client = await bench.client().connect()
        client.say(b"1")
        assert await client.listen() == b"lamp on"
        client.say(b"2")
        client.leave()
        await until(lambda: "clientDisconnected" in bench.fleet.names)
    opened, closed = [each for each in lines if each["event"].startswith("dtls_session_")]

    assert (opened["event"], closed["event"]) == ("dtls_session_opened", "dtls_session_closed")
    assert opened["session"] == closed["session"]
    assert (opened["device"], opened["remote"]) == (render(bench.device.id), client.remote)
    assert (closed["reason"], closed["received"], closed["sent"]) == ("closeNotify", 2, 1)


async def test_a_psk_opens_a_session_too(bench: DtlsBench) -> None:
    """The event clientConnected then has no certificateSerial."""
    await bench.psk_client().connect()
    ((name, data),) = await bench.published(1)

    assert name == "clientConnected"
    assert (data["id"], data["cipher"], "certificateSerial" in data) == ("psk", "PSK-AES128-CCM8", False)


async def test_the_device_has_the_last_remote_address(bench: DtlsBench) -> None:
    """metadata.inet has the last address; it is written to the registry with the next batch."""
    client = await bench.client().connect()
    await bench.names(1)
    inet = bench.device.inet

    assert (inet.remote_address, inet.certificate_serial) == (client.remote, bench.serial)
    assert inet.last_update == bench.fleet.clock.time_ns() // 1_000_000
    assert bench.device.traffic.sessions == 1


async def test_a_waiting_message_is_sent_in_the_session(bench: DtlsBench) -> None:
    """The oldest waiting message is sent as application data."""
    await bench.fleet.outbox.queue(bench.device, b"lamp on", cause=CAUSE)
    bench.fleet.activities.clear()
    client = await bench.client().connect()
    client.say(b"x")

    assert await client.listen() == b"lamp on"
    assert (await bench.published(3))[-1][1]["transport"] == "dtls"


async def test_a_device_may_have_several_sessions(bench: DtlsBench) -> None:
    """A certificate or a PSK opens each, from several ports."""
    clients = [await each.connect() for each in (bench.client(), bench.client(), bench.psk_client())]
    for client in clients:
        client.say(b"x")
    await until(lambda: len(bench.fleet.messages) == 3)

    assert bench.dtls.sessions == len(bench.fleet.reception.sessions) == 3
    assert bench.fleet.names.count("clientConnected") == 3


async def test_plain_datagrams_are_accepted_on_the_same_port(bench: DtlsBench) -> None:
    """A datagram that is not DTLS from end to end is plain, also from the address of a session."""
    await bench.fleet.devices.update(bench.device, DeviceChange(allocated_ip="127.0.0.1"), cause=CAUSE)
    client = await bench.client().connect()
    bench.fleet.activities.clear()
    client.send(b"plain")
    client.say(b"secret")
    await until(lambda: len(bench.fleet.messages) == 2)

    assert [(each.payload, each.transport.value) for each in bench.fleet.messages] == [
        (b"plain", "udp"),
        (b"secret", "dtls"),
    ]


# ---- CoAPS -----------------------------------------------------------------------------------


async def test_coaps_requests_are_answered_in_their_session(bench: DtlsBench) -> None:
    """POST and GET both belong to the session."""
    client = await bench.client(coaps=True).connect()
    client.say(post(b"hello", path="data", message_id=1))
    created = decode(await client.listen())
    await bench.fleet.outbox.queue(bench.device, b"lamp on", cause=CAUSE)
    client.say(get(message_id=2))
    content = decode(await client.listen())
    client.leave()
    await until(lambda: "clientDisconnected" in bench.fleet.names)

    assert created.code == Code.CREATED
    assert (content.code, content.payload) == (Code.CONTENT, b"lamp on")
    assert bench.fleet.names == [
        *("clientConnected", "upstreamMessage", "downstreamQueued", "downstreamMessage", "clientDisconnected")
    ]
    assert {data["transport"] for _, data in bench.fleet.published if "transport" in data} == {"coaps"}


async def test_the_coap_state_of_a_session_ends_with_it(bench: DtlsBench) -> None:
    """Exchanges, uploads and downloads of another session of the device stay."""
    client, other = [await bench.client(coaps=True).connect() for _ in range(2)]
    await bench.fleet.outbox.queue(bench.device, b"d" * 3_000, cause=CAUSE)
    first_block = post(b"u" * 64, message_id=1, options=((Option.BLOCK1, b"\x0a"),))
    for each in (client, other):
        each.say(first_block)
        assert decode(await each.listen()).code == Code.CONTINUE
    client.say(get(message_id=2))
    await client.listen()
    endpoint = bench.coaps.endpoint
    before = (endpoint.remembered_exchanges, endpoint.unfinished_uploads, len(endpoint._site.downloads))
    client.leave()
    await until(lambda: bench.coaps.dtls.sessions == 1)

    assert before == (2, 2, 1)
    assert (endpoint.remembered_exchanges, endpoint.unfinished_uploads, len(endpoint._site.downloads)) == (1, 1, 0)


async def test_plain_coap_on_the_coaps_port_is_reported(bench: DtlsBench) -> None:
    """The event explains a mistyped URI scheme."""
    client = bench.client(coaps=True)
    client.send(post(b"hello", kind=Type.NON))
    ((name, data),) = await bench.published(1)

    assert (name, data["reason"], data["transport"]) == ("messageRejected", "malformed", "coaps")
    assert data["detail"] == "this is no DTLS record; plain CoAP has another port"


async def test_a_removed_device_cannot_be_found(bench: DtlsBench) -> None:
    """The tests above depend on a real removal."""
    await remove(bench)
    with pytest.raises(NotFound):
        bench.fleet.directory.device(bench.device.collection.id, bench.device.id)
