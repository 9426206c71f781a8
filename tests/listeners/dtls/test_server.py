"""DTLS sessions on a real socket: accepted and rejected handshakes, ends of sessions, limits, CoAPS."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from span_events.errors import NotFound
from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.registry.model import Certificate, Psk
from span_events.wire.coap.messages import Code, Option, Type, decode
from span_events.wire.dtls.engine import EngineSession, Event
from tests.bench.certificates import DAY, Holder
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.listeners.coap.bench import get, post
from tests.listeners.dtls.bench import PSK, DtlsBench, dtls_bench
from tests.wire.dtls.client import DtlsClient
from tests.wire.dtls.test_hello import hello


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[DtlsBench]:
    """Start the listeners with default settings."""
    async with dtls_bench(tmp_path) as opened:
        yield opened


# ---- sessions --------------------------------------------------------------------------------


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


# ---- failed handshakes: F09 to F17 -----------------------------------------------------------


async def rejection(bench: DtlsBench, dtls: DtlsClient) -> tuple[dict[str, str], Origin]:
    """Run a handshake that fails; return the data and the origin of the only event."""
    client = bench.client(dtls)
    await client.connect()
    await until(lambda: len(bench.fleet.activities) >= 1)
    origin = bench.fleet.events[0].origin
    ((name, data),) = bench.fleet.take()
    assert name == "clientRejected"
    assert data.pop("remoteAddress") == client.remote
    assert data.pop("transport") == "dtls"
    data.pop("cipher", None)
    return data, origin


async def test_f09_an_unknown_ca_is_named_with_its_certificate(bench: DtlsBench) -> None:
    """The event has no origin: the content of a foreign certificate is no proof."""
    stranger = (
        Holder.root("acme").intermediate("acme devices").leaf("d1", serial=bench.holder.certificate.serial_number)
    )
    data, origin = await rejection(bench, DtlsClient(stranger))

    assert data["reason"] == "unknownCa"
    assert data["certificateIssuer"] == "CN=acme devices"
    assert data["certificateSubject"] == "CN=d1"
    assert data["certificateSerial"] == bench.serial
    assert origin == UNATTRIBUTED


@pytest.mark.parametrize(
    ("moved", "reason", "key"),
    [(timedelta(days=15), "certificateExpired", "notAfter"), (-DAY, "certificateNotYetValid", "notBefore")],
)
async def test_f10_a_certificate_outside_its_validity_is_reported_with_its_times(
    bench: DtlsBench, moved: timedelta, reason: str, key: str
) -> None:
    """The event belongs to the device of the certificate."""
    bench.fleet.clock.shift(moved.total_seconds())
    data, origin = await rejection(bench, DtlsClient(bench.holder))

    assert data["reason"] == reason
    assert len(data[key]) == len("2024-04-25 20:23:36")
    assert origin == bench.device.origin


async def test_f11_a_client_without_credentials_is_reported(bench: DtlsBench) -> None:
    """The client has neither a certificate nor a PSK."""
    assert await rejection(bench, DtlsClient()) == ({"reason": "noCredentials"}, UNATTRIBUTED)


async def test_f12_the_offered_suites_are_listed_when_none_is_shared(bench: DtlsBench) -> None:
    """The event uses OpenSSL's names."""
    data, _ = await rejection(bench, DtlsClient(bench.holder, ciphers="ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"))

    assert data["reason"] == "noSharedCipher"
    assert data["offered"].startswith("ECDHE-ECDSA-AES256-SHA; groups: ")


@pytest.mark.parametrize(
    ("datagram", "offered"),
    [(hello(version=0xFEFF), "DTLS 1.0"), (hello(extensions=((43, b"\x02\xfe\xfc"),)), "DTLS 1.3")],
)
async def test_f13_an_unsupported_version_is_reported_at_once(bench: DtlsBench, datagram: bytes, offered: str) -> None:
    """The alert is sent before the cookie exchange, because such a client may not repeat its hello."""
    client = bench.raw()
    client.send(datagram)
    answer = await client.receive()
    ((_, data),) = await bench.published(1)

    assert (data["reason"], data["offered"]) == ("unsupportedVersion", offered)
    assert answer[-2:] == bytes((2, 70))


async def test_f14_an_unknown_identity_is_reported(bench: DtlsBench) -> None:
    """The event has the identity as text, with other octets escaped."""
    data, origin = await rejection(bench, DtlsClient(psk=(b"dev\xffice", PSK.key)))

    assert data == {"reason": "unknownPskIdentity", "identity": "dev\\xffice"}
    assert origin == UNATTRIBUTED


async def test_f15_a_wrong_key_is_reported(bench: DtlsBench) -> None:
    """OpenSSL does not report a wrong key; the server recognizes it by a Finished that cannot be decrypted."""
    data, origin = await rejection(bench, DtlsClient(psk=(PSK.identity, b"wrong" * 4)))

    assert data == {"reason": "pskMismatch", "identity": PSK.identity.decode()}
    assert origin == bench.device.origin


async def test_f16_a_stopped_handshake_is_reported_with_its_stage(tmp_path: Path) -> None:
    """The event also has the number of retransmissions and the seconds."""
    async with dtls_bench(tmp_path, dtls={"handshake_timeout": 1.5}) as bench:
        client = bench.client()
        await client.greet()
        ((name, data),) = await bench.published(1)

        assert (name, data["reason"], data["stage"]) == ("clientRejected", "handshakeTimeout", "ServerHelloDone")
        assert (data["retransmissions"], data["seconds"]) == ("1", "1")
        assert bench.dtls.half_open == 0


async def _remove(bench: DtlsBench) -> None:
    await bench.fleet.devices.remove(bench.device, cause=CAUSE)


async def _revoke(bench: DtlsBench) -> None:
    await bench.fleet.certificates.revoke(bench.device.collection, bench.holder.certificate.serial_number)


async def _disable(bench: DtlsBench) -> None:
    await bench.fleet.devices.update(bench.device, DeviceChange(enabled=False), cause=CAUSE)


async def _disable_collection(bench: DtlsBench) -> None:
    await bench.fleet.collections.update(bench.device.collection, CollectionChange(enabled=False), cause=CAUSE)


async def _give_to_gateway(bench: DtlsBench) -> None:
    record = bench.fleet.directory.certificates[bench.holder.certificate.serial_number]
    bench.fleet.directory.certificates[record.serial] = Certificate(
        record.serial, record.collection_id, None, 99, record.not_before_ms, record.not_after_ms
    )


async def _change_psk(bench: DtlsBench) -> None:
    await bench.fleet.psks.put(bench.device, Psk(b"device-1", b"another key, 16+"), cause=CAUSE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_remove, "unknownDevice"),
        (_revoke, "certificateRevoked"),
        (_disable, "deviceDisabled"),
        (_disable_collection, "collectionDisabled"),
        (_give_to_gateway, "gatewayCertificate"),
    ],
)
async def test_f17_a_valid_certificate_may_be_rejected(
    bench: DtlsBench, change: Callable[[DtlsBench], Awaitable[None]], reason: str
) -> None:
    """The handshake ends with an alert; the event belongs to the device or its collection."""
    await change(bench)
    bench.fleet.activities.clear()
    dtls = DtlsClient(bench.holder)
    data, origin = await rejection(bench, dtls)

    assert (data["reason"], data["certificateSerial"]) == (reason, bench.serial)
    assert not dtls.established
    assert origin.collection_id == bench.device.collection.id


async def test_a_disabled_device_is_rejected_with_its_psk_too(bench: DtlsBench) -> None:
    """The reason is the same as with a certificate."""
    await _disable(bench)
    bench.fleet.activities.clear()
    data, origin = await rejection(bench, DtlsClient(psk=(PSK.identity, PSK.key)))

    assert data == {"reason": "deviceDisabled", "identity": "device-1"}
    assert origin == bench.device.origin


async def test_a_client_that_does_not_trust_the_server_is_reported(bench: DtlsBench) -> None:
    """The most frequent fault: the device lacks the root certificate."""
    data, _ = await rejection(bench, DtlsClient(bench.holder, trusted=Holder.root("other")))

    assert (data["reason"], data["detail"]) == ("clientAlert", "unknown ca")


async def test_a_malformed_hello_is_reported(bench: DtlsBench) -> None:
    """The detail has the octet at which the decoder stopped."""
    whole = hello()
    bench.raw().send(whole[:12] + b"\x20" + whole[13:45])
    ((_, data),) = await bench.published(1)

    assert data["reason"] == "malformedHello"
    assert "hello needs" in data["detail"]


# ---- ends of sessions ------------------------------------------------------------------------


async def test_f18_a_rebooted_device_replaces_its_session(bench: DtlsBench) -> None:
    """The new hello has the same address and port; the old session ends when the new handshake is complete."""
    client = await bench.client().connect()
    await bench.names(1)
    client.dtls = DtlsClient(bench.holder)
    await client.connect()
    client.say(b"after the reboot")
    published = await bench.published(3)

    assert [name for name, _ in published] == ["clientDisconnected", "clientConnected", "upstreamMessage"]
    assert published[0][1]["reason"] == "replaced"
    assert bench.dtls.sessions == 1


async def test_a_failed_handshake_does_not_end_the_session_of_its_address(bench: DtlsBench) -> None:
    """The handshake has the address of the session, but no valid certificate."""
    client = await bench.client().connect()
    before, client.dtls = client.dtls, DtlsClient(Holder.root("other").leaf())
    await client.connect()
    client.dtls = before
    client.say(b"still here")
    published = await bench.published(3)

    assert [name for name, _ in published] == ["clientConnected", "clientRejected", "upstreamMessage"]


async def test_a_device_that_reboots_during_a_handshake_can_connect(bench: DtlsBench) -> None:
    """The new hello does not go to the old handshake, which would answer with an old ServerHello."""
    client = bench.client()
    await client.greet()
    while not client.dtls.step(await client.receive()):
        pass  # until the server's flight is complete; the answer of the client is lost
    client.dtls = DtlsClient(bench.holder)
    await client.connect()

    assert client.dtls.established
    assert await bench.names(1) == ["clientConnected"]
    assert bench.dtls.half_open == 0


async def test_f19_data_without_a_session_is_reported_with_a_guess(bench: DtlsBench) -> None:
    """The NAT may have changed the port of the device, or the sender is its neighbour there."""
    client = await bench.client().connect()
    await bench.names(1)
    bench.fleet.clock.shift(61)
    moved = bench.raw()
    moved.send(client.dtls.send(b"lost")[0])
    await until(lambda: bool(bench.fleet.activities))
    origin = bench.fleet.events[0].origin
    ((name, data),) = bench.fleet.take()

    assert (name, data["reason"], data["remoteAddress"]) == ("messageRejected", "noSession", moved.remote)
    assert data["detail"].startswith(f"a guess: the only session at this address has {client.remote}, quiet for 61 s;")
    assert origin == UNATTRIBUTED


async def test_data_without_a_session_has_no_owner_with_several_sessions_at_its_host(bench: DtlsBench) -> None:
    """Both devices are behind one NAT."""
    clients = [await bench.client().connect(), await bench.client().connect()]
    await bench.names(2)
    bench.raw().send(clients[0].dtls.send(b"lost")[0])
    await until(lambda: bool(bench.fleet.activities))

    assert bench.fleet.events[0].origin == UNATTRIBUTED


async def test_f21_a_silent_device_is_disconnected(bench: DtlsBench) -> None:
    """The idle timeout ends the session with a close_notify."""
    client = await bench.client().connect()
    await bench.names(1)
    bench.fleet.clock.shift(900)
    bench.fleet.reception.sweep()
    ((name, data),) = await bench.published(1)

    assert (name, data["reason"], data["idleSeconds"]) == ("clientDisconnected", "idleTimeout", "900")
    assert bench.dtls.sessions == 0
    await client.receive_close_notify()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_remove, "deviceRemoved"),
        (_revoke, "certificateRevoked"),
        (_disable, "deviceDisabled"),
        (_disable_collection, "deviceDisabled"),
    ],
)
async def test_a_session_ends_with_its_device_or_certificate(
    bench: DtlsBench, change: Callable[[DtlsBench], Awaitable[None]], reason: str
) -> None:
    """The client receives a close_notify."""
    client = await bench.client().connect()
    await bench.names(1)
    await change(bench)
    ends = [data for name, data in bench.fleet.take() if name == "clientDisconnected"]

    assert ends == [{"reason": reason, "transport": "dtls", "remoteAddress": client.remote}]
    assert bench.dtls.sessions == len(bench.fleet.reception.sessions) == 0
    await client.receive_close_notify()


async def test_a_new_psk_ends_the_session_of_the_old_one(bench: DtlsBench) -> None:
    """A session with a certificate continues."""
    other = await bench.client().connect()
    client = await bench.psk_client().connect()
    await bench.names(2)
    await _change_psk(bench)
    await client.receive_close_notify()
    other.say(b"still here")
    published = await bench.published(3)

    assert [data["reason"] for name, data in published if name == "clientDisconnected"] == ["pskChanged"]
    assert published[-1][0] == "upstreamMessage"


async def test_stopping_closes_all_sessions(bench: DtlsBench) -> None:
    """Their events have a reason; handshakes are dropped without an event."""
    clients = [await bench.client().connect(), await bench.psk_client().connect()]
    await bench.client().greet()
    await bench.names(2)
    await bench.datagrams.stop()
    published = bench.fleet.take()

    assert [(name, data["reason"]) for name, data in published] == [("clientDisconnected", "serverStopped")] * 2
    assert bench.dtls.half_open == bench.dtls.sessions == 0
    for client in clients:
        await client.receive_close_notify()


async def test_mutated_records_end_no_session(bench: DtlsBench) -> None:
    """They are sent to a live session and to no session; only the genuine record is delivered."""
    dice = random.Random(7)
    client, stranger = await bench.client().connect(), bench.raw()
    await bench.names(1)
    for _ in range(2_000):
        octets = bytearray(client.dtls.send(b"x" * dice.randrange(1, 60))[0])
        for _ in range(dice.randrange(1, 4)):
            octets[dice.randrange(len(octets))] ^= dice.randrange(1, 256)
        bench.dtls.receive(bytes(octets), ("127.0.0.1", int(client.remote.rpartition(":")[2])))
        stranger.send(bytes(octets))
    bench.fleet.activities.clear()
    client.say(b"genuine")
    await until(lambda: bool(bench.fleet.messages))

    assert [each.payload for each in bench.fleet.messages] == [b"genuine"]
    assert bench.dtls.sessions == 1


# ---- limits ----------------------------------------------------------------------------------


async def test_hellos_without_a_cookie_leave_no_state(bench: DtlsBench) -> None:
    """Each hello is answered with one small datagram, and no state is kept."""
    (first,) = DtlsClient(bench.holder).start()
    sent: list[bytes] = []
    bench.dtls._send = lambda datagram, _: sent.append(datagram)
    for number in range(5_000):
        bench.dtls.receive(first, (f"10.0.{number // 250}.{number % 250}", 5_000))

    assert bench.dtls.hellos == len(sent) == 5_000
    assert sum(map(len, sent)) < 5_000 * len(first) / 2
    assert (bench.dtls.half_open, bench.dtls.begun, bench.dtls.sessions) == (0, 0, 0)


@pytest.mark.parametrize("ends", ["left", "removed", "refused", "replaced"])
async def test_the_memory_of_a_client_is_freed_at_once(bench: DtlsBench, ends: str) -> None:
    """No garbage collection is needed, which does not know of OpenSSL's 80 kB per session."""
    created: list[weakref.ref[object]] = []
    accept = bench.dtls._engine.accept

    def accepting(*arguments: Any, **keywords: Any) -> tuple[EngineSession, Sequence[Event]]:
        session, events = accept(*arguments, **keywords)
        created.append(weakref.ref(session))
        return session, events

    bench.dtls._engine.accept = accepting  # type: ignore[method-assign]
    gc.disable()
    try:
        client = await bench.client(DtlsClient() if ends == "refused" else None).connect()
        if ends == "left":
            client.leave()
        elif ends == "removed":
            await _remove(bench)
        elif ends == "replaced":
            client.dtls = DtlsClient(bench.holder)
            await client.connect()
        await until(lambda: bool({"clientDisconnected", "clientRejected"} & set(bench.fleet.names)))
        await until(lambda: created[0]() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("limit", ["half_open", "half_open_per_prefix"])
async def test_handshakes_are_bounded_and_a_valid_client_can_connect(tmp_path: Path, limit: str) -> None:
    """The handshake of the client that was silent longest is evicted, with an event."""
    async with dtls_bench(tmp_path, dtls={limit: 3}) as bench:
        stopped = [bench.client() for _ in range(5)]
        for client in stopped:
            await client.greet()
        await until(lambda: bench.dtls.begun == 5)

        assert bench.dtls.half_open == 3
        good = await bench.client().connect()
        assert good.dtls.established
        published = await bench.published(4)
        assert [data["reason"] for name, data in published if name == "clientRejected"] == ["serverBusy"] * 3
        assert [data["detail"] for name, data in published if name == "clientRejected"] == [f"dtls.{limit} is 3"] * 3


async def test_sessions_are_bounded(tmp_path: Path) -> None:
    """An additional client is rejected; open sessions continue."""
    async with dtls_bench(tmp_path, dtls={"sessions": 1}) as bench:
        await bench.client().connect()
        late = bench.client()
        await late.greet()
        published = await bench.published(2)

        assert (published[1][1]["reason"], published[1][1]["detail"]) == ("serverBusy", "dtls.sessions is 1")
        assert bench.dtls.sessions == 1


async def test_a_host_with_too_many_failures_is_silenced_for_a_minute(tmp_path: Path) -> None:
    """It is answered again after a minute."""
    async with dtls_bench(tmp_path, dtls={"failures_per_minute": 2}) as bench:
        for _ in range(2):
            await bench.client(DtlsClient()).connect()
        await bench.client().greet()
        await until(lambda: bench.dtls.silenced == 1)
        bench.fleet.clock.shift(60)

        assert (await bench.client().connect()).dtls.established


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
    assert {data["transport"] for _, data in bench.fleet.told if "transport" in data} == {"coaps"}


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
    await _remove(bench)
    with pytest.raises(NotFound):
        bench.fleet.directory.device(bench.device.collection.id, bench.device.id)


def test_a_deadline_that_has_passed_is_armed_twice_on_uvloop_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handle of a call without delay tells no moment; a burst of handshakes raised for each datagram."""

    async def arm() -> None:
        async with dtls_bench(tmp_path) as bench:
            past = asyncio.get_running_loop().time() - 1
            with monkeypatch.context() as patched:
                patched.setattr(type(bench.dtls._handshakes), "deadline", lambda _: past)
                bench.dtls._arm()
                bench.dtls._arm()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(arm())
