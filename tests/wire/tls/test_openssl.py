"""The TLS engine against clients of the standard library, in memory: who comes through, and what is known of him."""

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
    """A client and its connection, and what came of it."""

    def __init__(self, client: TlsClient, engine: TlsEngine = ENGINE) -> None:
        self.client = client
        self.connection = engine.accept()
        self.events: list[Event] = []

    def run(self) -> Pair:
        """Carry octets to and fro until nobody has anything to say."""
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
    """The client believes our chain, too, and the names in it."""
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
def test_a_bad_certificate_comes_through_with_its_fault(
    version: ssl.TLSVersion, holder: Holder, fault: CertificateFault
) -> None:
    """Of several faults the gravest: what a stranger writes into a certificate means nothing."""
    event = Pair(TlsClient(holder, version=version)).run().established

    assert (event.certificate, event.fault) == (holder.certificate, fault)
    assert event.detail


@VERSIONS
def test_a_client_without_a_certificate_comes_through(version: ssl.TLSVersion) -> None:
    """It is told so where it can read it."""
    event = Pair(TlsClient(version=version)).run().established

    assert (event.certificate, event.fault) == (None, None)


def test_an_intermediate_that_we_know_may_be_left_out() -> None:
    """Some clients send their leaf alone."""
    assert Pair(TlsClient(GATEWAY, whole_chain=False)).run().established.fault is None


def test_an_intermediate_of_later_is_known_once_it_is_told() -> None:
    """Collections are made while the server runs."""
    later = ROOT.intermediate("later")
    engine = make_engine()
    before = Pair(TlsClient(later.leaf(), whole_chain=False), engine).run().established.fault
    engine.trust(later.pem)

    assert before is CertificateFault.UNKNOWN_CA
    assert Pair(TlsClient(later.leaf(), whole_chain=False), engine).run().established.fault is None


def test_certificates_are_judged_by_the_time_that_is_given() -> None:
    """Not by the system's, so that tests can move it."""
    later = time.time() + timedelta(days=15).total_seconds()
    event = Pair(TlsClient(GATEWAY), make_engine(unix_time=lambda: int(later))).run().established

    assert event.fault is CertificateFault.EXPIRED


def test_another_identity_is_shown_to_those_who_come_later() -> None:
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
    """A resumed session would show no certificate, and not that it is revoked."""
    first = Pair(TlsClient(GATEWAY, version=version)).run()
    first.connection.send(b"x")
    first.client.step(first.connection.take())
    second = Pair(TlsClient(earlier=first.client)).run()

    assert second.established.certificate == GATEWAY.certificate
    assert second.client.object.session_reused is False


def test_what_alpn_agrees_on_is_told() -> None:
    """None is no reason to break off: the listener refuses it in its own words."""
    assert Pair(TlsClient(GATEWAY, protocols=())).run().established.protocol == b""
    assert Pair(TlsClient(GATEWAY, protocols=("http/1.1",))).run().established.protocol == b""
    assert Pair(TlsClient(GATEWAY, protocols=("http/1.1", "h2"))).run().established.protocol == b"h2"


# ---- who does not ----------------------------------------------------------------------------


@VERSIONS
def test_a_client_that_does_not_trust_us_says_so(version: ssl.TLSVersion) -> None:
    """Its alert comes before the handshake is complete."""
    pair = Pair(TlsClient(GATEWAY, trusted=Holder.root("another"), version=version)).run()

    assert pair.events == [Failed(Failure.SERVER_REFUSED, "unknown ca")]


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x17\x03\x03\0\0", b"\0"]
)
def test_what_is_not_tls_is_shown(octets: bytes) -> None:
    """The first octets tell people what it was."""
    (event,) = ENGINE.accept().feed(octets)

    assert isinstance(event, Failed)
    assert event.failure is Failure.NOT_TLS
    assert event.detail == f"it begins with {octets[:24]!r}"


def test_an_old_version_is_named() -> None:
    """TLS 1.1 is refused, with an alert."""
    hello = bytes.fromhex("160301002d" + "01000029" + "0302" + "00" * 32 + "00" + "0002c00a" + "0100")
    connection = ENGINE.accept()
    (event,) = connection.feed(hello)

    assert event == Failed(Failure.UNSUPPORTED_VERSION, "unsupported protocol")
    assert connection.take()[:1] == b"\x15"


def test_no_shared_cipher_is_named() -> None:
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


def test_data_may_come_with_the_end_of_the_handshake() -> None:
    """Go sends both in one packet."""
    pair = Pair(TlsClient(GATEWAY))
    client, connection = pair.client, pair.connection
    connection.feed(client.step())
    last = client.step(connection.take()) + client.send(b"at once")
    established, data = connection.feed(last)

    assert isinstance(established, Established)
    assert data == Data(b"at once")


def test_octets_may_come_one_by_one() -> None:
    """TCP cuts where it likes."""
    pair = Pair(TlsClient(GATEWAY))
    octets = pair.client.step()
    while octets:
        for at in range(len(octets)):
            pair.events += pair.connection.feed(octets[at : at + 1])
        octets = pair.client.step(pair.connection.take())

    assert pair.established.fault is None


@VERSIONS
def test_a_goodbye_is_told_apart_and_answered(version: ssl.TLSVersion) -> None:
    """close_notify: the program ended in order."""
    pair = Pair(TlsClient(GATEWAY, version=version)).run()
    events = pair.connection.feed(pair.client.send(b"last") + pair.client.close())
    pair.connection.close()
    pair.client.step(pair.connection.take())

    assert events == [Data(b"last"), Closed(End.CLOSE_NOTIFY)]
    assert pair.client.closed


def test_our_goodbye_reaches_the_client() -> None:
    """Twice does no harm."""
    pair = Pair(TlsClient(GATEWAY)).run()
    pair.connection.close()
    pair.connection.close()
    pair.client.step(pair.connection.take())

    assert pair.client.closed


def test_garbage_within_a_connection_ends_it() -> None:
    """Somebody between the two has changed it, say."""
    pair = Pair(TlsClient(GATEWAY)).run()
    record = bytearray(pair.client.send(b"hello"))
    record[-1] ^= 1
    (event,) = pair.connection.feed(bytes(record))

    assert isinstance(event, Closed)
    assert event.end is End.BROKEN
    assert "bad record mac" in event.detail


@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_garbage_ends_in_an_event_or_in_waiting(octets: bytes, begins_like_tls: bool) -> None:
    """Never in an exception."""
    connection = ENGINE.accept()
    events = connection.feed((b"\x16\x03\x01" if begins_like_tls else b"") + octets)
    connection.take()

    assert not events or (len(events) == 1 and isinstance(events[0], Failed))
