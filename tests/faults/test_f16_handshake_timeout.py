"""F16: a client stops in the middle of the handshake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from span_events.events.reasons import ClientRejectedReason
from span_events.wire.dtls.records import records
from tests.bench.live import LiveServer
from tests.bench.peers.relay import Relay
from tests.bench.programs import Finished
from tests.faults.secure import Attempt, SecureScene, shown

TIMEOUT = 3.7
"""Seconds; OpenSSL repeats a flight after one second, and again after two more; a good client connects within them."""
HELLO_VERIFY_REQUEST = 3
NOTHING_MORE = Finished(0, "", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server with a short handshake timeout."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"dtls.handshake_timeout": TIMEOUT}) as started:
        yield started


def only_the_cookie(datagram: bytes) -> Sequence[float]:
    """Drop all datagrams of the server but its HelloVerifyRequest, as on a path with a small MTU."""
    return (0.0,) if datagram[13] == HELLO_VERIFY_REQUEST else ()


def only_the_clear(datagram: bytes) -> Sequence[float]:
    """Drop encrypted records: the client's Finished."""
    return () if any(record.epoch for record in records(datagram)) else (0.0,)


async def test_a_client_that_receives_no_server_hello_times_out(secure: SecureScene) -> None:
    """The client repeated the cookie, so its address is real, but its identity is unknown."""
    target = secure.scene.server.addresses["datagrams"]
    with Relay(target, secure.scene.device.address, back=only_the_cookie) as relay:
        async with secure.client(to=relay.address):
            attempt = Attempt(relay.remote, NOTHING_MORE)
            data = await secure.rejected(ClientRejectedReason.HANDSHAKE_TIMEOUT, attempt)
        assert relay.lost >= 2
    await secure.session()

    assert int(data.pop("seconds")) >= 1
    assert int(data.pop("retransmissions")) >= 1
    assert data == {"stage": "ServerHelloDone"}


async def test_a_client_whose_finished_is_lost_times_out(secure: SecureScene) -> None:
    """The client has sent its certificate, so the event belongs to its device."""
    target = secure.scene.server.addresses["datagrams"]
    with Relay(target, secure.scene.device.address, there=only_the_clear) as relay:
        async with secure.client(*shown(secure.credentials), "-mtu", "300", to=relay.address):
            attempt = Attempt(relay.remote, NOTHING_MORE)
            data = await secure.rejected(ClientRejectedReason.HANDSHAKE_TIMEOUT, attempt, of=secure.device)
        assert relay.lost >= 1
    await secure.session()

    assert data["stage"] == "ChangeCipherSpec"
    assert int(data["seconds"]) >= 1
    assert int(data["retransmissions"]) >= 0  # retransmissions of the client restart the server's timer
