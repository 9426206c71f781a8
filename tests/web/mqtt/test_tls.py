"""MQTT with TLS: the server's own certificate, a renewed one, and clients that never shake hands."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from span_events.wire.openssl import Identity
from tests.bench.certificates import Holder
from tests.bench.waiting import PATIENCE, until
from tests.web.mqtt.bench import MqttBench, mqtt_bench
from tests.web.test_tls import serial_of, trusting


def identity(holder: Holder) -> Identity:
    """Return what the listener shows of a certificate's holder."""
    return Identity(holder.key_pem, holder.chain_pem)


async def joined(site: MqttBench, context: ssl.SSLContext, client_id: str) -> None:
    """Subscribe over TLS, receive a message, and leave."""
    device = await site.device(await site.fleet.collection())
    async with site.client(ssl=context, server_hostname="localhost") as subscriber:
        assert await subscriber.connect("*", site.token, client_id=client_id) == 0
        assert await subscriber.subscribe("#") == [0]
        site.receive(device)
        assert (await subscriber.publication())[1]["payload"] == "aGVsbG8="


async def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on(tmp_path: Path) -> None:
    root = Holder.root()
    first, second = root.leaf(server=True), root.leaf(server=True)
    context = trusting(root.pem)
    async with mqtt_bench(tmp_path, [identity(first)], mqtt={"tls": True}) as site:
        address = site.listener.address
        before = await serial_of(address, context)
        async with site.client(ssl=context, server_hostname="localhost") as old:
            await old.connect("*", site.token, client_id="old")
            site.listener.present([identity(second)])
            after = await serial_of(address, context)
            await old.ping()
        await joined(site, context, "new")

    assert [before, after] == [each.certificate.serial_number for each in (first, second)]


async def test_clients_that_never_shake_hands_make_room_for_others(tmp_path: Path) -> None:
    root = Holder.root()
    async with mqtt_bench(tmp_path, [identity(root.leaf(server=True))], mqtt={"tls": True, "connections": 3}) as site:
        host, _, port = site.listener.address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(10)]
        async with asyncio.timeout(PATIENCE):
            ends = [await reader.read() for reader, _ in silent[:6]]
        await joined(site, trusting(root.pem), "client")
        for _, writer in silent:
            writer.transport.abort()
        await until(lambda: site.metric("mqtt_connections") == 0)

    assert ends == [b""] * 6
