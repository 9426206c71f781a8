"""Alerts of clients, in TLS and DTLS, during the handshake and after it."""

from __future__ import annotations

import time

import pytest

from span_events.wire.dtls.engine import Closed, End, Failed, Failure, Verdict
from span_events.wire.dtls.hello import hello_verify_request, read_hello
from span_events.wire.dtls.openssl import OpensslEngine
from span_events.wire.openssl import Identity
from span_events.wire.tls.alerts import ALERTS, REFUSES_CERTIFICATE, alert_name
from span_events.wire.tls.connections import Closed as TlsClosed
from span_events.wire.tls.connections import End as TlsEnd
from span_events.wire.tls.connections import Failed as TlsFailed
from span_events.wire.tls.connections import Failure as TlsFailure
from span_events.wire.tls.openssl import TlsEngine
from tests.bench.certificates import Holder
from tests.wire.tls.alert_client import AlertClient

ROOT = Holder.root()
SERVER = ROOT.intermediate("servers").leaf("server", server=True)
COLLECTION = ROOT.intermediate("collection")
CLIENT = COLLECTION.leaf("client")
SHOWN = [Identity(SERVER.key_pem, SERVER.chain_pem)]
TLS_VERSIONS = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
ALL = range(1, 256)
"""All alerts except close_notify."""
NOT_FATAL = frozenset({90})
"""In TLS 1.3 user_canceled announces a close_notify, whatever its level says (RFC 8446 §6.1)."""


class FixedCheck:
    """A check that admits every client."""

    def judge(self, _certificate: object) -> Verdict:
        """Admit a certificate."""
        return Verdict.ADMITTED

    def key_of(self, _identity: bytes) -> bytes | None:
        """Know no key."""
        return None


TLS_ENGINE = TlsEngine(SHOWN, ROOT.pem + COLLECTION.pem, unix_time=lambda: int(time.time()))
DTLS_ENGINE = OpensslEngine(SHOWN, ROOT.pem + COLLECTION.pem, unix_time=lambda: int(time.time()))


@TLS_VERSIONS
def test_an_alert_in_a_tls_handshake_is_named(version: str) -> None:
    """OpenSSL has several texts for alerts, and none for some; the number always identifies the alert."""
    for number in ALL:
        client = AlertClient(CLIENT, version)
        connection = TLS_ENGINE.accept()
        connection.feed(client.step())
        events = connection.feed(client.alert_in_clear(number))

        refused = number in (42, 43, 44, 45, 46, 48, 49)
        failure = TlsFailure.SERVER_REFUSED if refused else TlsFailure.CLIENT_ALERT
        ignored = version == "TLSv1.3" and number in NOT_FATAL
        assert events == ([] if ignored else [TlsFailed(failure, alert_name(number))]), number


@TLS_VERSIONS
def test_an_alert_on_an_established_tls_connection_ends_it(version: str) -> None:
    """Some clients verify the certificate only after the handshake."""
    for number in ALL:
        client = AlertClient(CLIENT, version)
        connection = TLS_ENGINE.accept()
        octets = client.step()
        while octets:
            connection.feed(octets)
            octets = client.step(connection.take())
        events = connection.feed(client.alert(number))

        closed = TlsClosed(TlsEnd.ALERT, alert_name(number), refuses_us=number in REFUSES_CERTIFICATE)
        ignored = version == "TLSv1.3" and number in NOT_FATAL
        assert events == ([] if ignored else [closed]), number


def test_an_alert_in_a_dtls_handshake_is_named() -> None:
    """The alert is unencrypted, like all records of a client before its Finished."""
    for number in ALL:
        client = AlertClient(CLIENT, "DTLSv1.2")
        hello = client.step(hello_verify_request(read_hello(client.step()), b"c" * 32))
        session, events = DTLS_ENGINE.accept(hello, read_hello(hello), FixedCheck())
        failed = session.feed(client.alert_in_clear(number))

        assert events == (), number
        assert failed == [Failed(Failure.CLIENT_ALERT, alert_name(number))], number


def test_an_alert_on_an_established_dtls_session_ends_it() -> None:
    """A session that OpenSSL has ended would accept datagrams for ever, and deliver none."""
    for number in ALL:
        client = AlertClient(CLIENT, "DTLSv1.2")
        hello = client.step(hello_verify_request(read_hello(client.step()), b"c" * 32))
        session, _ = DTLS_ENGINE.accept(hello, read_hello(hello), FixedCheck())
        while answers := session.take():
            for each in answers:
                flight = client.step(each)
                if flight:
                    session.feed(flight)
        assert session.established, number

        assert session.feed(client.alert(number)) == [Closed(End.ALERT, alert_name(number))], number


def test_an_alert_without_a_name_is_reported_by_text_or_number() -> None:
    """A client may send an unassigned number."""
    assert 255 not in ALERTS
    assert alert_name(255) == "alert 255"
