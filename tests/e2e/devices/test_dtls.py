"""DTLS with OpenSSL's client, with certificates and keys from the command line, as the README shows."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench.live import Credentials, LiveDevice, LiveServer
from tests.bench.peers.relay import Relay, rough
from tests.bench.programs import PROGRAM, Program, run

KEY = "30313233343536373839616263646566"
SESSION = ["clientConnected", "upstreamMessage", "clientDisconnected"]
SEEDS = (0, 8, 12, 13, 18, 21, 27, 33, 35, 36, 42, 43)
"""One client each. Chance decides which datagrams are lost, the same each time: of these clients, each loses some, and
the last one connects after 3 s of OpenSSL's timers."""


async def command(server: LiveServer, device: LiveDevice, *arguments: str) -> str:
    """Run a command about the device, as one who has set the README's variables; return what it prints."""
    environment = {
        "SPAN_API_ENDPOINT": f"http://{server.addresses['http']}",
        "SPAN_API_TOKEN": server.token,
        "SPAN_COLLECTION_ID": device.collection,
        "SPAN_DEVICE_ID": device.id,
    }
    ended = await run(PROGRAM, *arguments, environment=environment)
    assert ended.status == 0, ended.complaints
    return ended.output.strip()


def s_client(address: str, *arguments: str | Path) -> tuple[str, ...]:
    """Return the command of OpenSSL's client."""
    return ("openssl", "s_client", "-dtls1_2", "-connect", address, *map(str, arguments))


async def certificate(server: LiveServer, device: LiveDevice, folder: Path) -> tuple[str, Credentials]:
    """Make a certificate on the command line; return its serial number and its files."""
    serial = await command(server, device, "cert", "create", "--out", str(folder))
    return serial, Credentials(folder / "cert.crt", folder / "key.pem")


def shown(files: Credentials) -> tuple[str | Path, ...]:
    """Return the arguments of OpenSSL's client for a certificate."""
    return ("-cert", files.certificate, "-key", files.key, "-CAfile", files.certificate, "-verify_return_error")


async def test_a_certificate_from_the_command_line_opens_a_session(
    server: LiveServer, device: LiveDevice, tmp_path: Path
) -> None:
    """A line typed, and Ctrl-D: exactly three events."""
    serial, files = await certificate(server, device, tmp_path / "lamp")
    async with server.tail(f"/span/collections/{device.collection}/activity", {"extended": "1"}) as tail:
        ended = await run(*s_client(server.addresses["datagrams"], *shown(files)), typed="hello\n")
        for _ in SESSION:
            await tail.next()
        await server.call("PATCH", device.path, {"tags": {"name": "lamp"}})
        await tail.next()
    connected, message, left = (event["data"] for event in tail.seen[:-1])

    assert tail.names == [*SESSION, "deviceUpdated"]
    assert "Verify return code: 0 (ok)" in ended.output
    assert {event["deviceId"] for event in tail.seen} == {device.id}
    assert connected.keys() == {
        *("id", "transport", "remoteAddress", "certificateSerial", "cipher", "handshakeMs", "retransmissions")
    }
    assert (connected["id"], connected["transport"], connected["certificateSerial"]) == ("certificate", "dtls", serial)
    assert (connected["cipher"], connected["retransmissions"]) == ("ECDHE-ECDSA-AES128-GCM-SHA256", "0")
    assert 0 <= int(connected["handshakeMs"]) < 5000
    assert (message["bytes"], message["transport"]) == ("6", "dtls")
    assert (left["reason"], left["transport"]) == ("closeNotify", "dtls")


async def test_a_key_from_the_command_line_opens_a_session(server: LiveServer, device: LiveDevice) -> None:
    """The same with a PSK."""
    await command(server, device, "device", "psk", "--identity", "bench", "--key", KEY)
    async with server.tail(f"/span/collections/{device.collection}/activity", {"extended": "1"}) as tail:
        arguments = ("-psk_identity", "bench", "-psk", KEY)
        await run(*s_client(server.addresses["datagrams"], *arguments), typed="hello\n")
        for _ in SESSION:
            await tail.next()
        await server.call("PATCH", device.path, {"tags": {"name": "lamp"}})
        await tail.next()
    connected, message, left = (event["data"] for event in tail.seen[:-1])

    assert tail.names == [*SESSION, "deviceUpdated"]
    assert connected.keys() == {"id", "transport", "remoteAddress", "cipher", "handshakeMs", "retransmissions"}
    assert (connected["id"], connected["transport"]) == ("psk", "dtls")
    assert (message["bytes"], message["transport"]) == ("6", "dtls")
    assert (left["reason"], left["transport"]) == ("closeNotify", "dtls")


async def test_a_session_is_published_as_span_does(server: LiveServer, device: LiveDevice) -> None:
    """profile=span: the three lines as Span publishes them, ids and times aside."""
    files = await server.add_certificate(device)
    async with server.tail(f"/span/collections/{device.collection}/activity", {"profile": "span"}) as tail:
        await server.call("PATCH", device.path, {"tags": {"name": "lamp"}})  # the stream has begun when this is told
        await tail.until("deviceUpdated")
        await run(*s_client(server.addresses["datagrams"], *shown(files)), typed="Hello DT\n")
        await tail.until("clientDisconnected")

    whose = f'"collectionId":"{device.collection}"', f'"deviceId":"{device.id}"'
    at = [f'"time":"{event["time"]}"' for event in tail.seen[1:]]
    assert tail.lines[1:] == [
        f'{{{whose[0]},"data":{{"id":"certificate"}},{whose[1]},"event":"clientConnected",{at[0]}}}\n',
        f'{{{whose[0]},"data":{{"bytes":"9","transport":"dtls"}},{whose[1]},"event":"upstreamMessage",{at[1]}}}\n',
        f'{{{whose[0]},{whose[1]},"event":"clientDisconnected",{at[2]}}}\n',
    ]
    assert all(len(json.loads(line)["time"]) == len("2024-04-25 20:23:36") for line in tail.lines)


async def test_clients_connect_despite_loss_and_repetition(server: LiveServer, device: LiveDevice) -> None:
    """With 20 % of the datagrams lost each way and 5 % repeated, all clients connect at some attempt."""
    files = await server.add_certificate(device)
    async with (
        server.tail(f"/span/collections/{device.collection}/activity", {"extended": "1"}) as tail,
        AsyncExitStack() as stack,
    ):
        relays, programs = [], []
        for seed in SEEDS:
            there, back = rough(seed), rough(1000 + seed)
            relay = Relay(server.addresses["datagrams"], device.address, there=there, back=back)
            relays.append(stack.enter_context(relay))
            programs.append(await stack.enter_async_context(Program(*s_client(relay.address, *shown(files)))))
        for _ in relays:
            await tail.until("clientConnected")
        for program in programs:
            while "Verify return code: 0 (ok)" not in await program.line():
                pass
        remotes = {relay.remote for relay in relays}
    connected = [event["data"] for event in tail.seen]

    assert tail.names == ["clientConnected"] * len(SEEDS)
    assert {each["remoteAddress"] for each in connected} == remotes
    assert sum(relay.lost for relay in relays) > len(SEEDS)
    assert any(int(each["retransmissions"]) for each in connected)
