"""A DTLS 1.2 client with PSK-AES128-CCM8 that a test may let misbehave; it does not verify what the server sends."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from typing import Final, NamedTuple, Self

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from tests.bench.waiting import PATIENCE

PSK_AES128_CCM8: Final = 0xC0A8
_HEADER: Final = struct.Struct("!BHHHIH")
_CLIENT_HELLO, _SERVER_HELLO, _SERVER_HELLO_DONE, _CLIENT_KEY_EXCHANGE, _FINISHED = 1, 2, 14, 16, 20
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_LARGEST: Final = 65_535


class Received(NamedTuple):
    """One record of the server."""

    kind: int
    epoch: int
    sequence: int
    content: bytes


class HandmadeClient:
    """
    One client.

    Args:
        server: Host and port.
        host: Address of the client.
        psk: Identity and key.
        suites: Numbers of the offered suites; a handshake is complete only with PSK-AES128-CCM8.
        extensions: Of the hello, encoded by `extension`.
    """

    def __init__(
        self,
        server: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        psk: tuple[bytes, bytes] = (b"device-1", b"0123456789abcdef"),
        suites: tuple[int, ...] = (PSK_AES128_CCM8,),
        extensions: bytes = b"",
    ) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.connect(server)
        self.socket.settimeout(PATIENCE)
        self.psk = psk
        self.suites = suites
        self.extensions = extensions
        self.random = os.urandom(32)
        self.clear_sequence = 0
        self.sequence = 0
        """Sequence number of the next encrypted record."""
        self.alert = b""
        """Alert that ended the handshake."""
        self.chosen = 0
        """Number of the suite that the server chose."""
        self.datagrams: list[bytes] = []
        """All datagrams of the server."""
        self.messages: list[bytes] = []
        """Handshake messages of the server in the clear."""
        self._transcript = b""
        self._server_random = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def remote(self) -> str:
        """Address of the client, as events show it."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    # ---- handshake ----------------------------------------------------------------------------

    def hello(self, cookie: bytes = b"") -> bytes:
        """Return the body of a hello."""
        return (
            b"\xfe\xfd" + self.random + b"\0" + bytes((len(cookie),)) + cookie
            + struct.pack(f"!H{len(self.suites)}H", 2 * len(self.suites), *self.suites)
            + b"\x01\0" + struct.pack("!H", len(self.extensions)) + self.extensions
        )  # fmt: skip

    def greet(self) -> None:
        """Send both hellos, the second with the cookie."""
        self.send_clear(_HANDSHAKE, handshake(_CLIENT_HELLO, 0, self.hello()))
        (record,) = self.receive()
        if record.kind == _ALERT:
            self.alert = record.content
            return
        cookie = record.content[15 : 15 + record.content[14]]
        self.note_hello(1, cookie)
        self.send_clear(_HANDSHAKE, self._transcript)

    def note_hello(self, number: int, cookie: bytes) -> None:
        """Begin the transcript with the hello that has the cookie."""
        self._transcript = handshake(_CLIENT_HELLO, number, self.hello(cookie))

    def await_server_hello(self) -> bool:
        """Receive the flight of the server; return whether it is complete, and no alert came."""
        while not self.alert:
            for record in self.receive():
                if record.kind == _ALERT:
                    self.alert = record.content
                    return False
                for message in _messages(record.content):
                    self._transcript += message
                    self.messages.append(message)
                    if message[0] == _SERVER_HELLO:
                        self._server_random = message[14:46]
                        (self.chosen,) = struct.unpack_from("!H", message, 47 + message[46])
                    elif message[0] == _SERVER_HELLO_DONE:
                        return True
        return False

    def connect(self) -> bool:
        """Run the handshake; return whether there is a session."""
        self.greet()
        return self.finish()

    def finish(self) -> bool:
        """Run the handshake after the second hello; return whether there is a session."""
        if not self.await_server_hello():
            return False
        identity, key = self.psk
        size = struct.pack("!H", len(key))
        premaster = size + bytes(len(key)) + size + key
        exchange = handshake(_CLIENT_KEY_EXCHANGE, 2, struct.pack("!H", len(identity)) + identity)
        self._transcript += exchange
        master = _prf(premaster, b"master secret", self.random + self._server_random, 48)
        block = _prf(master, b"key expansion", self._server_random + self.random, 40)
        self._write, self._read = AESCCM(block[:16], tag_length=8), AESCCM(block[16:32], tag_length=8)
        self._write_salt, self._read_salt = block[32:36], block[36:40]
        verify = _prf(master, b"client finished", hashlib.sha256(self._transcript).digest(), 12)
        finished = self.seal(_HANDSHAKE, handshake(_FINISHED, 3, verify))
        self.socket.send(
            _record(_HANDSHAKE, 0, self.clear_sequence, exchange)
            + _record(_CHANGE_CIPHER_SPEC, 0, self.clear_sequence + 1, b"\x01")
            + finished
        )
        self.clear_sequence += 2
        while not self.alert:
            for record in self.receive():
                if record.kind == _ALERT and not record.epoch:
                    self.alert = record.content
                elif record.kind == _HANDSHAKE and record.epoch == 1:
                    return True
        return False

    # ---- records ------------------------------------------------------------------------------

    def send_clear(self, kind: int, content: bytes) -> None:
        """Send a record in the clear."""
        self.socket.send(self.clear(kind, content))

    def clear(self, kind: int, content: bytes) -> bytes:
        """Return a record in the clear."""
        self.clear_sequence += 1
        return _record(kind, 0, self.clear_sequence - 1, content)

    def seal(self, kind: int, plain: bytes) -> bytes:
        """Return an encrypted record."""
        number = struct.pack("!HHI", 1, self.sequence >> 32, self.sequence & 0xFFFFFFFF)
        sealed = self._write.encrypt(
            self._write_salt + number, plain, number + bytes((kind,)) + b"\xfe\xfd" + struct.pack("!H", len(plain))
        )
        self.sequence += 1
        return _record(kind, 1, self.sequence - 1, number + sealed)

    def say(self, plain: bytes) -> None:
        """Send application data."""
        self.socket.send(self.seal(_DATA, plain))

    def receive(self) -> list[Received]:
        """Wait for a datagram; return its records."""
        datagram, at, found = self.socket.recv(_LARGEST), 0, []
        self.datagrams.append(datagram)
        while at + _HEADER.size <= len(datagram):
            kind, _, epoch, high, low, size = _HEADER.unpack_from(datagram, at)
            at += _HEADER.size
            found.append(Received(kind, epoch, high << 32 | low, datagram[at : at + size]))
            at += size
        return found

    def open(self, record: Received) -> bytes:
        """Decrypt a record of the server."""
        number = struct.pack("!HHI", record.epoch, record.sequence >> 32, record.sequence & 0xFFFFFFFF)
        data = number + bytes((record.kind,)) + b"\xfe\xfd" + struct.pack("!H", len(record.content) - 16)
        return self._read.decrypt(self._read_salt + record.content[:8], record.content[8:], data)


def extension(kind: int, body: bytes) -> bytes:
    """Encode an extension of a hello."""
    return struct.pack("!HH", kind, len(body)) + body


def handshake(kind: int, number: int, body: bytes, *, begin: int = 0, end: int | None = None) -> bytes:
    """Encode a handshake message, or the fragment of it from one octet of its body to another."""
    part = body[begin:end]
    return (
        bytes((kind,)) + len(body).to_bytes(3, "big") + struct.pack("!H", number)
        + begin.to_bytes(3, "big") + len(part).to_bytes(3, "big") + part
    )  # fmt: skip


def _record(kind: int, epoch: int, sequence: int, content: bytes) -> bytes:
    return _HEADER.pack(kind, 0xFEFD, epoch, sequence >> 32, sequence & 0xFFFFFFFF, len(content)) + content


def _messages(content: bytes) -> list[bytes]:
    found = []
    while content:
        size = 12 + int.from_bytes(content[9:12], "big")
        found.append(content[:size])
        content = content[size:]
    return found


def _prf(secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    seed = label + seed
    state, output = seed, b""
    while len(output) < size:
        state = hmac.digest(secret, state, "sha256")
        output += hmac.digest(secret, state + seed, "sha256")
    return output[:size]
