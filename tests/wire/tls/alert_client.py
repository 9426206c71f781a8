"""Clients of TLS and DTLS that send any alert: OpenSSL has no call for that, so its records are written here."""

from __future__ import annotations

import hashlib
import hmac
import struct
from contextlib import suppress
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from tests.bench.certificates import Holder

FATAL: Final = 2
_ALERT: Final = 21
_APPLICATION_DATA: Final = 23
_SUITE: Final = b"ECDHE-ECDSA-AES128-GCM-SHA256"
_SUITE_1_3: Final = b"TLS_AES_128_GCM_SHA256"
_TLS_1_2: Final = 0x0303
_DTLS_1_2: Final = 0xFEFD
_SECRET: Final = b"CLIENT_TRAFFIC_SECRET_0"


class AlertClient:
    """
    One client; all versions with AES-128-GCM and SHA-256.

    Args:
        version: ``TLSv1.2``, ``TLSv1.3`` or ``DTLSv1.2``.
    """

    def __init__(self, holder: Holder, version: str) -> None:
        self.version = version
        self._is_datagram = version.startswith("DTLS")
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD if self._is_datagram else SSL.TLS_CLIENT_METHOD)
        if self._is_datagram:
            context.set_options(SSL.OP_NO_QUERY_MTU)
        else:
            number = SSL.TLS1_3_VERSION if version == "TLSv1.3" else SSL.TLS1_2_VERSION
            context.set_min_proto_version(number)
            context.set_max_proto_version(number)
        context.set_cipher_list(_SUITE)
        context.set_tls13_ciphersuites(_SUITE_1_3)
        context.set_alpn_protos([b"h2"])
        context.use_certificate(holder.certificate)
        context.use_privatekey(holder.key)
        for each in holder.chain:
            context.add_extra_chain_cert(each)
        self.is_established = False
        self._secret = b""
        context.set_keylog_callback(self._note)
        self._connection = SSL.Connection(context, None)
        if self._is_datagram:
            self._connection.set_ciphertext_mtu(16_384)
        self._connection.set_connect_state()

    def step(self, octets: bytes = b"") -> bytes:
        """Take octets in; return what the client sends then."""
        if octets:
            self._connection.bio_write(octets)
        with suppress(SSL.WantReadError):
            self._connection.do_handshake()
            self.is_established = True
        try:
            return self._connection.bio_read(65_536)
        except SSL.WantReadError:
            return b""

    def alert_in_clear(self, number: int) -> bytes:
        """Write a fatal alert as it is before keys are agreed on."""
        if self._is_datagram:
            return struct.pack("!BHHHIH", _ALERT, _DTLS_1_2, 0, 0, 9, 2) + bytes((FATAL, number))
        return struct.pack("!BHH", _ALERT, _TLS_1_2, 2) + bytes((FATAL, number))

    def alert(self, number: int) -> bytes:
        """Write a fatal alert of an established connection on which the client has sent nothing yet."""
        content = bytes((FATAL, number))
        if self.version == "TLSv1.3":
            inner = content + bytes((_ALERT,))
            header = struct.pack("!BHH", _APPLICATION_DATA, _TLS_1_2, len(inner) + 16)
            key, nonce = (_expand(self._secret, label, size) for label, size in ((b"key", 16), (b"iv", 12)))
            return header + AESGCM(key).encrypt(nonce, inner, header)
        key, salt = self._keys()
        version = _DTLS_1_2 if self._is_datagram else _TLS_1_2
        sequence = struct.pack("!HHI", 1 if self._is_datagram else 0, 0, 1)  # Finished was the first
        header = struct.pack("!BH", _ALERT, version)
        sealed = AESGCM(key).encrypt(salt + sequence, content, sequence + header + struct.pack("!H", len(content)))
        number_shown = sequence if self._is_datagram else b""
        return header + number_shown + struct.pack("!H", 8 + len(sealed)) + sequence + sealed

    def _note(self, _connection: SSL.Connection, line: bytes) -> None:
        label, _, secret = line.split()
        if label == _SECRET:
            self._secret = bytes.fromhex(secret.decode())

    def _keys(self) -> tuple[bytes, bytes]:
        """Derive the client's key and salt (RFC 5246 §6.3, RFC 5288 §3)."""
        connection: Any = self._connection
        seed = b"key expansion" + connection.server_random() + connection.client_random()
        master = connection.master_key()
        block, a = b"", seed
        while len(block) < 40:
            a = hmac.digest(master, a, "sha256")
            block += hmac.digest(master, a + seed, "sha256")
        return block[:16], block[32:36]


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label, one block (RFC 8446 §7.1)."""
    label = b"tls13 " + label
    info = struct.pack("!HB", size, len(label)) + label + b"\0"
    return hmac.new(secret, info + b"\x01", hashlib.sha256).digest()[:size]
