"""
The engine on OpenSSL with clients on OpenSSL, in memory: no sockets, loss and reordering by the tests.

These tests also fail when the low-level names of pyOpenSSL change that the engine uses: PSK, the verify callback,
and the cookie that was verified before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from cryptography import x509

from span_events.wire.dtls.engine import Closed, Data, End, Established, Event, Failed, Failure, Verdict
from span_events.wire.dtls.hello import hello_verify_request, read_hello
from span_events.wire.dtls.openssl import OpensslEngine, OpensslSession
from span_events.wire.dtls.records import MTU, SMALL_MTU, Alert, is_dtls, records
from span_events.wire.dtls.suites import SUITES
from span_events.wire.openssl import Identity
from tests.bench.certificates import DAY, Holder, rsa_key
from tests.bench.waiting import PATIENCE
from tests.wire.dtls.client import DtlsClient

ROOT = Holder.root()
SERVERS = ROOT.intermediate("servers")
COLLECTION = ROOT.intermediate("collection")
SERVER_EC = SERVERS.leaf("server", server=True)
SERVER_RSA = SERVERS.leaf("server", server=True, key=rsa_key())
DEVICE = COLLECTION.leaf("device", serial=4711)
PSK = (b"device-1", b"0123456789abcdef")
CBC = "PSK-AES128-CBC-SHA256:@SECLEVEL=0"


class FixedCheck:
    """A check that knows one PSK, and gives the test's verdict on certificates."""

    def __init__(self, verdict: Verdict = Verdict.ADMITTED) -> None:
        self.verdict = verdict
        self.judged: list[x509.Certificate] = []

    def judge(self, certificate: x509.Certificate) -> Verdict:
        """Return the verdict of the test."""
        self.judged.append(certificate)
        return self.verdict

    def key_of(self, identity: bytes) -> bytes | None:
        """Return the key of an identity."""
        return PSK[1] if identity == PSK[0] else None


def make_engine(*, unix_time: Callable[[], int] = lambda: int(time.time())) -> OpensslEngine:
    return OpensslEngine(
        [Identity(each.key_pem, each.chain_pem) for each in (SERVER_EC, SERVER_RSA)],
        ROOT.pem + COLLECTION.pem,
        unix_time=unix_time,
    )


ENGINE = make_engine()


class Pair:
    """A client, its session, and the events of the session."""

    def __init__(self, client: DtlsClient, check: FixedCheck | None = None, engine: OpensslEngine = ENGINE) -> None:
        self.client = client
        self.check = check or FixedCheck()
        self.events: list[Event] = []
        (first,) = client.start()
        (second,) = client.step(hello_verify_request(read_hello(first), b"c" * 32))
        self.hello = second
        self.session: OpensslSession
        self.session, events = engine.accept(second, read_hello(second), self.check)
        self.events += events

    def run(self) -> Pair:
        """Exchange datagrams until neither side sends any."""
        answers = self.session.take()
        while answers:
            assert all(len(each) <= MTU and is_dtls(each) for each in answers)
            for datagram in self.client.step(*answers):
                self.feed(datagram)
            answers = self.session.take()
        return self

    def feed(self, datagram: bytes) -> Sequence[Event]:
        """Pass a datagram to the session."""
        events = self.session.feed(datagram)
        self.events += events
        return events

    @property
    def failure(self) -> Failed:
        """The only event, which must be a failure."""
        (event,) = self.events
        assert isinstance(event, Failed)
        return event


def established(client: DtlsClient) -> Pair:
    pair = Pair(client).run()
    assert client.established, client.failure
    return pair


# ---- accepted clients ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holder", "ciphers"),
    [
        (DEVICE, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (DEVICE, "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"),
        (DEVICE, "ECDHE-RSA-AES128-GCM-SHA256"),
        (COLLECTION.leaf(key=rsa_key()), "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (COLLECTION.leaf(key=rsa_key()), "ECDHE-RSA-AES256-GCM-SHA384"),
    ],
)
def test_a_certificate_opens_a_session(holder: Holder, ciphers: str) -> None:
    """One context serves EC and RSA keys on both sides."""
    pair = established(DtlsClient(holder, ciphers=ciphers, trusted=ROOT))
    (event,) = pair.events

    assert isinstance(event, Established)
    assert event.certificate == holder.certificate
    assert event.psk_identity is None
    assert event.cipher == ciphers.partition(":")[0]
    assert pair.check.judged == [holder.certificate]


@pytest.mark.parametrize("suite", [each for each in SUITES if "PSK" in each])
def test_a_psk_opens_a_session(suite: str) -> None:
    """Suites with and without ECDHE are accepted."""
    (event,) = established(DtlsClient(psk=PSK, ciphers=f"{suite}:@SECLEVEL=0")).events

    assert event == Established(None, PSK[0], suite)


@pytest.mark.parametrize("suite", [each for each in SUITES if "ECDSA" in each])
def test_every_listed_suite_is_accepted(suite: str) -> None:
    """OpenSSL would silently ignore an unknown name."""
    established(DtlsClient(DEVICE, ciphers=f"{suite}:@SECLEVEL=0"))


def test_suites_with_psk_are_preferred() -> None:
    """Many clients with a PSK offer suites with certificates first, but have no certificate."""
    client = DtlsClient(psk=PSK, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:PSK-AES128-GCM-SHA256")

    assert isinstance(established(client).events[0], Established)


def test_a_client_may_omit_its_intermediate() -> None:
    """OpenSSL's client sends only the leaf."""
    established(DtlsClient(DEVICE, whole_chain=False))


def test_a_new_intermediate_is_trusted() -> None:
    """Collections are created while sessions are open."""
    engine = make_engine()
    added = ROOT.intermediate("added")
    client = DtlsClient(added.leaf(), whole_chain=False)
    failed = Pair(client, engine=engine).run().failure
    engine.trust(added.pem)
    pair = Pair(DtlsClient(added.leaf(), whole_chain=False), engine=engine).run()

    assert failed.failure is Failure.UNKNOWN_CA
    assert isinstance(pair.events[0], Established)


def test_a_new_server_certificate_ends_no_session() -> None:
    """After a renewal, an open session continues, and the next handshake has the new certificate."""
    engine = make_engine()
    old = Pair(DtlsClient(DEVICE), engine=engine).run()
    other = Holder.root("other").intermediate().leaf(server=True)
    engine.present([Identity(other.key_pem, other.chain_pem)])
    fresh = Pair(DtlsClient(DEVICE, trusted=ROOT), engine=engine).run()

    assert old.feed(old.client.send(b"hello")[0]) == [Data(b"hello")]
    assert fresh.failure.failure is Failure.CLIENT_ALERT


# ---- rejected clients ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "failure", "alert"),
    [
        (DtlsClient, Failure.NO_CREDENTIALS, "handshake failure"),
        (lambda: DtlsClient(Holder.root("x").leaf()), Failure.UNKNOWN_CA, "unknown ca"),
        (lambda: DtlsClient(Holder.root("x").intermediate().leaf()), Failure.UNKNOWN_CA, "unknown ca"),
        (
            lambda: DtlsClient(Holder.root("root").intermediate("collection").leaf()),
            Failure.UNKNOWN_CA,
            "decrypt error",
        ),
        (
            lambda: DtlsClient(COLLECTION.leaf(begin=-3 * DAY, end=-DAY)),
            Failure.CERTIFICATE_EXPIRED,
            "certificate expired",
        ),
        (lambda: DtlsClient(COLLECTION.leaf(begin=DAY)), Failure.CERTIFICATE_NOT_YET_VALID, "bad certificate"),
        (lambda: DtlsClient(COLLECTION.leaf(server=True)), Failure.CERTIFICATE_INVALID, "unsupported certificate"),
        (lambda: DtlsClient(DEVICE, ciphers="ECDHE-ECDSA-AES256-SHA"), Failure.NO_SHARED_CIPHER, "handshake failure"),
        (lambda: DtlsClient(psk=(b"nobody", PSK[1])), Failure.IDENTITY_REFUSED, "unknown psk identity"),
        (lambda: DtlsClient(psk=(PSK[0], b"wrong" * 4)), Failure.PSK_MISMATCH, "bad record mac"),
        (lambda: DtlsClient(psk=(PSK[0], b"wrong" * 4), ciphers=CBC), Failure.PSK_MISMATCH, "bad record mac"),
    ],
)
def test_a_failure_has_a_cause_and_an_alert_for_the_client(
    client: Callable[[], DtlsClient], failure: Failure, alert: str
) -> None:
    """The event has the cause, and the client receives a matching alert."""
    pair = Pair(client()).run()

    assert pair.failure.failure is failure
    assert alert in pair.client.failure
    assert not pair.session.established


def test_a_failure_has_the_certificate_of_the_client() -> None:
    """The failure has the leaf, also when the intermediate is unknown."""
    holder = Holder.root("x").intermediate("y").leaf("z")

    assert Pair(DtlsClient(holder)).run().failure.certificate == holder.certificate


def test_a_failure_has_the_psk_identity() -> None:
    """The identity may be known or unknown."""
    assert Pair(DtlsClient(psk=(b"nobody", PSK[1]))).run().failure.psk_identity == b"nobody"
    assert Pair(DtlsClient(psk=(PSK[0], b"wrong" * 4))).run().failure.psk_identity == PSK[0]


def test_a_client_that_does_not_trust_the_server_fails_with_its_alert() -> None:
    """The client ends the handshake with an alert, whose name is the detail."""
    failed = Pair(DtlsClient(DEVICE, trusted=Holder.root("other"))).run().failure

    assert (failed.failure, failed.detail) == (Failure.CLIENT_ALERT, "unknown ca")


@pytest.mark.parametrize(
    ("verdict", "alert"), [(Verdict.REVOKED, "certificate revoked"), (Verdict.REFUSED, "bad certificate")]
)
def test_the_check_rejects_during_the_handshake(verdict: Verdict, alert: str) -> None:
    """The client is never in the state of an established session."""
    pair = Pair(DtlsClient(DEVICE), FixedCheck(verdict)).run()

    assert pair.failure.failure is Failure.CERTIFICATE_REFUSED
    assert alert in pair.client.failure
    assert not pair.client.established


def test_certificates_are_checked_at_the_given_time() -> None:
    """Certificates must be valid at that time."""
    later = make_engine(unix_time=lambda: int(time.time() + timedelta(days=30).total_seconds()))

    assert Pair(DtlsClient(DEVICE), engine=later).run().failure.failure is Failure.CERTIFICATE_EXPIRED


def test_each_session_has_its_own_time() -> None:
    """Each session uses its own time, not that of the first session."""
    now = time.time()
    engine = make_engine(unix_time=lambda: int(now))
    assert Pair(DtlsClient(DEVICE), engine=engine).run().session.established
    now += timedelta(days=30).total_seconds()

    assert Pair(DtlsClient(DEVICE), engine=engine).run().failure.failure is Failure.CERTIFICATE_EXPIRED


@pytest.mark.parametrize("kind", ["certificate", "psk"])
def test_no_session_is_resumed(kind: str) -> None:
    """A resumed session would have no identity, because neither callback is called."""

    def make() -> DtlsClient:
        return DtlsClient(DEVICE) if kind == "certificate" else DtlsClient(psk=PSK)

    first = established(make())
    again = make()
    again.resume(first.client)
    (event,) = established(again).events

    assert not again.resumed
    assert isinstance(event, Established)
    assert (event.certificate or event.psk_identity) in (DEVICE.certificate, PSK[0])


# ---- loss and reordering ---------------------------------------------------------------------


def test_twenty_clients_connect_over_a_lossy_network() -> None:
    """5 % are lost, 5 % arrive twice, each flight in any order: timers repeat lost flights."""
    order = random.Random(1)
    pairs = [Pair(DtlsClient(DEVICE) if number % 2 else DtlsClient(psk=PSK)) for number in range(20)]
    ends = time.monotonic() + PATIENCE
    while waiting := [each for each in pairs if not (each.client.established and each.session.established)]:
        assert time.monotonic() < ends, [each.session.stage for each in waiting]
        for pair in waiting:
            flight = pair.client.step(*_damaged(pair.session.take(), order)) + pair.client.expire()
            for datagram in _damaged(flight, order):
                pair.feed(datagram)
            if not pair.session.established:
                pair.session.expire()
        time.sleep(0.01)  # OpenSSL's timers use the real clock

    assert [type(each.events[0]) for each in pairs] == [Established] * 20
    for pair in pairs:
        line = pair.client.send(b"once")[0]
        assert [*pair.feed(line), *pair.feed(line)] == [Data(b"once")]


def test_data_that_arrives_before_the_finished_is_kept() -> None:
    """The handshake does not fail for a wrong key, and no data is lost."""
    pair = Pair(DtlsClient(psk=PSK))
    last = pair.client.step(*pair.session.take())
    finished = [one for datagram in last for one in _split(datagram)]
    for datagram in finished[:-1]:
        pair.feed(datagram)

    assert pair.events == []
    assert isinstance(pair.feed(finished[-1])[0], Established)


def test_a_lost_flight_is_sent_again_in_smaller_datagrams() -> None:
    """OpenSSL sends it after a second of the system's clock."""
    pair = Pair(DtlsClient(DEVICE))
    lost = pair.session.take()
    due = pair.session.timeout()
    assert due is not None
    assert 0.5 < due <= 1.0
    assert pair.session.expire() == ()
    assert pair.session.take() == []
    time.sleep(due + 0.01)  # OpenSSL reads the system's clock
    pair.session.expire()
    again = pair.session.take()

    assert max(map(len, lost)) > SMALL_MTU >= max(map(len, again))
    assert pair.session.retransmissions == 1
    for datagram in pair.client.step(*again):
        pair.feed(datagram)
    assert isinstance(pair.events[0], Established)


def test_the_last_flight_is_sent_again_when_the_client_repeats_its_own() -> None:
    """The client did not receive the server's Finished; the session is already established."""
    pair = Pair(DtlsClient(DEVICE))
    last = pair.client.step(*pair.session.take())
    for datagram in last:
        pair.feed(datagram)
    lost = pair.session.take()
    time.sleep(1.01)
    for datagram in pair.client.expire():
        assert pair.feed(datagram) == []
    pair.client.step(*pair.session.take())

    assert lost
    assert pair.client.established


def test_the_stage_of_a_handshake_is_named() -> None:
    """The name is that of the last message that was sent or understood."""
    pair = Pair(DtlsClient(DEVICE))

    assert pair.session.stage == "ServerHelloDone"
    assert established(DtlsClient(DEVICE)).session.stage == "Finished"


def test_an_aborted_handshake_sends_a_fatal_alert() -> None:
    """The alert is in the clear."""
    pair = Pair(DtlsClient(DEVICE))
    pair.client.step(*pair.session.take())
    pair.session.abort(Alert.USER_CANCELED)
    pair.client.step(*pair.session.take())

    assert pair.client.failure


# ---- sessions --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 64, 1200, 4096, 16_384])
def test_data_is_exchanged_in_both_directions(size: int) -> None:
    """Each message is one record in one datagram."""
    pair = established(DtlsClient(DEVICE))
    (datagram,) = pair.client.send(b"u" * size)
    pair.session.send(b"d" * size)
    pair.client.step(*pair.session.take())

    assert pair.feed(datagram) == [Data(b"u" * size)]
    assert pair.client.received == [b"d" * size]


def test_data_above_the_size_of_a_record_is_refused() -> None:
    """The error is an OSError, as for the network."""
    pair = established(DtlsClient(DEVICE))
    with pytest.raises(OSError, match="16385 octets"):
        pair.session.send(b"x" * 16_385)


def test_a_close_notify_is_answered() -> None:
    """close_notify (RFC 5246 §7.2.1)."""
    pair = established(DtlsClient(DEVICE))
    (goodbye,) = pair.client.close()

    assert pair.feed(goodbye) == [Closed(End.CLOSE_NOTIFY)]
    pair.client.step(*pair.session.take())
    assert pair.client.closed


def test_closing_sends_a_close_notify() -> None:
    """The client receives a close_notify."""
    pair = established(DtlsClient(DEVICE))
    pair.session.close()
    pair.client.step(*pair.session.take())

    assert pair.client.closed


def test_forged_records_do_not_change_a_session() -> None:
    """Records with a mutated octet, alerts in the clear, hellos, and repeated records do not end a session."""
    pair = established(DtlsClient(DEVICE))
    (record,) = pair.client.send(b"first")
    forged = [record[:at] + bytes((record[at] ^ 0xFF,)) + record[at + 1 :] for at in range(len(record))]
    forged += [bytes.fromhex("15fefd0000000000000fff00020228"), bytes.fromhex("15fefd000100000000ffff00020228")]
    forged += [pair.hello, b"", b"\x16", bytes(2000)]
    quiet = [event for each in forged for event in pair.feed(each)]

    assert quiet == []
    assert pair.feed(record) == [Data(b"first")]
    assert pair.feed(record) == []


def _damaged(flight: list[bytes], order: random.Random) -> list[bytes]:
    """Drop some datagrams, repeat some, and shuffle all."""
    come = [datagram for datagram in flight for _ in range(order.choice([0] + [1] * 18 + [2]))]
    order.shuffle(come)
    return come


def _split(datagram: bytes) -> list[bytes]:
    """Split a datagram into its records."""
    return [datagram[each.at - 13 : each.at + each.length] for each in records(datagram)]


@pytest.mark.parametrize("suite", SUITES)
def test_no_forged_record_ends_a_session(suite: str) -> None:
    """With CBC and encrypt-then-MAC, OpenSSL would end it."""
    key = {"psk": PSK} if "PSK" in suite else {"holder": DEVICE}
    pair = established(DtlsClient(ciphers=f"{suite}:@SECLEVEL=0", **key))
    (genuine,) = pair.client.send(b"genuine")
    for at in range(13, len(genuine)):
        assert not pair.feed(genuine[:at] + bytes((genuine[at] ^ 1,)) + genuine[at + 1 :])
        assert pair.session.take() == []

    assert pair.feed(genuine) == [Data(b"genuine")]


@pytest.mark.parametrize("suite", [each for each in SUITES if "PSK" in each])
def test_no_forged_record_ends_a_handshake_before_its_key_is_known(suite: str) -> None:
    """A record of the next epoch may overtake the ClientKeyExchange."""
    pair = Pair(DtlsClient(psk=PSK, ciphers=f"{suite}:@SECLEVEL=0"))
    assert not pair.feed(bytes.fromhex("17fefd00010000000000000030") + bytes(48))
    pair.run()

    assert isinstance(pair.events[0], Established)
