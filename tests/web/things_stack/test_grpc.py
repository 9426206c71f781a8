"""gRPC: the two methods as a client sees them that was written from the tables of the protocol alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import pytest

from span_events import ids
from span_events.accepting import RefusedAccepts
from span_events.clock import SystemClock
from span_events.config import FanoutConfig, ThingsStackConfig
from span_events.events.activity import Origin
from span_events.events.catalogue import GatewayConnected, UpstreamMessage
from span_events.events.message import Transport
from span_events.web.things_stack.grpc import GrpcListener
from span_events.wire.openssl import Identity
from tests.bench.authorities import open_authority
from tests.bench.waiting import PATIENCE, until
from tests.web.conftest import WebBench, web_bench
from tests.web.things_stack.client import Raw, application, body_of, device, gateway
from tests.web.things_stack.wire import Client, Refused, message_of, unpacked

NOBODY = "17dj5j4ce8bkci"


@asynccontextmanager
async def listening(api: WebBench, *, identities: Any = (), **settings: Any) -> AsyncIterator[GrpcListener]:
    """Serve gRPC on a free port."""
    listener = GrpcListener(
        ThingsStackConfig(grpc_port=0, **settings),
        FanoutConfig(),
        api.events,
        identities=identities,
        clock=api.fleet.clock,
        refused=RefusedAccepts(api.fleet.clock),
    )
    await listener.start()
    running = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await listener.stop()
        await listener.close()


@pytest.fixture
async def listener(api: WebBench) -> AsyncIterator[GrpcListener]:
    """A listener without TLS."""
    async with listening(api) as found:
        yield found


@pytest.fixture
async def client(api: WebBench, listener: GrpcListener) -> AsyncIterator[Client]:
    """A client with the admin's token."""
    async with Client(listener.address, api.admin) as found:
        yield found


# ---- streams ---------------------------------------------------------------------------------


async def test_an_application_and_a_gateway_are_followed_together(api: WebBench, client: Client) -> None:
    """Each event comes once, after the one that begins the stream."""
    collection = await api.collection()
    device_id, gateway_id = await api.device(collection), await api.gateway(collection)
    stream = client.stream(application(collection), device(collection, device_id), gateway(gateway_id))
    start = await stream.next()
    api.receive(device_id)
    origin = api.fleet.directory.gateways[ids.parse(gateway_id)].origin
    api.fleet.bus.publish(GatewayConnected(origin=origin, remote_address="10.0.0.1:1", certificate_serial="1"))
    found = [await stream.next() for _ in range(3)]

    assert start.name == "events.stream.start"
    assert [each.WhichOneof("ids") for each in start.identifiers] == ["application_ids", "device_ids", "gateway_ids"]
    assert start.correlation_ids[0].startswith("rpc:/ttn.lorawan.v3.Events/Stream:")
    assert not start.HasField("data")
    assert [each.name for each in found] == ["as.end_device.connect", "as.up.data.forward", "gs.gateway.connect"]
    assert found[1].identifiers[0].device_ids.device_id == device_id
    assert dict(unpacked(found[1].data).struct_value)["transport"] == "udp"
    assert list(found[1].visibility.rights) == [24]
    assert len({each.unique_id for each in found}) == 3


async def test_the_first_event_shows_the_resolved_names(api: WebBench, client: Client) -> None:
    collection = await api.collection()
    stream = client.stream(application(collection), names=["/^gs\\.up\\.(re|d)/", "end_device.create"])
    names = unpacked((await stream.next()).data)

    assert list(names.list_value) == ["end_device.create", "gs.up.drop", "gs.up.receive"]


async def test_tail_and_after_give_the_past(api: WebBench, client: Client) -> None:
    collection = await api.collection()
    device_id = await api.device(collection)
    names = ["as.up.data.forward"]
    for number in range(4):
        await api.fleet.clock.advance(1.0)
        api.receive(device_id, bytes(number + 1))
    tailed = client.stream(application(collection), tail=3, names=names)
    await tailed.next()
    first, *others = [await tailed.next() for _ in range(3)]
    later = client.stream(application(collection), after=first.time, names=names)
    await later.next()

    assert [dict(unpacked(each.data).struct_value)["bytes"] for each in (first, *others)] == ["2", "3", "4"]
    assert [(await later.next()).unique_id for _ in range(2)] == [each.unique_id for each in others]


async def test_http_and_grpc_show_the_same_events(api: WebBench, client: Client) -> None:
    collection = await api.collection()
    device_id = await api.device(collection)
    stream = client.stream(application(collection))
    await stream.next()
    async with Raw(api, body_of(application(collection))) as other:
        await other.event()
        api.receive(device_id)
        shown = [await other.event() for _ in range(2)]
    found = [await stream.next() for _ in range(2)]

    assert [each.unique_id for each in found] == [each["unique_id"] for each in shown]
    assert [list(each.correlation_ids) for each in found] == [each["correlation_ids"] for each in shown]


async def test_several_calls_share_a_connection(api: WebBench, client: Client, listener: GrpcListener) -> None:
    collection = await api.collection()
    one, two = await api.device(collection), await api.device(collection)
    streams = [client.stream(device(collection, each)) for each in (one, two)]
    for each in streams:
        await each.next()
    api.receive(two)
    api.receive(one)

    assert [(await each.next()).identifiers[0].device_ids.device_id for each in streams] == [one, two]
    assert len(listener._connections) == 1


async def test_a_tail_over_the_limit_is_announced_in_the_metadata(api: WebBench, client: Client) -> None:
    stream = client.stream(application(await api.collection()), tail=2_000_000)
    metadata = dict(await stream.call.initial_metadata())

    assert metadata["warning"] == "The tail is limited to 1000 events"


async def test_a_client_that_cancels_is_forgotten(api: WebBench, client: Client) -> None:
    stream = client.stream(application(await api.collection()))
    await stream.next()
    assert api.hub.subscribers == 1
    stream.call.cancel()

    await until(lambda: api.hub.subscribers == 0)


async def test_a_client_that_disconnects_is_forgotten(api: WebBench, listener: GrpcListener) -> None:
    collection = await api.collection()
    async with Client(listener.address, api.admin) as client:
        await client.stream(application(collection)).next()
        assert api.hub.subscribers == 1

    await until(lambda: api.hub.subscribers == len(listener._connections) == 0)


# ---- related ---------------------------------------------------------------------------------


async def test_related_events_are_found(api: WebBench, client: Client) -> None:
    collection = await api.collection()
    message = ids.to_ulid(ids.parse(api.receive(await api.device(collection))))
    found = await client.related(f"cause:{message}")

    assert [each.name for each in found] == ["as.end_device.connect", "as.up.data.forward"]
    assert await client.related("cause:01HF7YATZ60000000000000003") == []


async def test_a_reply_larger_than_the_clients_window_comes_whole(api: WebBench, client: Client) -> None:
    """HTTP/2 lets 65,535 octets through at first."""
    collection = ids.parse(await api.collection())
    cause = api.fleet.identifiers.next(api.fleet.clock.time_ns())
    for _ in range(100):
        event = UpstreamMessage(
            origin=Origin(collection, 7), correlation_id=cause, bytes=1, transport=Transport.UDP, detail="x" * 1000
        )
        api.fleet.bus.publish(event)
    found = await client.related(f"cause:{ids.to_ulid(cause)}")

    assert len(found) == 100
    assert sum(each.ByteSize() for each in found) > 100_000


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifiers", "fields", "code", "message"),
    [
        ((), {}, "INVALID_ARGUMENT", "error:pkg/events/grpc:no_identifiers (no identifiers)"),
        (
            ({"application_ids": {"application_id": "A"}},),
            {},
            "INVALID_ARGUMENT",
            "error:pkg/errors:validation (invalid `identifiers[0]`: embedded message failed validation)",
        ),
        (
            ({},),
            {},
            "INVALID_ARGUMENT",
            "error:pkg/errors:validation (invalid `identifiers[0]`: embedded message failed validation)",
        ),
        (
            (application(NOBODY),),
            {"names": ["gs.up"]},
            "INVALID_ARGUMENT",
            "error:pkg/events:unknown_event_name (unknown event `gs.up`)",
        ),
        (
            (application(NOBODY),),
            {"names": ["/nothing/"]},
            "INVALID_ARGUMENT",
            "error:pkg/events:no_matching_events (no matching events for regexp `nothing`)",
        ),
        (
            (application(NOBODY),),
            {"names": ["/(/"]},
            "INVALID_ARGUMENT",
            "error:pkg/events:invalid_regexp (invalid regexp)",
        ),
        (
            (application(NOBODY),),
            {},
            "NOT_FOUND",
            f"error:pkg/identityserver/store:application_not_found (application with id `{NOBODY}` not found)",
        ),
        (
            (gateway("gtw9"),),
            {},
            "NOT_FOUND",
            "error:pkg/identityserver/store:gateway_not_found (gateway with id `gtw9` not found)",
        ),
    ],
)
async def test_every_documented_error_comes_with_its_details(
    client: Client, identifiers: tuple[dict[str, Any], ...], fields: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(Refused) as refused:
        await client.stream(*identifiers, **fields).next()
    details = refused.value.details

    assert (refused.value.code.name, refused.value.text) == (code, message)
    assert message.startswith(f"error:{details.namespace}:{details.name} (")
    assert details.code == refused.value.code.value[0]
    assert len(details.correlation_id) == 32


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [
        (None, "UNAUTHENTICATED", "error:pkg/auth/rights:unauthenticated (unauthenticated)"),
        ("0" * 64, "UNAUTHENTICATED", "error:pkg/identityserver:api_key_not_found (API key not found)"),
        ("NNSXS.ABC.DEF", "UNAUTHENTICATED", "error:pkg/identityserver:api_key_not_found (API key not found)"),
        ("abc", "INVALID_ARGUMENT", "error:pkg/auth:token (invalid token)"),
    ],
)
async def test_a_call_without_a_good_token_is_refused(
    api: WebBench, listener: GrpcListener, token: str | None, code: str, message: str
) -> None:
    """Both methods: FindRelated answers no stranger either."""
    collection = await api.collection()
    async with Client(listener.address, token) as client:
        with pytest.raises(Refused) as streamed:
            await client.stream(application(collection)).next()
        with pytest.raises(Refused) as related:
            await client.related("cause:x")

    for each in (streamed.value, related.value):
        assert (each.code.name, each.text) == (code, message)
        assert each.details.code == each.code.value[0]


async def test_a_token_without_a_right_is_refused(api: WebBench, listener: GrpcListener) -> None:
    mine, foreign = await api.collection(), await api.collection()
    async with Client(listener.address, await api.token(f"/collections/{mine}")) as client:
        with pytest.raises(Refused) as refused:
            await client.stream(application(mine), application(foreign)).next()

    message = f"error:pkg/auth/rights:no_application_rights (no rights for application `{foreign}`)"
    assert (refused.value.code.name, refused.value.text) == ("PERMISSION_DENIED", message)


@pytest.mark.parametrize("correlation_id", ["", "x" * 101])
async def test_a_correlation_id_has_1_to_100_characters(client: Client, correlation_id: str) -> None:
    with pytest.raises(Refused) as refused:
        await client.related(correlation_id)

    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details.attributes["field"] == "correlation_id"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("/ttn.lorawan.v3.Events/Delete", "unknown method Delete for service ttn.lorawan.v3.Events"),
        ("/ttn.lorawan.v3.Is/List", "unknown service ttn.lorawan.v3.Is"),
        ("/x", 'malformed method name: "/x"'),
    ],
)
async def test_other_methods_are_not_implemented(client: Client, method: str, message: str) -> None:
    call: Any = client.channel.unary_unary(method)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"", timeout=PATIENCE)

    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, message)


async def test_octets_that_are_no_message_are_refused(api: WebBench, client: Client) -> None:
    call: Any = client.channel.unary_unary("/ttn.lorawan.v3.Events/FindRelated")
    metadata = (("authorization", f"Bearer {api.admin}"),)
    for octets in (b"\xff\xff", b"\x0a\x02\xff\xff"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(octets, metadata=metadata, timeout=PATIENCE)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(bytes(300_000), metadata=metadata, timeout=PATIENCE)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_recorded_request_of_the_original_client_is_understood(api: WebBench, listener: GrpcListener) -> None:
    """The octets of ``ttn-lw-cli events --gateway-id gtw1 --application-id app1``."""
    octets = bytes.fromhex("0a080a060a04617070310a0822060a0467747731")
    async with grpc.aio.insecure_channel(listener.address) as channel:
        follow: Any = channel.unary_stream("/ttn.lorawan.v3.Events/Stream")
        call = follow(octets, metadata=(("authorization", f"bearer {api.admin}"),), timeout=PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()

    assert refused.value.details() == (
        "error:pkg/identityserver/store:application_not_found (application with id `app1` not found)"
    )


# ---- ends ------------------------------------------------------------------------------------


async def test_a_stream_of_a_deleted_token_ends_unauthenticated(api: WebBench, listener: GrpcListener) -> None:
    collection = await api.collection()
    text = await api.token()
    token = await api.tokens.find(text)
    assert token is not None
    async with Client(listener.address, text) as client:
        stream = client.stream(application(collection))
        await stream.next()
        api.streams.revoke([token])
        with pytest.raises(Refused) as refused:
            await stream.next()

    assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details.name == "api_key_not_found"


async def test_the_shutdown_cancels_streams(api: WebBench, client: Client, listener: GrpcListener) -> None:
    """CANCELLED is the end after which ttn-lw-cli exits with status 0."""
    stream = client.stream(application(await api.collection()))
    await stream.next()
    api.hub.close()
    await listener.stop()
    await listener.close()
    with pytest.raises(Refused) as refused:
        await stream.next()

    assert refused.value.code is grpc.StatusCode.CANCELLED
    assert refused.value.text == "error:unknown:unknown (grpc: the client connection is closing)"
    assert not listener._connections


async def test_a_call_past_its_deadline_ends(api: WebBench, client: Client) -> None:
    request = message_of("StreamEventsRequest")(identifiers=[application(await api.collection())])
    follow: Any = client.channel.unary_stream("/ttn.lorawan.v3.Events/Stream")
    call = follow(request.SerializeToString(), metadata=(("authorization", f"Bearer {api.admin}"),), timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(each async for each in call if not each)  # events, if any, until the end

    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: api.hub.subscribers == 0)


# ---- TLS -------------------------------------------------------------------------------------


async def test_tls_shows_the_servers_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with web_bench(tmp_path_factory.mktemp("api")) as api:
        made = await open_authority(tmp_path_factory.mktemp("pki") / "new", SystemClock())
        shown = made.server_identity()
        identities = [Identity(shown.key_pem, shown.certificates_pem)]
        collection = await api.collection()
        async with (
            listening(api, identities=identities, grpc_tls=True) as listener,
            Client(listener.address, api.admin, root=made.root_pem, name="localhost") as client,
        ):
            start = await client.stream(application(collection)).next()

    assert start.name == "events.stream.start"
