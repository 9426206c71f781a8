"""
Fuzz test of messages from gateways: a stream continues, or ends once with a reason.

Invariant: another gateway is served all the time, no defect is counted, and every opened stream has ended
after its gateway has disconnected.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from span_events.ids import render
from span_events.proto.gateway_pb2 import (
    ConfigRequest,
    ControlStreamRequest,
    DeviceUpdate,
    GatewayMetadataUpdate,
    Keepalive,
    UpstreamMessage,
)
from tests.bench.waiting import until
from tests.listeners.gateways.bench import KEEPALIVE, RawGateway
from tests.listeners.gateways.fleet import FleetGateways, fleet_gateways

ROUNDS = 200


def good_messages(device_id: str) -> list[bytes]:
    """Encode one message of each kind."""
    entries = {"rssi": "-80", "snr": "7"}
    return [
        each.SerializeToString()
        for each in (
            ControlStreamRequest(config=ConfigRequest()),
            ControlStreamRequest(keepalive=Keepalive()),
            ControlStreamRequest(gateway_metadata=GatewayMetadataUpdate(metadata=entries)),
            ControlStreamRequest(
                upstream_message=UpstreamMessage(device_id=device_id, payload=b"hello", metadata=entries)
            ),
            ControlStreamRequest(
                device_update=DeviceUpdate(device_id=device_id, config={"devEui": "1"}, metadata=entries)
            ),
        )
    ]


def mutated(chance: random.Random, messages: list[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Yield flag, announced length and octets of corrupted messages."""
    while True:
        octets = bytearray(chance.choice(messages))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(octets) + 1)
            match chance.randrange(3):
                case 0:
                    octets[at:at] = chance.randbytes(chance.randrange(1, 4))
                case 1:
                    del octets[at : at + chance.randrange(1, 4)]
                case _:
                    octets[at : at + 1] = chance.randbytes(1)
        flag = chance.choices((0, 1, 255), (40, 1, 1))[0]
        lie = chance.choices((None, chance.randrange(1 << 32), len(octets) + 1), (40, 1, 1))[0]
        yield flag, len(octets) if lie is None else lie, bytes(octets)


async def is_served(witness: RawGateway) -> None:
    """Check that a gateway gets answers."""
    before = len(witness.grpc.messages)
    await witness.send(KEEPALIVE)
    await until(lambda: len(witness.grpc.messages) > before)


async def send(bench: FleetGateways, client: RawGateway, flag: int, length: int, octets: bytes) -> bool:
    """Send a message and a valid one; return True if the stream continues."""
    answered = len(client.grpc.messages)
    announced = flag.to_bytes(1, "big") + length.to_bytes(4, "big")
    await client.say(client.grpc.raw(announced + octets))
    if client.grpc.status is None and not client.tls.closed:
        await client.send(KEEPALIVE)
    if length > len(octets) and not flag and length <= 262_144:
        client.die()  # the server waits for the rest
        await until(lambda: len(bench.fleet.gateway_sessions) == 1)
        return False
    await until(lambda: len(client.grpc.messages) > answered or client.grpc.status is not None)
    return client.grpc.status is None


async def test_mutated_messages_end_their_stream_at_most(tmp_path: Path) -> None:
    """False lengths, flags, misplaced octets; each end is published once."""
    chance = random.Random(5)
    async with fleet_gateways(tmp_path) as bench:
        other = await bench.fleet.gateway(bench.collection)
        witness = await bench.raw(await bench.certificate(other)).serve()
        client, streams = await bench.raw().serve(), 1
        messages = mutated(chance, good_messages(render(bench.device.id)))
        for _ in range(ROUNDS):
            if not await send(bench, client, *next(messages)):
                client.die()
                await until(lambda: len(bench.fleet.gateway_sessions) == 1)
                await is_served(witness)
                client, streams = await bench.raw().serve(), streams + 1
        client.die()
        await until(lambda: len(bench.fleet.gateway_sessions) == 1)
        await is_served(witness)
        ends = [data["reason"] for name, data in bench.fleet.published if name == "gatewayDisconnected"]

        assert len(ends) == streams
        assert streams > ROUNDS / 10
        assert set(ends) == {"malformed", "messageTooLarge", "unsupportedEncoding", "processDied"}
        assert witness.grpc.status is None
