"""
The DTLS engine on OpenSSL, through the memory BIOs of pyOpenSSL.

pyOpenSSL documents neither PSK nor access to the whole chain, so this module uses low-level names of pyOpenSSL;
tests/wire/dtls/test_openssl.py fails when they change. OpenSSL times retransmissions by the system's clock and
accepts no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final
from weakref import WeakValueDictionary

from cryptography import x509
from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

from span_events.wire.dtls.engine import ClientCheck, Closed, Data, End, Established, Event, Failed, Failure, Verdict
from span_events.wire.dtls.failures import certificate_failure_of, failure_of
from span_events.wire.dtls.fragments import assembled
from span_events.wire.dtls.hello import ClientHello
from span_events.wire.dtls.records import DTLS_1_2, MTU, SMALL_MTU, Alert, ContentType, alert, pack, records
from span_events.wire.dtls.suites import (
    CERTIFICATE_SUITES,
    GROUPS,
    PSK_SUITES,
    group_fault,
    offers_both,
)
from span_events.wire.openssl import (
    LARGEST_RECORD,
    WANT_READ,
    ZERO_RETURN,
    Cause,
    Identity,
    address_of,
    judge_by,
    queued_cause,
    show,
    trust,
    verify_words,
)
from span_events.wire.tls.alerts import alert_name

_CERT_REVOKED: Final = 23
"""X509_V_ERR_CERT_REVOKED: the client gets the alert certificate_revoked."""
_CERT_REJECTED: Final = 28
"""X509_V_ERR_CERT_REJECTED: the client gets the alert bad_certificate."""
_STAGES: Final = MappingProxyType(
    {
        "SSLv3/TLS write server done": "ServerHelloDone",
        "SSLv3/TLS read client certificate": "Certificate",
        "SSLv3/TLS read client key exchange": "ClientKeyExchange",
        "SSLv3/TLS read certificate verify": "CertificateVerify",
        "SSLv3/TLS read change cipher spec": "ChangeCipherSpec",
        "SSL negotiation finished successfully": "Finished",
    }
)
"""Last message that was sent or understood, by OpenSSL's names of handshake states."""
_NO_ENCRYPT_THEN_MAC: Final = 1 << 19
"""
SSL_OP_NO_ENCRYPT_THEN_MAC: with that extension (RFC 7366), OpenSSL answers a forged CBC record with a fatal alert
instead of dropping it, so anybody could end a session.
"""
_CLIENT_KEY_EXCHANGE: Final = 16
_NO_CHANGE: Final = frozenset({b"", b"\0\x1d"})
"""First elliptic curve of hellos for which OpenSSL's order is right: none, and X25519."""
_IDENTITY: Final = 25
"""Offset of the PSK identity in a datagram that begins with a whole ClientKeyExchange, as it usually does."""
_KEPT: Final = 4_096
"""Octets of a client's handshake that are kept at most, for its PSK identity."""
_AFTER_CHANGE_CIPHER_SPEC: Final = "ChangeCipherSpec"


class OpensslEngine:
    """
    The engine; several listeners may share one.

    Args:
        identities: Certificates and keys of the server, one per type of key. `present` replaces them.
        trusted_pem: Roots of client certificates, and intermediates that clients may omit.
        unix_time: Returns the time, in seconds, at which certificates must be valid.
        mtu: Octets of an outgoing datagram at most.
    """

    def __init__(
        self,
        identities: Sequence[Identity],
        trusted_pem: bytes,
        *,
        unix_time: Callable[[], int],
        mtu: int = MTU,
    ) -> None:
        self._unix_time = unix_time
        self._mtu = mtu
        # Sessions during their handshake, by SSL*; weak references, because a dropped session may not have ended.
        self._sessions: WeakValueDictionary[int, OpensslSession] = WeakValueDictionary()
        self._buffer = ffi.new("char[]", LARGEST_RECORD)
        self._verify = ffi.callback("int(int, X509_STORE_CTX *)", self._judge, error=0)
        self._psk = ffi.callback("unsigned int(SSL *, const char *, unsigned char *, unsigned int)", self._key, error=0)
        self._identities = tuple(identities)
        self._trusted = trusted_pem
        self._make_contexts()

    def present(self, identities: Sequence[Identity]) -> None:
        """Replace the certificates of the server for new handshakes; open sessions continue."""
        self._identities = tuple(identities)
        self._make_contexts()

    @property
    def validity(self) -> str:
        """Validity of the server's certificate, for people: from … to …."""
        leaf = x509.load_pem_x509_certificate(self._identities[0].certificates_pem)
        return f"from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} to {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"

    def trust(self, certificates_pem: bytes) -> None:
        """Add roots or intermediates for new handshakes."""
        self._trusted += certificates_pem
        for context in (self._psk_first, self._certificates_first):
            trust(context, certificates_pem)

    def offers_both(self, hello: ClientHello) -> bool:
        """Return whether a hello offers suites with PSK and suites with certificates that the engine accepts."""
        return offers_both(hello.suite_octets)

    def accept(
        self, datagram: bytes, hello: ClientHello, check: ClientCheck, *, prefer_certificates: bool = False
    ) -> tuple[OpensslSession, Sequence[Event]]:
        """
        Create a session from a hello whose cookie was verified.

        Args:
            datagram: The datagram of the hello.
            prefer_certificates: True prefers suites with certificates to suites with PSK.
        """
        context = self._certificates_first if prefer_certificates else self._psk_first
        session = OpensslSession(context, check, self._sessions, self._buffer, self._mtu, hello)
        return session, session.begin(datagram, hello, self._unix_time())

    def _make_contexts(self) -> None:
        self._psk_first = self._make_context(PSK_SUITES + CERTIFICATE_SUITES)
        self._certificates_first = self._make_context(CERTIFICATE_SUITES + PSK_SUITES)

    def _make_context(self, suites: Sequence[str]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_SERVER_METHOD)
        context.set_min_proto_version(DTLS_1_2)
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | _NO_ENCRYPT_THEN_MAC)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # a resumed session would have no identity
        context.set_cipher_list(":".join((*suites, "@SECLEVEL=0")).encode())
        show(context, self._identities)
        trust(context, self._trusted)
        context.set_cookie_generate_callback(
            lambda _: b"\0"
        )  # DTLSv1_listen requires both; cookies were verified before
        context.set_cookie_verify_callback(lambda _connection, _cookie: True)
        lib.SSL_CTX_set_verify(
            context._context, lib.SSL_VERIFY_PEER | lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT, self._verify
        )
        lib.SSL_CTX_set_psk_server_callback(context._context, self._psk)
        return context

    def _judge(self, ok: int, store: Any) -> int:
        """Handle OpenSSL's verify callback, called for each certificate of the chain (leaf last) and each error."""
        ssl = lib.X509_STORE_CTX_get_ex_data(store, lib.SSL_get_ex_data_X509_STORE_CTX_idx())
        session = self._sessions.get(address_of(ssl))
        if session is None:
            return 0
        error = lib.X509_STORE_CTX_get_error(store)
        if not ok:
            session.note_certificate(_leaf(store), error)
            return 0
        if lib.X509_STORE_CTX_get_error_depth(store) > 0:
            return 1
        refusal = session.judge(_leaf(store))
        if refusal:
            lib.X509_STORE_CTX_set_error(store, refusal)
        return not refusal

    def _key(self, ssl: Any, identity: Any, out: Any, size: int) -> int:
        """Handle OpenSSL's PSK callback."""
        session = self._sessions.get(address_of(ssl))
        key = session.key_of(bytes(ffi.string(identity))) if session is not None else None
        if key is None or len(key) > size:
            return 0
        ffi.memmove(out, key, len(key))
        return len(key)


class OpensslSession:
    """The session of one client, on one SSL object."""

    def __init__(
        self,
        context: SSL.Context,
        check: ClientCheck,
        sessions: WeakValueDictionary[int, OpensslSession],
        buffer: Any,
        mtu: int,
        hello: ClientHello,
    ) -> None:
        largest = hello.largest_fragment or LARGEST_RECORD
        mtu = min(mtu, largest)  # a small receiver reads whole datagrams into its buffer
        self._connection = SSL.Connection(context, None)
        self._connection.set_ciphertext_mtu(mtu)
        self._connection.set_accept_state()
        connection: Any = self._connection
        self._ssl = connection._ssl
        self._into = connection._into_ssl
        self._from = connection._from_ssl
        self._buffer = buffer
        self._mtu = mtu
        self._hello: ClientHello | None = hello
        self._largest = largest
        self._check: ClientCheck | None = check
        self._sessions = sessions
        self._certificate: x509.Certificate | None = None
        self._certificate_error = 0
        self._psk_identity: bytes | None = None
        self._psk_given = False
        self._clear: list[bytes] = []  # datagrams of the handshake
        self._state = ffi.NULL  # OpenSSL's name of the state before the last step
        self._finished_seen = False
        self._failed_at_last = False
        self._aborted = b""
        self.established = False
        self.retransmissions = 0

    # ---- calls of the engine's callbacks ----------------------------------------------------------

    def note_certificate(self, certificate: x509.Certificate | None, error: int) -> None:
        """Store the error of an invalid chain; the first error counts."""
        if not self._certificate_error:
            self._certificate = certificate
            self._certificate_error = error

    def judge(self, certificate: x509.Certificate | None) -> int:
        """Ask the check about a certificate; return an X509_V_ERR_* or 0."""
        self._certificate = certificate
        verdict = Verdict.REFUSED if certificate is None or self._check is None else self._check.judge(certificate)
        if verdict is not Verdict.ADMITTED:
            self._certificate_error = _CERT_REVOKED if verdict is Verdict.REVOKED else _CERT_REJECTED
        return self._certificate_error

    def key_of(self, identity: bytes) -> bytes | None:
        """
        Ask the check for the key of a PSK identity.

        Args:
            identity: What OpenSSL passes: the identity up to its first NUL.
        """
        sent = len(identity).to_bytes(2, "big") + identity
        usual = bool(self._clear) and self._clear[-1][_IDENTITY : _IDENTITY + len(sent)] == sent
        whole = identity if usual else self._identity_in_the_clear()
        self._psk_identity = identity if whole is None else whole
        if whole is None:
            return None
        identity = whole
        key = None if self._check is None else self._check.key_of(identity)
        self._psk_given = key is not None
        return key

    # ---- calls of the listener --------------------------------------------------------------------

    @property
    def stage(self) -> str:
        """Name of the last handshake message that was sent or understood."""
        state = self._state if self._failed_at_last else lib.SSL_state_string_long(self._ssl)
        name = "ClientHello" if state == ffi.NULL else ffi.string(state).decode()
        return _STAGES.get(name, name)

    def begin(self, datagram: bytes, hello: ClientHello, unix_time: int) -> Sequence[Event]:
        """Process the hello; its cookie was verified, so both sides continue with its sequence numbers."""
        lib.ERR_clear_error()
        judge_by(self._ssl, unix_time)
        self._prefer_groups_of(hello)
        lib.BIO_write(self._into, datagram, len(datagram))
        try:
            self._connection.DTLSv1_listen()
        except SSL.WantReadError:
            return self._failed(Failure.PROTOCOL, "the hello is not one that OpenSSL can read")
        except SSL.Error as exc:
            return self._failed(Failure.PROTOCOL, _words(exc))
        self._sessions[address_of(self._ssl)] = self
        return self._proceed()

    def feed(self, datagram: bytes) -> Sequence[Event]:
        """Process one datagram of the client."""
        lib.ERR_clear_error()
        lib.BIO_write(self._into, datagram, len(datagram))
        if self.established:
            return self._read()
        if sum(map(len, self._clear)) + len(datagram) <= _KEPT:
            self._clear.append(datagram)
        self._state = lib.SSL_state_string_long(self._ssl)
        self._finished_seen = self._finished_seen or any(
            record.epoch and record.kind == ContentType.HANDSHAKE for record in records(datagram)
        )
        return self._proceed()

    def send(self, payload: bytes) -> None:
        """
        Encrypt application data.

        Raises:
            OSError: The payload exceeds a record, or OpenSSL refuses it.
        """
        assert self.established, "nothing is sent before the handshake is done"
        if len(payload) > self._largest:  # OpenSSL would end the session
            raise OSError(0, f"{len(payload)} octets exceed a record of this client: at most {self._largest} octets")
        lib.ERR_clear_error()
        if payload and lib.SSL_write(self._ssl, payload, len(payload)) <= 0:
            raise OSError(0, f"OpenSSL does not send {len(payload)} octets: {queued_cause().words}")

    def take(self) -> list[bytes]:
        """Return the datagrams to be sent."""
        if self._aborted:
            octets, self._aborted = self._aborted, b""
            return [octets]
        buffer, source = self._buffer, self._from
        count = lib.BIO_read(source, buffer, LARGEST_RECORD)
        if count <= 0:
            return []
        octets = ffi.buffer(buffer, count)[:]
        while count == LARGEST_RECORD:
            count = lib.BIO_read(source, buffer, LARGEST_RECORD)
            if count > 0:
                octets += ffi.buffer(buffer, count)[:]
        return pack(octets, self._mtu)

    def timeout(self) -> float | None:
        """Return the seconds until `expire` is due, by OpenSSL's own clock."""
        return self._connection.DTLSv1_get_timeout()

    def expire(self) -> Sequence[Event]:
        """Send the last flight again if that is due, in smaller datagrams (RFC 6347 §4.1.1.1)."""
        lib.ERR_clear_error()
        if self._mtu > SMALL_MTU and (self.timeout() or 0.0) <= 0.0:
            self._mtu = SMALL_MTU
            self._connection.set_ciphertext_mtu(SMALL_MTU)
        result = lib.DTLSv1_handle_timeout(self._ssl)
        if result < 0:
            return self._failed(Failure.PROTOCOL, queued_cause().words)
        self.retransmissions += result
        return ()

    def close(self) -> None:
        """End the session with a close_notify."""
        self._done()
        lib.ERR_clear_error()
        lib.SSL_shutdown(self._ssl)

    def abort(self, description: Alert) -> None:
        """End a handshake with a fatal alert in the clear."""
        self._done()
        self._aborted = alert(description)

    # ---- parts ------------------------------------------------------------------------------------

    def _prefer_groups_of(self, hello: ClientHello) -> None:
        """Prefer the client's order of elliptic curves: some stacks compute only their first one right."""
        if hello.group_octets[2:4] in _NO_CHANGE:
            return
        offered = [each for each in hello.groups if each in GROUPS]
        if offered and offered[0] != next(each for each in GROUPS if each in offered):
            order = dict.fromkeys((*offered, *GROUPS))  # the rest stays allowed in certificates
            lib.SSL_set1_curves_list(self._ssl, ":".join(GROUPS[each] for each in order).encode())

    def _identity_in_the_clear(self) -> bytes | None:
        """Return the PSK identity in the ClientKeyExchange, whole: OpenSSL cuts it at a NUL (RFC 4279 §5.1)."""
        exchange = assembled(_CLIENT_KEY_EXCHANGE, self._clear, _KEPT)
        if exchange is None or len(exchange) < 2:
            return None
        end = 2 + int.from_bytes(exchange[:2], "big")
        return exchange[2:end] if end <= len(exchange) else None

    def _proceed(self) -> Sequence[Event]:
        result = lib.SSL_do_handshake(self._ssl)
        if result == 1:
            return self._finish()
        error = lib.SSL_get_error(self._ssl, result)
        if error != WANT_READ:
            return self._explain(queued_cause())
        if self._psk_given and self._finished_seen and self.stage == _AFTER_CHANGE_CIPHER_SPEC:
            # OpenSSL silently drops a Finished that cannot be decrypted. A client with the right key
            # sends one that can be decrypted.
            self.abort(Alert.BAD_RECORD_MAC)
            return self._failed(Failure.PSK_MISMATCH)
        return ()

    def _finish(self) -> Sequence[Event]:
        certificate = None if self._psk_given else self._certificate
        if certificate is None and not self._psk_given:  # not expected; such a client is rejected
            lib.SSL_shutdown(self._ssl)
            return self._failed(Failure.NO_CREDENTIALS)
        cipher = self._connection.get_cipher_name() or ""
        self.established = True
        self._done()
        return [
            Established(certificate, self._psk_identity if self._psk_given else None, cipher),
            *self._read(),
        ]

    def _read(self) -> Sequence[Event]:
        ssl, buffer = self._ssl, self._buffer
        events: list[Event] = []
        while True:
            count = lib.SSL_read(ssl, buffer, LARGEST_RECORD)
            if count > 0:
                events.append(Data(ffi.buffer(buffer, count)[:]))
                continue
            error = lib.SSL_get_error(ssl, count)
            if error == ZERO_RETURN:
                lib.SSL_shutdown(ssl)  # answers with the close_notify of the server
                events.append(Closed(End.CLOSE_NOTIFY))
            elif error != WANT_READ:  # OpenSSL drops records that it cannot authenticate, so the client's was genuine
                cause = queued_cause()
                if cause.alert is not None:
                    events.append(Closed(End.ALERT, alert_name(cause.alert)))
                else:
                    events.append(Closed(End.BROKEN, cause.words))
            return events

    def _explain(self, cause: Cause) -> Sequence[Event]:
        """Return the failure of a handshake that OpenSSL has ended."""
        self._failed_at_last = True
        failure, detail = failure_of(cause)
        if cause.words == "data length too long" and (identity := self._identity_in_the_clear()) is not None:
            detail = f"the PSK identity has {len(identity)} octets, at most 256 are served"
            self._psk_identity = identity
        hello = self._hello
        if failure is Failure.NO_SHARED_CIPHER and hello is not None and (fault := group_fault(hello)):
            failure, detail = Failure.NO_SHARED_GROUP, fault
        elif cause.words == "wrong curve" and hello is not None:
            failure = Failure.NO_SHARED_GROUP
            detail = f"the client's certificate is on a curve that its groups lack: {hello.offered_groups}"
        if failure is Failure.CLIENT_ALERT or not self._certificate_error:
            return self._failed(failure, detail)
        if self._certificate_error in (_CERT_REVOKED, _CERT_REJECTED):
            return self._failed(Failure.CERTIFICATE_REFUSED)
        return self._failed(certificate_failure_of(self._certificate_error), verify_words(self._certificate_error))

    def _failed(self, failure: Failure, detail: str = "") -> Sequence[Event]:
        failed = Failed(failure, detail, self._certificate, self._psk_identity)
        self._done()
        return [failed]

    def _done(self) -> None:
        """Release everything that only the handshake needs."""
        self._check = self._certificate = self._hello = None
        self._clear.clear()
        self._sessions.pop(address_of(self._ssl), None)


def _leaf(store: Any) -> x509.Certificate | None:
    """Return the leaf certificate, also when the error is elsewhere in its chain."""
    pointer = lib.X509_STORE_CTX_get0_cert(store)
    if pointer == ffi.NULL:
        return None
    lib.X509_up_ref(pointer)
    wrap: Callable[[Any], crypto.X509] = crypto.X509._from_raw_x509_ptr
    try:
        return wrap(pointer).to_cryptography()
    except (ValueError, x509.InvalidVersion):  # OpenSSL accepts some certificates that are not DER
        return None


def _words(error: SSL.Error) -> str:
    try:
        return str(error.args[0][0][2])
    except (IndexError, TypeError):
        return ""
