"""Gateways for the benchmarks: raw clients of one server, many at once or one at full speed."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from span_events.proto.gateway_pb2 import ControlStreamRequest, UpstreamMessage
from tests.bench.certificates import Holder
from tests.bench.waiting import until
from tests.listeners.gateways.bench import CONFIG_REQUEST, KEEPALIVE, KEEPALIVE_RESPONSE, RawGateway
from tests.wire.grpc.client import GrpcClient
from tests.wire.tls.client import TlsClient

KEEPALIVE_ANSWER = KEEPALIVE_RESPONSE.SerializeToString()


class Clients:
    """Creates clients for the gateways of one server, by number."""

    def __init__(self, where: dict[str, Any]) -> None:
        host, _, port = where["addresses"]["gateways"].rpartition(":")
        self.target = (host, int(port))
        self._folder = Path(where["folder"])
        self._devices: list[str] = where["devices"]
        self._opened: list[RawGateway] = []

    def raw(self, number: int, grpc: GrpcClient | None = None) -> RawGateway:
        """Create a client that is not connected yet."""
        made = RawGateway(self.target, TlsClient(self._holder(number)), grpc or GrpcClient(), receive_buffer=0)
        self._opened.append(made)
        return made

    async def configured(self, number: int) -> RawGateway:
        """Connect a client, and wait for its configuration and that of its device."""
        client = await self.raw(number).serve()
        await client.send(CONFIG_REQUEST)
        await until(lambda: len(client.grpc.messages) == 2)
        return client

    def talker(self, number: int) -> Talker:
        """Connect a client that sends at full speed."""
        return Talker(self.target, TlsClient(self._holder(number)))

    def upstream(self, number: int) -> bytes:
        """Encode a typical message of a gateway's device."""
        metadata = {"rssi": "-71", "snr": "9.5", "fCntUp": "4711", "dataRate": "SF7BW125"}
        message = UpstreamMessage(device_id=self._devices[number], payload=b"temperature=21.5", metadata=metadata)
        return ControlStreamRequest(upstream_message=message).SerializeToString()

    def close(self) -> None:
        """Close the clients."""
        for each in self._opened:
            each.die()

    def _holder(self, number: int) -> Holder:
        pem = (self._folder / f"{number}.pem").read_bytes()
        leaf, intermediate, _root = x509.load_pem_x509_certificates(pem)
        key: Any = load_pem_private_key(pem, None)
        return Holder(key, leaf, (intermediate,))


class Talker:
    """A gateway on a blocking socket; it sends as much as its windows allow, and reads all input."""

    def __init__(self, target: tuple[str, int], tls: TlsClient) -> None:
        self._tls = tls
        self._grpc = GrpcClient()
        self._answers = 0
        self._socket = socket.create_connection(target)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(tls.step())
        while not tls.established:
            self._socket.sendall(tls.step(self._socket.recv(65_536)))
        self._say(self._grpc.take() + self._grpc.open())
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    def send(self, messages: list[bytes], *, joined: int) -> None:
        """Send messages, a given number in each write, and wait until the server has processed the last one."""
        grpc, connection = self._grpc, self._grpc.h2
        for at in range(0, len(messages), joined):
            octets = b"".join(grpc_frame(each) for each in messages[at : at + joined])
            while connection.local_flow_control_window(grpc.stream) < len(octets):
                self._read(1.0)
            self._say(grpc.raw(octets))
            self._read(0.0)
        self._say(grpc.send(KEEPALIVE))  # ours answers; an echo gives it back
        answers = self._answers + 1
        while self._answers < answers:
            self._read(1.0)

    def close(self) -> None:
        """Close the connection."""
        self._selector.close()
        self._socket.close()

    def _say(self, octets: bytes) -> None:
        waiting = memoryview(self._tls.send(octets))
        while waiting:
            with suppress(BlockingIOError):
                waiting = waiting[self._socket.send(waiting) :]
            if waiting:
                self._read(0.01)

    def _read(self, patience: float) -> None:
        if not self._selector.select(patience):
            return
        octets = self._socket.recv(1 << 18)
        if not octets:
            raise RuntimeError("the server has closed the connection")
        self._tls.step(octets)
        back = self._grpc.step(self._tls.take())
        messages = self._grpc.messages
        self._answers += sum(each in (KEEPALIVE, KEEPALIVE_ANSWER) for each in messages)
        messages.clear()
        if back:
            self._say(back)


def grpc_frame(message: bytes) -> bytes:
    """Encode a message with its gRPC prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message
