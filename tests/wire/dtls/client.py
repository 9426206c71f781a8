"""A DTLS client in memory, on pyOpenSSL: datagrams go in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

from span_events.wire.dtls.records import pack
from tests.bench.certificates import Holder

DTLS_1_2: Final = 0xFEFD


class DtlsClient:
    """
    One client.

    Args:
        holder: The client's certificate; None without one.
        psk: The client's identity and key; None without them.
        groups: Elliptic curves, by OpenSSL's names; empty for its defaults.
        trusted: The root that the client trusts; without one, the client accepts any server.
    """

    def __init__(
        self,
        holder: Holder | None = None,
        *,
        psk: tuple[bytes, bytes] | None = None,
        ciphers: str = "ECDHE-ECDSA-AES128-GCM-SHA256:PSK-AES128-CCM8:@SECLEVEL=0",
        trusted: Holder | None = None,
        whole_chain: bool = True,
        mtu: int = 1232,
        groups: str = "",
    ) -> None:
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_cipher_list(ciphers.encode())
        if holder is not None:
            context.use_certificate(holder.certificate)
            context.use_privatekey(holder.key)
            for each in holder.chain if whole_chain else ():
                context.add_extra_chain_cert(each)
        if trusted is not None:
            store = context.get_cert_store()
            assert store is not None
            store.add_cert(crypto.X509.from_cryptography(trusted.certificate))
            context.set_verify(SSL.VERIFY_PEER, lambda *arguments: bool(arguments[-1]))
        lowest: Any = context
        if groups:
            lib.SSL_CTX_set1_curves_list(lowest._context, groups.encode())
        if psk is not None:
            self._callback = _psk_callback(*psk)
            lib.SSL_CTX_set_psk_client_callback(lowest._context, self._callback)
        self._mtu = mtu
        self._connection = SSL.Connection(context, None)
        self._connection.set_ciphertext_mtu(mtu)
        self._connection.set_connect_state()
        self.established = False
        self.closed = False
        self.failure = ""
        self.received: list[bytes] = []

    def start(self) -> list[bytes]:
        """Send the hello."""
        self._work()
        return self.take()

    def step(self, *datagrams: bytes) -> list[bytes]:
        """Process datagrams; return the answers of the client."""
        for datagram in datagrams:
            self._connection.bio_write(datagram)
            self._work()
        return self.take()

    def expire(self) -> list[bytes]:
        """Return the datagrams to be sent, with the last flight again if that is due."""
        self._connection.DTLSv1_handle_timeout()
        return self.take()

    def send(self, payload: bytes) -> list[bytes]:
        """Send application data."""
        self._connection.send(payload)
        return self.take()

    def close(self) -> list[bytes]:
        """Send a close_notify."""
        self._connection.shutdown()
        return self.take()

    def resume(self, earlier: DtlsClient) -> None:
        """Request the resumption of another client's session; to be called before `start`."""
        lowest: Any = self._connection
        lowest_earlier: Any = earlier._connection
        assert lib.SSL_set_session(lowest._ssl, lib.SSL_get_session(lowest_earlier._ssl)) == 1

    @property
    def resumed(self) -> bool:
        """True if the server has resumed the session."""
        lowest: Any = self._connection
        return bool(lib.SSL_session_reused(lowest._ssl))

    def take(self) -> list[bytes]:
        """Return the datagrams to be sent."""
        try:
            return pack(self._connection.bio_read(65_536), self._mtu)
        except SSL.WantReadError:
            return []

    def _work(self) -> None:
        try:
            if not self.established:
                self._connection.do_handshake()
                self.established = True
            while True:
                self.received.append(self._connection.recv(65_536))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as exc:
            self.failure = str(exc)


def _psk_callback(identity: bytes, key: bytes) -> Any:
    @ffi.callback("unsigned int(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)")  # type: ignore[untyped-decorator]
    def answer(_ssl: Any, _hint: Any, out: Any, size: int, out_key: Any, key_size: int) -> int:
        assert len(identity) < size
        assert len(key) <= key_size
        ffi.memmove(out, identity + b"\0", len(identity) + 1)
        ffi.memmove(out_key, key, len(key))
        return len(key)

    return answer


def flat(flights: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Join lists."""
    return [datagram for flight in flights for datagram in flight]
