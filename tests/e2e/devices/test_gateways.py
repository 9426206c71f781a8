"""An independent gateway, written from Span's tables: every step is an event."""

from __future__ import annotations

import base64
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from span_events.events.reasons import GatewayReason
from tests.bench.live import Credentials, Document, LiveDevice, LiveServer, Tail
from tests.bench.programs import PROGRAM, run
from tests.e2e.gateways import BAND, EUI, GatewayProgram, LiveGateway, add_device_behind, add_gateway

SILENCE = 5
"""Seconds of silence after which the server pings a gateway, with default settings; a frozen one is noticed later."""


@pytest.fixture
async def gateway(server: LiveServer) -> LiveGateway:
    """Make a gateway in a new collection."""
    return await add_gateway(server, await server.add_collection())


@pytest.fixture
async def behind(gateway: LiveGateway) -> LiveDevice:
    """Make a device behind it."""
    return await add_device_behind(gateway)


@pytest.fixture
async def files(gateway: LiveGateway, tmp_path: Path) -> Credentials:
    """Make a certificate for it."""
    return await gateway.certificate(tmp_path / "roof")


@pytest.fixture
async def tail(gateway: LiveGateway) -> AsyncIterator[Tail]:
    """Subscribe to its collection."""
    path = f"/span/collections/{gateway.collection}/activity"
    async with gateway.server.tail(path, {"extended": "1"}) as opened:
        yield opened


@asynccontextmanager
async def configured(gateway: LiveGateway, files: Credentials, tail: Tail) -> AsyncIterator[GatewayProgram]:
    """Let the gateway connect and ask for its configuration; events of that are taken from the subscriber."""
    async with GatewayProgram(gateway.server, files) as program:
        program.do("connect")
        program.do("config")
        assert (await program.hears())["got"] == "gateway_update"
        assert (await program.hears())["got"] == "device_update"
        await tail.until("gatewayDeviceUpdate")
        tail.seen.clear()
        yield program


async def queue(device: LiveDevice, server: LiveServer, payload: bytes) -> str:
    """Queue a message for a device; return its id."""
    made = await server.call("POST", f"{device.path}/outbox", {"payload": base64.b64encode(payload).decode()})
    return str(made["messageId"])


def ids_of(event: Document) -> tuple[str, str | None, str | None]:
    """Return an event's name, and which device and gateway it is about."""
    return event["event"], event.get("deviceId"), event.get("gatewayId")


def links_of(event: Document, kind: str) -> str:
    """Return the cause or the session that an event belongs to."""
    (found,) = (each for each in event["correlationIds"] if each.startswith(f"{kind}:"))
    return str(found)


async def test_every_step_of_a_session_is_published(
    server: LiveServer, gateway: LiveGateway, behind: LiveDevice, files: Credentials, tail: Tail
) -> None:
    """Everything in Span's tables, with `cert.crt` as the only trust; the status is right at every moment."""
    status = [await gateway.status()]
    async with (
        server.tail(f"/span/collections/{gateway.collection}/from") as messages,
        GatewayProgram(server, files) as program,
    ):
        program.do("connect")
        connected = await tail.until("gatewayConnected")
        status.append(await gateway.status())
        program.do("config")
        config, device_config = await program.hears(), await program.hears()
        await tail.until("gatewayDeviceUpdate", direction="toGateway")
        program.do("device_update", device_id=behind.id, config=EUI | {"fCntUp": "99"}, metadata={"battery": "3.1"})
        await tail.until("gatewayDeviceUpdate", direction="fromGateway")
        reported = await server.call("GET", behind.path)
        program.do("upstream_message", device_id=behind.id, payload="t=21.5", metadata={"rssi": "-71"})
        upstream = await tail.until("upstreamMessage")
        message = await messages.next()
        message_id = await queue(behind, server, b"lights on")
        downstream = await program.hears()
        await tail.until("downstreamMessage")
        program.do("keepalive")
        answer = await program.hears()
        program.do("gateway_metadata", metadata={"software": "7.1"})
        status.append(await gateway.status())
        program.do("close")
        ended = await program.hears()
        left = await tail.until("gatewayDisconnected")
        status.append(await gateway.status())
    document = await server.call("GET", f"{gateway.path}?extended=1")

    assert status == ["offline", "online", "online", "offline"]
    assert config == {"got": "gateway_update", "gateway_id": gateway.id, "config": BAND, "tags": {"floor": "3"}}
    assert device_config == {"got": "device_update", "device_id": behind.id, "config": EUI, "tags": {}}
    assert downstream == {
        "got": "downstream_message",
        "message_id": message_id,
        "device_id": behind.id,
        "payload": "lights on",
    }
    assert answer == {"got": "keepalive_response"}
    assert ended == {"ended": "OK", "text": ""}
    assert [ids_of(each) for each in tail.seen] == [
        ("gatewayConnected", None, gateway.id),
        ("gatewayConfigUpdate", None, gateway.id),
        *[("gatewayDeviceUpdate", behind.id, gateway.id)] * 2,
        ("gatewayUpstreamMessage", behind.id, gateway.id),
        ("upstreamMessage", behind.id, gateway.id),
        ("downstreamQueued", behind.id, None),
        ("gatewayDownstreamMessage", behind.id, gateway.id),
        ("downstreamMessage", behind.id, gateway.id),
        ("gatewayDisconnected", None, gateway.id),
    ]
    assert {each["collectionId"] for each in tail.seen} == {gateway.collection}
    assert {links_of(each, "session") for each in tail.seen if "gateway" in each["event"]} == {
        links_of(connected, "session")
    }

    assert connected["data"].items() >= {"certificateSerial": files.serial, "tlsVersion": "TLSv1.3"}.items()
    assert reported["config"]["gateway"][gateway.id]["params"] == EUI | {"fCntUp": "99"}
    assert reported["metadata"]["gateway"]["params"] == {"battery": "3.1"}
    through, own = tail.seen[4:6]
    assert links_of(through, "cause") == links_of(own, "cause") == f"cause:{own['data']['messageId']}"
    assert through["data"] == {"bytes": "6", "messageId": message["messageId"]}
    assert upstream["data"] == {"bytes": "6", "messageId": message["messageId"], "transport": "gateway"}
    assert (message["transport"], message["gatewayId"]) == ("gateway", gateway.id)
    assert message["gatewayMetaData"] == {"metadata": {"rssi": "-71"}}
    assert (message["device"]["deviceId"], base64.b64decode(message["payload"])) == (behind.id, b"t=21.5")
    queued, handed, sent = tail.seen[6:9]
    assert links_of(queued, "cause") == links_of(handed, "cause") == links_of(sent, "cause")
    assert handed["data"] == {"bytes": "9", "messageId": message_id}
    assert sent["data"].items() >= {"bytes": "9", "messageId": message_id, "transport": "gateway"}.items()
    assert left["data"].items() >= {"reason": "closed", "messagesUp": "5", "messagesDown": "4"}.items()
    assert document["metadata"]["params"] == {"software": "7.1"}


async def test_the_profile_of_span_has_only_its_events(
    server: LiveServer, gateway: LiveGateway, behind: LiveDevice, files: Credentials
) -> None:
    """profile=span: names, ids and keys that Span has, and no others."""
    path = f"/span/collections/{gateway.collection}/activity"
    async with server.tail(path, {"profile": "span"}) as tail, GatewayProgram(server, files) as program:
        await gateway.attach(behind, **EUI)  # the stream has begun when this is told
        await tail.until("deviceUpdated")
        program.do("connect")
        program.do("config")
        await tail.until("gatewayDeviceUpdate")
        program.do("upstream_message", device_id=behind.id, payload="hello", metadata={"rssi": "-71"})
        program.do("close")
        await tail.until("gatewayDisconnected")
    whose = {"collectionId": gateway.collection, "gatewayId": gateway.id}
    told = [{key: value for key, value in each.items() if key != "time"} for each in tail.seen[1:]]
    connected, message = told[0]["data"], told[3]["data"]["messageId"]

    assert connected.keys() == {"remoteAddress", "certificateSerial"}
    assert told == [
        whose | {"event": "gatewayConnected", "data": connected},
        whose | {"event": "gatewayConfigUpdate"},
        whose
        | {"event": "gatewayDeviceUpdate", "deviceId": behind.id, "data": {"entries": "1", "direction": "toGateway"}},
        whose
        | {"event": "gatewayUpstreamMessage", "deviceId": behind.id, "data": {"bytes": "5", "messageId": message}},
        whose | {"event": "upstreamMessage", "deviceId": behind.id, "data": {"bytes": "5", "transport": "gateway"}},
        whose | {"event": "gatewayDisconnected"},
    ]


@pytest.mark.usefixtures("behind")
async def test_changes_through_the_api_are_pushed(
    server: LiveServer, gateway: LiveGateway, files: Credentials, tail: Tail
) -> None:
    """Each change of the gateway and its devices is pushed, with its event."""
    async with configured(gateway, files, tail) as program:
        new = await add_device_behind(gateway, devEui="02")
        heard = [await program.hears()]
        await gateway.attach(new, devEui="03")
        heard.append(await program.hears())
        await server.call("PATCH", new.path, {"tags": {"name": "lamp"}})
        heard.append(await program.hears())
        await gateway.attach(new)
        heard.append(await program.hears())
        await gateway.attach(new, devEui="04")
        heard.append(await program.hears())
        await server.call("DELETE", new.path)
        heard.append(await program.hears())
        await server.call("PATCH", gateway.path, {"config": {"user": {"params": {"band": "915"}}}})
        heard.append(await program.hears())
        await tail.until("gatewayConfigUpdate", trigger="change")
    pushed = [each for each in tail.seen if each["event"].startswith("gateway")]
    causes = [links_of(each, "cause") for each in tail.seen if each["event"].startswith("device")]

    def update(eui: str, **tags: str) -> Document:
        return {"got": "device_update", "device_id": new.id, "config": {"devEui": eui}, "tags": tags}

    assert heard == [
        update("02"),
        update("03"),
        update("03", name="lamp"),
        {"got": "device_removed", "device_id": new.id},
        update("04", name="lamp"),
        {"got": "device_removed", "device_id": new.id},
        {"got": "gateway_update", "gateway_id": gateway.id, "config": {"band": "915"}, "tags": {"floor": "3"}},
    ]
    assert [ids_of(each) for each in pushed[:-1]] == [("gatewayDeviceUpdate", new.id, gateway.id)] * 6
    directions = [each["data"]["direction"] for each in pushed[:-1]]
    assert directions == [*["toGateway"] * 3, "removed", "toGateway", "removed"]
    assert [links_of(each, "cause") for each in pushed[:-1]] == causes


async def test_a_message_waits_for_a_gateway_that_is_away(
    server: LiveServer, gateway: LiveGateway, behind: LiveDevice, files: Credentials, tail: Tail
) -> None:
    """The message is pending until the gateway is connected and configured; then it is sent, and later ones too."""
    first = await queue(behind, server, b"one")
    second = await queue(behind, server, b"two")
    (before,) = {each["state"] for each in (await server.call("GET", f"{behind.path}/outbox"))["messages"]}
    async with GatewayProgram(server, files) as program:
        program.do("connect")
        await tail.until("gatewayConnected")
        program.do("config")
        heard = [await program.hears() for _ in range(4)]
        await tail.until("downstreamMessage", messageId=second)
        after = (await server.call("GET", f"{behind.path}/outbox"))["messages"]
        program.do("close")
        await tail.until("gatewayDisconnected")
        third = await queue(behind, server, b"three")
        await tail.until("downstreamQueued", messageId=third)

    assert before == "pending"
    assert [each["got"] for each in heard] == [
        *("gateway_update", "device_update"),
        *["downstream_message"] * 2,
    ]
    assert [(each["message_id"], each["payload"]) for each in heard[2:]] == [(first, "one"), (second, "two")]
    assert {(each["state"], each["transport"], each["gatewayId"]) for each in after} == {
        ("sent", "gateway", gateway.id)
    }
    assert tail.names == [
        *["downstreamQueued"] * 2,
        *("gatewayConnected", "gatewayConfigUpdate", "gatewayDeviceUpdate"),
        *["gatewayDownstreamMessage", "downstreamMessage"] * 2,
        *("gatewayDisconnected", "downstreamQueued"),
    ]


@pytest.mark.usefixtures("behind")
async def test_a_killed_gateway_is_published_at_once(gateway: LiveGateway, files: Credentials, tail: Tail) -> None:
    """The kernel closes the connection without a TLS alert, by a reset if octets were unread."""
    async with configured(gateway, files, tail) as program:
        program.send_signal(signal.SIGKILL)
        await program.finish()
        error = await tail.until("gatewayCommError")
        left = await tail.until("gatewayDisconnected")
        status = await gateway.status()

    assert tail.names == ["gatewayCommError", "gatewayDisconnected"]
    killed = (GatewayReason.PROCESS_DIED, GatewayReason.CONNECTION_RESET)
    (reason,) = (each for each in killed if each.value == error["data"]["reason"])
    assert left["data"]["reason"] == reason.value
    assert (error["severity"], error["hint"]) == ("error", reason.hint)
    assert links_of(error, "session") == links_of(left, "session")
    assert status == "offline"


@pytest.mark.usefixtures("behind")
async def test_a_frozen_gateway_is_disconnected_by_its_keepalive(
    gateway: LiveGateway, files: Credentials, tail: Tail
) -> None:
    """The kernel still acknowledges octets, so only an unanswered ping shows it; the gateway may connect again."""
    async with configured(gateway, files, tail) as program:
        program.send_signal(signal.SIGSTOP)
        status = [await gateway.status()]
        error = await tail.until("gatewayCommError")
        await tail.until("gatewayDisconnected", reason="keepaliveTimeout")
        status.append(await gateway.status())
        program.send_signal(signal.SIGCONT)
        ended = await program.hears()
        program.do("connect")
        await tail.until("gatewayConnected")
        status.append(await gateway.status())

    assert tail.names == ["gatewayCommError", "gatewayDisconnected", "gatewayConnected"]
    assert error["data"]["reason"] == "keepaliveTimeout"
    assert int(error["data"]["seconds"]) >= SILENCE
    assert status == ["online", "offline", "online"]
    assert ended["ended"] == "UNAVAILABLE"


@pytest.mark.usefixtures("behind")
async def test_a_revoked_certificate_ends_the_session_and_opens_no_other(
    server: LiveServer, gateway: LiveGateway, files: Credentials, tail: Tail
) -> None:
    """Both refusals give the gateway the reason."""
    async with configured(gateway, files, tail) as program:
        await server.call("DELETE", f"/span/collections/{gateway.collection}/certificates/{files.serial}")
        ended = await program.hears()
        await tail.until("gatewayDisconnected", reason="certificateRevoked")
        program.do("connect")
        refused = await program.hears()
        rejected = await tail.until("gatewayRejected", reason="certificateRevoked")
        status = await gateway.status()

    assert ended == {"ended": "UNAUTHENTICATED", "text": "the client certificate was revoked"}
    assert refused["ended"] == "UNAUTHENTICATED"
    assert "create a new one" in refused["text"]
    assert ids_of(rejected) == ("gatewayRejected", None, gateway.id)
    assert rejected["data"]["certificateSerial"] == files.serial
    assert tail.names == ["gatewayDisconnected", "gatewayRejected"]
    assert status == "offline"


async def test_messages_of_a_removed_gateway_fail(
    server: LiveServer, gateway: LiveGateway, behind: LiveDevice, files: Credentials, tail: Tail
) -> None:
    """The device has no other transport and loses its gateway block."""
    async with GatewayProgram(server, files) as program:
        program.do("connect")  # and asks for nothing, so nothing is sent
        await tail.until("gatewayConnected")
        message_id = await queue(behind, server, b"never")
        await server.call("DELETE", gateway.path)
        ended = await program.hears()
        await tail.until("deviceUpdated")
    device = await server.call("GET", behind.path)

    assert ended == {"ended": "NOT_FOUND", "text": "the gateway was removed"}
    assert [ids_of(each) for each in tail.seen[1:]] == [
        ("downstreamQueued", behind.id, None),
        ("gatewayDisconnected", None, gateway.id),
        ("downstreamFailed", behind.id, None),
        ("deviceUpdated", behind.id, None),
    ]
    assert tail.seen[2]["data"]["reason"] == "gatewayRemoved"
    assert tail.seen[3]["data"].items() >= {"messageId": message_id, "reason": "refused"}.items()
    assert "gateway" not in device["config"]


async def test_a_shutdown_tells_gateways_to_connect_again(tmp_path: Path) -> None:
    """At SIGTERM, gateways get GOAWAY; after the restart, they connect with the same certificate."""
    with LiveServer(tmp_path) as server:
        gateway = await add_gateway(server, await server.add_collection())
        device = await add_device_behind(gateway)
        files = await gateway.certificate(tmp_path / "roof")
        async with GatewayProgram(server, files) as program:
            program.do("connect")
            program.do("config")
            assert [(await program.hears())["got"] for _ in range(2)] == ["gateway_update", "device_update"]
            server.stop()
            ended = await program.hears()
        server.start()
        status = [await gateway.status()]
        path = f"/span/collections/{gateway.collection}/activity"
        async with server.tail(path, {"extended": "1"}) as tail, GatewayProgram(server, files) as program:
            program.do("connect")
            program.do("upstream_message", device_id=device.id, payload="back")
            await tail.until("upstreamMessage", bytes="4")
            status.append(await gateway.status())

    assert ended == {"ended": "UNAVAILABLE", "text": "server shutting down, reconnect"}
    assert status == ["offline", "online"]
    assert tail.names == ["gatewayConnected", "gatewayUpstreamMessage", "upstreamMessage"]


async def test_the_command_line_lists_connected_gateways(
    server: LiveServer, gateway: LiveGateway, files: Credentials, tail: Tail
) -> None:
    """`gateway list` shows the connected gateways."""
    environment = {
        "SPAN_API_ENDPOINT": f"http://{server.addresses['http']}",
        "SPAN_API_TOKEN": server.token,
        "SPAN_COLLECTION_ID": gateway.collection,
    }
    before = await run(PROGRAM, "gateway", "list", environment=environment)
    async with GatewayProgram(server, files) as program:
        program.do("connect")
        await tail.until("gatewayConnected")
        during = await run(PROGRAM, "gateway", "list", environment=environment)

    def row(output: str) -> list[str]:
        return next(line for line in output.splitlines() if line.startswith(gateway.id)).split()

    assert row(before.output)[1:4] == ["custom", "roof", "offline"]
    assert row(during.output)[1:4] == ["custom", "roof", "online"]
