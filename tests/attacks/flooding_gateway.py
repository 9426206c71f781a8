"""
A gateway that sends one frame of HTTP/2 without end, in a process of its own.

``python flooding_gateway.py HOST PORT CERTIFICATE KEY STAGE FRAME`` connects, opens its control stream unless STAGE is
``http2``, and repeats FRAME (hexadecimal) until the server ends the connection; then it begins again, until
standard input closes. It prints the code of each GOAWAY.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
from typing import Final

import hpack

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
_CALL: Final = (
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/gateway.v1.UserGatewayService/ControlStream"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)
_GOAWAY: Final = 7


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """Write a frame (RFC 9113 §4.1)."""
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


class GoAway:
    """Finds the GOAWAY in what the server sends."""

    def __init__(self) -> None:
        self._octets = b""
        self.code: int | None = None

    def take(self, octets: bytes) -> None:
        """Look at received octets."""
        self._octets += octets
        while len(self._octets) >= 9 and len(self._octets) >= (end := 9 + int.from_bytes(self._octets[:3], "big")):
            if self._octets[3] == _GOAWAY:
                self.code = int.from_bytes(self._octets[13:17], "big")
            self._octets = self._octets[end:]


def flood(context: ssl.SSLContext, address: tuple[str, int], begin: bytes, repeated: bytes) -> int | None:
    """Open a connection, and send frames until the server ends it; return the code of its GOAWAY."""
    found = GoAway()
    with context.wrap_socket(socket.create_connection(address)) as connection:
        connection.sendall(begin)
        connection.setblocking(False)
        try:
            while found.code is None:
                select.select([connection], [connection], [])
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    connection.send(repeated)  # OpenSSL wants the same octets again after a refusal
                with contextlib.suppress(ssl.SSLWantReadError):
                    while octets := connection.recv(65_536):
                        found.take(octets)
        except OSError:
            pass
    return found.code


def main(host: str, port: str, certificate: str, key: str, stage: str, text: str) -> None:
    """Flood until standard input closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    begin = _PREFACE + (b"" if stage == "http2" else frame(1, 4, 1, hpack.Encoder().encode(_CALL)))
    one = bytes.fromhex(text)
    while not select.select([sys.stdin], [], [], 0)[0]:
        code = flood(context, (host, int(port)), begin, one * (16_384 // len(one)))
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
