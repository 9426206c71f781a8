"""The DTLS servers under test: this project's, and a bare loop on pyOpenSSL."""

from __future__ import annotations

import argparse
import asyncio
import hmac
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

from scripts.benchmarks.servers.serving import config_for, say, told
from span_events.app import Server
from span_events.events.message import Transport
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Device, Downstream, Psk
from span_events.wire.dtls.hello import is_hello
from span_events.wire.dtls.records import pack

PSK = Psk(b"bench", b"0123456789abcdef")
_CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:PSK-AES128-CCM8:@SECLEVEL=0"


class Echo:
    """An outbox with a waiting message of 64 octets for every device."""

    def __init__(self) -> None:
        self._waiting = Downstream(1, 1, bytes(64), 0)

    def next_over(self, _device: Device, _transport: Transport) -> Downstream:
        """Return the message."""
        return self._waiting

    def sent(self, *_arguments: Any, **_more: Any) -> None:
        """Do nothing: the message stays in the outbox."""

    failed = sent


async def secure(_arguments: argparse.Namespace) -> None:
    """Serve one device over DTLS until killed; print counters for each line of input."""
    limits = {"half_open_per_prefix": 2_000, "failures_per_minute": 1_000_000}
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config_for(dtls=limits), data_dir=Path(folder)) as server:
            collection = await server.fleet.collections.create(CollectionChange())
            device = await server.fleet.devices.create(collection, DeviceChange(), cause=0)
            signed = await server.fleet.certificates.create(device)
            await server.fleet.psks.put(device, PSK, cause=0)
            assert server.devices.datagrams
            assert server.devices.datagrams.dtls
            server.devices.datagrams._outbox = Echo()  # type: ignore[assignment]
            _ready(server.addresses, server, signed.pem, signed.chain_pem, signed.private_key_pem)
            while await told():
                say(
                    cpu=time.process_time(),
                    half_open=server.devices.datagrams.dtls.half_open,
                    sessions=server.devices.datagrams.dtls.sessions,
                )


async def bare(_arguments: argparse.Namespace) -> None:
    """Echo over DTLS with a dictionary of connections."""
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config_for(), data_dir=Path(folder)) as server:  # only for its certificates
            collection = await server.fleet.collections.create(CollectionChange())
            device = await server.fleet.devices.create(collection, DeviceChange(), cause=0)
            signed = await server.fleet.certificates.create(device)
            loop = _BareLoop(server)
            _ready({"datagrams": loop.address}, server, signed.pem, signed.chain_pem, signed.private_key_pem)
            while await told():
                say(cpu=time.process_time(), half_open=0, sessions=len(loop.connections))


def _ready(addresses: dict[str, str], server: Server, pem: bytes, chain_pem: bytes, key_pem: bytes) -> None:
    say(
        addresses=addresses,
        root=server.authority.root_pem.decode(),
        certificate=(pem + chain_pem).decode(),
        key=key_pem.decode(),
    )


class _BareLoop:
    def __init__(self, server: Server) -> None:
        self._context = SSL.Context(SSL.DTLS_SERVER_METHOD)
        context = self._context
        shown = server.authority.server_identity()
        leaf, *chain = x509.load_pem_x509_certificates(shown.certificates_pem)
        key: Any = load_pem_private_key(shown.key_pem, None)
        context.use_certificate(leaf)
        context.use_privatekey(key)
        for each in chain:
            context.add_extra_chain_cert(each)
        store = context.get_cert_store()
        assert store is not None
        for pem in [server.authority.root_pem, *server.authority.intermediates_pem()]:
            store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(pem)))
        context.set_cipher_list(_CIPHERS)
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *arguments: bool(arguments[-1]))
        context.set_cookie_generate_callback(lambda _: self._cookie())
        context.set_cookie_verify_callback(lambda _, cookie: cookie == self._cookie())
        self._callback = ffi.callback("unsigned int(SSL *, const char *, unsigned char *, unsigned int)", self._key)
        lowest: Any = context
        lib.SSL_CTX_set_psk_server_callback(lowest._context, self._callback)
        self._remote: tuple[str, int] = ("", 0)
        self._done: set[tuple[str, int]] = set()
        self.connections: dict[tuple[str, int], SSL.Connection] = {}
        self._listener = self._new()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._drain)

    def _new(self) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_ciphertext_mtu(1232)
        connection.set_accept_state()
        return connection

    def _cookie(self) -> bytes:
        return hmac.digest(b"secret", repr(self._remote).encode(), "sha256")

    def _key(self, _ssl: Any, _identity: Any, out: Any, _size: int) -> int:
        ffi.memmove(out, PSK.key, len(PSK.key))
        return len(PSK.key)

    def _drain(self) -> None:
        for _ in range(256):
            try:
                datagram, remote = self._socket.recvfrom(65_535)
            except BlockingIOError:
                return
            self._take(datagram, remote)

    def _take(self, datagram: bytes, remote: tuple[str, int]) -> None:
        self._remote = remote
        if is_hello(datagram):  # the port of an earlier client
            self.connections.pop(remote, None)
            self._done.discard(remote)
        connection = self.connections.get(remote) or self._listener
        connection.bio_write(datagram)
        try:
            if connection is self._listener:
                connection.DTLSv1_listen()
                self.connections[remote] = connection
                self._listener = self._new()
            if remote not in self._done:
                connection.do_handshake()
                self._done.add(remote)
            while True:
                connection.send(connection.recv(16_384))
        except SSL.WantReadError:
            pass
        try:
            for each in pack(connection.bio_read(65_536)):
                self._socket.sendto(each, remote)
        except SSL.WantReadError:
            pass
