"""The TLS engine against clients of the standard library, in memory: handshakes, faults and ends."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.wire.openssl import Identity
from span_events.wire.tls.connections import (
    CertificateFault,
    Closed,
    Data,
    End,
    Established,
    Event,
    Failed,
    Failure,
)
from span_events.wire.tls.openssl import TlsEngine
from tests.bench.certificates import DAY, Holder, rsa_key
from tests.wire.tls.client import TlsClient

ROOT = Holder.root()
SERVERS = ROOT.intermediate("servers")
COLLECTION = ROOT.intermediate("collection")
SERVER_EC = SERVERS.leaf("server", server=True)
SERVER_RSA = SERVERS.leaf("server", server=True, key=rsa_key())
GATEWAY = COLLECTION.leaf("gateway", serial=4711)
STRANGER = Holder.root("other").intermediate("collection").leaf("gateway")
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def make_engine(*, unix_time: Callable[[], int] = lambda: int(time.time())) -> TlsEngine:
    return TlsEngine(
        [Identity(each.key_pem, each.chain_pem) for each in (SERVER_EC, SERVER_RSA)],
        ROOT.pem + COLLECTION.pem,
        unix_time=unix_time,
    )


ENGINE = make_engine()


class Pair:
    """A client, its connection and their events."""

    def __init__(self, client: TlsClient, engine: TlsEngine = ENGINE) -> None:
        self.client = client
        self.connection = engine.accept()
        self.events: list[Event] = []

    def run(self) -> Pair:
        """Exchange octets until both sides have none left."""
        octets = self.client.step()
        while octets:
            self.events += self.connection.feed(octets)
            octets = self.client.step(self.connection.take())
        return self

    @property
    def established(self) -> Established:
        """The only event."""
        (event,) = self.events
        assert isinstance(event, Established)
        return event


# ---- who comes through -----------------------------------------------------------------------


@VERSIONS
def test_a_good_certificate_has_no_fault(version: ssl.TLSVersion) -> None:
    """The client verifies the server's chain and names as well."""
    event = Pair(TlsClient(GATEWAY, version=version)).run().established

    assert event.certificate == GATEWAY.certificate
    assert (event.fault, event.detail, event.protocol) == (None, "", b"h2")
    assert event.version == version.name.replace("v1_", "v1.")


@VERSIONS
@pytest.mark.parametrize(
    ("holder", "fault"),
    [
        (COLLECTION.leaf(begin=-30 * DAY, end=-DAY), CertificateFault.EXPIRED),
        (COLLECTION.leaf(begin=DAY), CertificateFault.NOT_YET_VALID),
        (STRANGER, CertificateFault.UNKNOWN_CA),
        (Holder.root("self-signed"), CertificateFault.UNKNOWN_CA),
        (COLLECTION.leaf(server=True), CertificateFault.WRONG_PURPOSE),
        (Holder.root("other").leaf(begin=-30 * DAY, end=-DAY, server=True), CertificateFault.UNKNOWN_CA),
        (COLLECTION.leaf(begin=-30 * DAY, end=-DAY, server=True), CertificateFault.WRONG_PURPOSE),
    ],
)
def test_a_bad_certificate_is_established_with_its_fault(
    version: ssl.TLSVersion, holder: Holder, fault: CertificateFault
) -> None:
    """The gravest of several faults is reported; the content of a foreign certificate proves nothing."""
    event = Pair(TlsClient(holder, version=version)).run().established

    assert (event.certificate, event.fault) == (holder.certificate, fault)
    assert event.detail


@VERSIONS
def test_a_client_without_a_certificate_is_established(version: ssl.TLSVersion) -> None:
    """The listener refuses the client in the protocol above TLS."""
    event = Pair(TlsClient(version=version)).run().established

    assert (event.certificate, event.fault) == (None, None)


def test_a_known_intermediate_may_be_left_out() -> None:
    """Some clients send their leaf alone."""
    assert Pair(TlsClient(GATEWAY, whole_chain=False)).run().established.fault is None


def test_an_intermediate_may_be_added_later() -> None:
    """Collections are made while the server runs."""
    later = ROOT.intermediate("later")
    engine = make_engine()
    before = Pair(TlsClient(later.leaf(), whole_chain=False), engine).run().established.fault
    engine.trust(later.pem)

    assert before is CertificateFault.UNKNOWN_CA
    assert Pair(TlsClient(later.leaf(), whole_chain=False), engine).run().established.fault is None


def test_certificates_are_verified_at_the_given_time() -> None:
    """The system's clock is not used, so that tests can shift the time."""
    later = time.time() + timedelta(days=15).total_seconds()
    event = Pair(TlsClient(GATEWAY), make_engine(unix_time=lambda: int(later))).run().established

    assert event.fault is CertificateFault.EXPIRED


def test_a_new_identity_is_presented_to_later_clients() -> None:
    """The server's certificate is renewed while it runs."""
    engine = make_engine()
    renewed = SERVERS.leaf("server", server=True)
    first = Pair(TlsClient(GATEWAY), engine).run()
    engine.present([Identity(renewed.key_pem, renewed.chain_pem)])
    second = Pair(TlsClient(GATEWAY), engine).run()
    first.connection.send(b"still here")
    first.client.step(first.connection.take())

    assert first.client.take() == b"still here"
    shown = [each.client.object.getpeercert(binary_form=True) for each in (first, second)]
    assert shown[0] != shown[1]


@VERSIONS
def test_sessions_are_not_resumed(version: ssl.TLSVersion) -> None:
    """A resumed session would present no certificate, so a revocation would not be detected."""
    first = Pair(TlsClient(GATEWAY, version=version)).run()
    first.connection.send(b"x")
    first.client.step(first.connection.take())
    second = Pair(TlsClient(earlier=first.client)).run()

    assert second.established.certificate == GATEWAY.certificate
    assert second.client.object.session_reused is False


def test_the_protocol_chosen_by_alpn_is_reported() -> None:
    """A handshake without a common protocol succeeds: the listener refuses the client itself."""
    assert Pair(TlsClient(GATEWAY, protocols=())).run().established.protocol == b""
    assert Pair(TlsClient(GATEWAY, protocols=("http/1.1",))).run().established.protocol == b""
    assert Pair(TlsClient(GATEWAY, protocols=("http/1.1", "h2"))).run().established.protocol == b"h2"


# ---- who does not ----------------------------------------------------------------------------


@VERSIONS
def test_the_alert_of_a_client_that_rejects_the_server_is_reported(version: ssl.TLSVersion) -> None:
    """Its alert comes before the handshake is complete."""
    pair = Pair(TlsClient(GATEWAY, trusted=Holder.root("another"), version=version)).run()

    assert pair.events == [Failed(Failure.SERVER_REFUSED, "unknown ca")]


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x17\x03\x03\0\0", b"\0"]
)
def test_input_that_is_not_tls_is_quoted(octets: bytes) -> None:
    """The first octets let a developer recognize the input."""
    (event,) = ENGINE.accept().feed(octets)

    assert isinstance(event, Failed)
    assert event.failure is Failure.NOT_TLS
    assert event.detail == f"it begins with {octets[:24]!r}"


def test_an_old_version_is_reported() -> None:
    """TLS 1.1 is refused, with an alert."""
    hello = bytes.fromhex("160301002d" + "01000029" + "0302" + "00" * 32 + "00" + "0002c00a" + "0100")
    connection = ENGINE.accept()
    (event,) = connection.feed(hello)

    assert event == Failed(Failure.UNSUPPORTED_VERSION, "unsupported protocol")
    assert connection.take()[:1] == b"\x15"


def test_a_missing_common_cipher_is_reported() -> None:
    """Suites without forward secrecy are not served."""
    client = TlsClient(GATEWAY, version=ssl.TLSVersion.TLSv1_2, ciphers="AES128-GCM-SHA256")

    assert Pair(client).run().events == [Failed(Failure.NO_SHARED_CIPHER, "no shared cipher")]


# ---- data and ends ---------------------------------------------------------------------------


@VERSIONS
def test_data_goes_both_ways(version: ssl.TLSVersion) -> None:
    """Of any size: it is cut into records."""
    pair = Pair(TlsClient(GATEWAY, version=version)).run()
    large = bytes(range(256)) * 400
    events = pair.connection.feed(pair.client.send(large))
    pair.connection.send(large)
    pair.client.step(pair.connection.take())

    assert b"".join(each.payload for each in events if isinstance(each, Data)) == large
    assert pair.client.take() == large


def test_data_may_arrive_with_the_end_of_the_handshake() -> None:
    """Go sends both in one packet."""
    pair = Pair(TlsClient(GATEWAY))
    client, connection = pair.client, pair.connection
    connection.feed(client.step())
    last = client.step(connection.take()) + client.send(b"at once")
    established, data = connection.feed(last)

    assert isinstance(established, Established)
    assert data == Data(b"at once")


def test_octets_may_arrive_one_by_one() -> None:
    """TCP may split the stream anywhere."""
    pair = Pair(TlsClient(GATEWAY))
    octets = pair.client.step()
    while octets:
        for at in range(len(octets)):
            pair.events += pair.connection.feed(octets[at : at + 1])
        octets = pair.client.step(pair.connection.take())

    assert pair.established.fault is None


@VERSIONS
def test_a_close_notify_is_reported_and_answered(version: ssl.TLSVersion) -> None:
    """A close_notify means an orderly end of the program."""
    pair = Pair(TlsClient(GATEWAY, version=version)).run()
    events = pair.connection.feed(pair.client.send(b"last") + pair.client.close())
    pair.connection.close()
    pair.client.step(pair.connection.take())

    assert events == [Data(b"last"), Closed(End.CLOSE_NOTIFY)]
    assert pair.client.closed


def test_our_close_notify_reaches_the_client() -> None:
    """Closing is idempotent."""
    pair = Pair(TlsClient(GATEWAY)).run()
    pair.connection.close()
    pair.connection.close()
    pair.client.step(pair.connection.take())

    assert pair.client.closed


def test_garbage_on_an_established_connection_ends_it() -> None:
    """For example, octets modified on the way."""
    pair = Pair(TlsClient(GATEWAY)).run()
    record = bytearray(pair.client.send(b"hello"))
    record[-1] ^= 1
    (event,) = pair.connection.feed(bytes(record))

    assert isinstance(event, Closed)
    assert event.end is End.BROKEN
    assert "bad record mac" in event.detail


@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_garbage_ends_in_an_event_or_in_waiting(octets: bytes, begins_like_tls: bool) -> None:
    """No input raises an exception."""
    connection = ENGINE.accept()
    events = connection.feed((b"\x16\x03\x01" if begins_like_tls else b"") + octets)
    connection.take()

    assert not events or (len(events) == 1 and isinstance(events[0], Failed))
