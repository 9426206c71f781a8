"""Span's published DTLS session, byte for byte, on a stream that asks for Span's own events."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from span_events.ids import render
from tests.bench.certificates import Holder, Key
from tests.bench.servers import activity, running
from tests.listeners.dtls.bench import SecureClient
from tests.wire.dtls.client import DtlsClient


async def test_the_published_session_comes_out_byte_for_byte(tmp_path: Path) -> None:
    """clientConnected, upstreamMessage, clientDisconnected: order, keys, and no data where Span sends none."""
    async with running(tmp_path) as run:
        collection = await run.collection()
        device = await run.device(collection)
        signed = await run.server.fleet.certificates.create(device)
        key: Key = load_pem_private_key(signed.private_key_pem, None)  # type: ignore[assignment]  # EC by default
        holder = Holder(key, x509.load_pem_x509_certificate(signed.pem))
        host, _, port = run.server.addresses["datagrams"].rpartition(":")
        async with run.stream(activity(collection) + "?profile=span") as stream:
            await run.joined(1)
            client = SecureClient(DtlsClient(holder), "127.0.0.1", (host, int(port)))
            await client.connect()
            client.say(b"Hello DTL")
            client.leave()
            lines = [await stream.recv() for _ in range(3)]
            client.close()

    whose = f'"collectionId":"{render(collection.id)}"', f'"deviceId":"{render(device.id)}"'
    at = '"time":"2024-04-25 20:23:36"'
    assert lines == [
        f'{{{whose[0]},"data":{{"id":"certificate"}},{whose[1]},"event":"clientConnected",{at}}}\n',
        f'{{{whose[0]},"data":{{"bytes":"9","transport":"dtls"}},{whose[1]},"event":"upstreamMessage",{at}}}\n',
        f'{{{whose[0]},{whose[1]},"event":"clientDisconnected",{at}}}\n',
    ]
