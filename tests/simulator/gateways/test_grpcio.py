"""The simulated gateway against an independent server on grpcio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from span_events.proto.gateway_pb2 import (
    ControlStreamRequest,
    ControlStreamResponse,
    DeviceConfigUpdate,
    DeviceRemoved,
    DownstreamMessage,
    GatewayConfigUpdate,
    KeepaliveResponse,
)
from span_events.simulator.gateways.gateway import SimulatedGateway
from tests.bench.waiting import until
from tests.simulator.other_authority import OtherAuthority

GATEWAY = GatewayConfigUpdate(gateway_id="17dh0cf43jfgl8", config={"a": "1"})
DEVICE = DeviceConfigUpdate(device_id="17dh0cf43jfgl9", config={"devEui": "01", "fCntUp": "41"})


class OtherServer:
    """Span's service on grpcio, which does not answer before the first message."""

    def __init__(self) -> None:
        self.authority = OtherAuthority()
        self.received: list[ControlStreamRequest] = []
        self.server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[ControlStreamRequest, ControlStreamResponse] = (
            grpc.stream_stream_rpc_method_handler(
                self._serve,
                request_deserializer=ControlStreamRequest.FromString,
                response_serializer=ControlStreamResponse.SerializeToString,
            )
        )
        service = grpc.method_handlers_generic_handler("gateway.v1.UserGatewayService", {"ControlStream": handler})
        self.server.add_generic_rpc_handlers((service,))
        shown = self.authority.credentials(server=True)
        credentials = grpc.ssl_server_credentials(
            [(shown.key_pem, shown.certificates_pem)], self.authority.root_pem, require_client_auth=True
        )
        self.port = self.server.add_secure_port("127.0.0.1:0", credentials)

    async def _serve(
        self,
        requests: AsyncIterator[ControlStreamRequest],
        context: grpc.aio.ServicerContext[ControlStreamRequest, ControlStreamResponse],
    ) -> AsyncIterator[ControlStreamResponse]:
        async for request in requests:
            self.received.append(request)
            if request.HasField("config"):
                yield ControlStreamResponse(device_update=DEVICE)  # too early: clients drop it
                yield ControlStreamResponse(gateway_update=GATEWAY)
                yield ControlStreamResponse(device_update=DEVICE)
                message = DownstreamMessage(message_id="1", device_id=DEVICE.device_id, payload=b"down")
                yield ControlStreamResponse(downstream_message=message)
            elif request.HasField("keepalive"):
                yield ControlStreamResponse(keepalive_response=KeepaliveResponse())
            elif request.HasField("upstream_message") and request.upstream_message.metadata["fCntUp"] == "44":
                yield ControlStreamResponse(device_removed=DeviceRemoved(device_id=DEVICE.device_id))


async def test_it_works_with_any_server_of_the_protocol() -> None:
    """Configuration, device update, downstream, upstream, removal, keepalive, orderly end."""
    other = OtherServer()
    await other.server.start()
    simulated = SimulatedGateway(other.authority.credentials(), ("127.0.0.1", other.port), rate=100, keepalive=0.1)
    task = asyncio.get_running_loop().create_task(simulated.run())
    try:
        await until(lambda: simulated.statistics.removed == 1 and simulated.statistics.keepalives >= 1)
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await other.server.stop(None)
    kinds = [each.WhichOneof("msg") for each in other.received]
    update = other.received[1].device_update
    messages = [each.upstream_message for each in other.received if each.HasField("upstream_message")]

    assert kinds[:2] == ["config", "device_update"]
    assert kinds.count("device_update") == 1
    assert dict(update.config) == {"devEui": "01", "fCntUp": "41", "fCntDn": "0"}
    assert [each.metadata["fCntUp"] for each in messages[:3]] == ["42", "43", "44"]
    assert messages[0].device_id == DEVICE.device_id
    assert messages[0].payload.startswith(b'{"n":1,')
    assert (simulated.statistics.downstream, simulated.statistics.removed) == (1, 1)
    assert simulated.config == {"a": "1"}
    assert simulated.devices == {}
    assert task.cancelled()
