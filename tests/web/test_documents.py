"""Span's JSON documents, beyond the cases of the API's tests."""

from __future__ import annotations

import pytest

from span_events.events.activity import Origin
from span_events.events.message import Message, Transport
from span_events.ids import parse
from span_events.registry.directory import Directory
from span_events.registry.model import (
    CiotMetadata,
    Collection,
    Device,
    FirmwareMetadata,
    Gateway,
    GatewayMetadata,
    GatewayType,
    InetMetadata,
)
from span_events.web import documents

COLLECTION, DEVICE = parse("17dj5j4ce8bkci"), parse("17kl14hm46h4c2")
GATEWAY = parse("17kl14hm46h4c9")


def device() -> Device:
    return Device(DEVICE, Collection(COLLECTION))


def message(transport: Transport, *, gateway_id: int | None = None) -> Message:
    return Message(
        id=parse("17kl14hm46h4c3"),
        origin=Origin(COLLECTION, DEVICE, gateway_id),
        received_ns=1715070269492894739,
        transport=transport,
        payload=b"\x00\xff",
        local_port=1234,
        remote_port=4000,
        coap_code="POST",
        coap_path="mydata",
        gateway_metadata=(("rssi", "-90"),),
    )


def test_blocks_of_which_nothing_is_known_are_left_out() -> None:
    """But metadata and config are objects, and ids of nothing are written."""
    document = documents.device(device())

    assert document["metadata"] == {}
    assert document["config"] == {}
    assert document["lastGatewayId"] == "0"
    assert document["lastTransport"] == "unspecified"
    assert document["firmware"]["targetFirmwareId"] == "0"


def test_data_of_the_mobile_core_is_written_with_spans_types() -> None:
    """Times as text, codes of country and network as numbers."""
    value = device()
    value.ciot = CiotMetadata("10.0.0.1", 1714076616000, "cell", 242, 1, "Norway", "Telenor", "NO", 5, "24", "35")

    assert documents.device(value)["metadata"]["ciot"] == {
        "gatewayId": "3",
        "allocatedIp": "10.0.0.1",
        "allocatedAt": "1714076616000",
        "cellId": "cell",
        "mcc": 242,
        "mnc": 1,
        "country": "Norway",
        "network": "Telenor",
        "countryCode": "NO",
        "lastUpdate": "5",
        "lastImsi": "24",
        "lastImei": "35",
    }


def test_additional_fields_are_written_only_with_values() -> None:
    """The present prefix of a device, and its reserved address; not its last one."""
    value = device()
    value.ciot = CiotMetadata(allocated_prefix="2001:db8::/64", static_ip="10.0.0.2", last_ip="10.0.0.3")
    document = documents.device(value, extended=True)["metadata"]["ciot"]

    assert (document["allocatedIp"], document["allocatedPrefix"], document["staticIp"]) == (
        "",
        "2001:db8::/64",
        "10.0.0.2",
    )
    assert "10.0.0.3" not in document.values()


def test_a_device_with_a_certificate_has_inet_blocks() -> None:
    """Its configuration is empty: the certificate is the identity."""
    value = device()
    value.inet = InetMetadata(6, "10.0.0.2:1", "99")
    document = documents.device(value)

    assert document["config"]["inet"] == {}
    assert document["metadata"]["inet"] == {
        "gatewayId": "4",
        "lastUpdate": "6",
        "remoteAddress": "10.0.0.2:1",
        "certificateSerial": "99",
    }


def test_a_device_behind_a_gateway_has_gateway_blocks() -> None:
    """The block for the gateway, and the gateway's last report."""
    value = device()
    value.config.gateways[GATEWAY] = {"devEui": "00"}
    value.gateway = GatewayMetadata(GATEWAY, 1714076616000, {"rssi": "-90"})
    value.last_gateway_id = GATEWAY
    document = documents.device(value)

    assert document["config"] == {
        "gateway": {"17kl14hm46h4c9": {"gatewayId": "17kl14hm46h4c9", "params": {"devEui": "00"}}}
    }
    assert document["metadata"] == {
        "gateway": {"gatewayId": "17kl14hm46h4c9", "lastUpdate": "1714076616000", "params": {"rssi": "-90"}}
    }
    assert document["lastGatewayId"] == "17kl14hm46h4c9"


def test_a_gateway_is_written_with_spans_words() -> None:
    """Lower-case words, params under config.user for every type, and the report as a field of our own."""
    value = Gateway(GATEWAY, Collection(COLLECTION), GatewayType.LORA, "roof", {"a": "1"}, {"b": "2"}, enabled=False)
    plain = documents.gateway(value)
    value.is_online, value.reported, value.reported_ms = True, {"version": "1.0"}, 1714076616000
    told = documents.gateway(value, extended=True)

    assert plain == {
        "gatewayId": "17kl14hm46h4c9",
        "collectionId": "17dj5j4ce8bkci",
        "name": "roof",
        "builtIn": False,
        "type": "lora",
        "config": {"user": {"params": {"a": "1"}}},
        "tags": {"b": "2"},
        "status": "offline",
        "enabled": False,
    }
    assert told == plain | {
        "status": "online",
        "metadata": {"lastUpdate": "1714076616000", "params": {"version": "1.0"}},
    }


def test_built_in_gateways_show_where_devices_reach_us() -> None:
    """Online if anything listens; they are the same in every collection."""
    directory = Directory()
    directory.add_collection(Collection(COLLECTION))
    directory.endpoints[GatewayType.INET]["dtlsEndpoint"] = "127.0.0.1:1234"
    ciot, inet = [documents.gateway(each) for each in directory.gateways_of(COLLECTION)]

    assert (ciot["gatewayId"], ciot["type"], ciot["builtIn"], ciot["status"]) == ("3", "ciot", True, "offline")
    assert (inet["gatewayId"], inet["type"], inet["builtIn"], inet["status"]) == ("4", "inet", True, "online")
    assert ciot["config"] == {"ciot": {"apn": "", "udpEndpoint": "", "coapEndpoint": ""}}
    assert inet["config"] == {"inet": {"dtlsEndpoint": "127.0.0.1:1234", "coapEndpoint": "", "mqttEndpoint": ""}}


def test_firmware_ids_are_base_24() -> None:
    value = device()
    value.firmware = FirmwareMetadata(parse("17a"), parse("17b"), "1.0", "sn", "mn", "maker", "Pending", "waits")

    assert documents.device(value)["firmware"] == {
        "currentFirmwareId": "17a",
        "targetFirmwareId": "17b",
        "firmwareVersion": "1.0",
        "serialNumber": "sn",
        "modelNumber": "mn",
        "manufacturer": "maker",
        "state": "Pending",
        "stateMessage": "waits",
    }


def test_a_download_is_shown_with_its_place() -> None:
    """In the device and in its ImageState; only that of the image that the state is about."""
    value = device()
    value.firmware = FirmwareMetadata(
        state="TimedOut",
        state_image_id=7,
        download_image_id=7,
        download_end=600,
        download_block=5,
        download_block_size=100,
        download_length=1000,
    )
    shown = {"block": 5, "blockSize": 100, "percent": 60}

    assert shown.items() <= documents.device(value, extended=True)["firmware"].items()
    assert shown.items() <= documents.image_state(value, extended=True).items()
    value.firmware.state_image_id = 8
    assert "percent" not in documents.device(value, extended=True)["firmware"]
    assert "percent" not in documents.image_state(value, extended=True)


@pytest.mark.parametrize(
    ("transport", "block"),
    [
        (Transport.UDP, {"udpMetaData": {"localPort": 1234, "remotePort": 4000}}),
        (Transport.DTLS, {"udpMetaData": {"localPort": 1234, "remotePort": 4000}}),
        (Transport.COAP, {"coapMetaData": {"code": "POST", "path": "mydata"}}),
        (Transport.COAPS, {"coapMetaData": {"code": "POST", "path": "mydata"}}),
        (Transport.GATEWAY, {"gatewayMetaData": {"metadata": {"rssi": "-90"}}}),
        (Transport.MQTT, {}),
    ],
)
def test_a_message_shows_the_metadata_of_its_transport(transport: Transport, block: dict[str, object]) -> None:
    """One block, by transport."""
    sender = device()

    assert documents.output_data_message(message(transport, gateway_id=3), sender) == {
        "type": "data",
        "device": documents.device(sender),
        "payload": "AP8=",
        "received": "1715070269492",
        "transport": transport.value,
        "messageId": "17kl14hm46h4c3",
        "gatewayId": "3",
        **block,
    }


def test_a_message_of_a_device_that_is_gone_still_names_it() -> None:
    """Clients reach into device.deviceId and device.metadata."""
    document = documents.output_data_message(message(Transport.UDP), None)

    assert document["device"] == {"collectionId": "17dj5j4ce8bkci", "deviceId": "17kl14hm46h4c2", "metadata": {}}
    assert document["gatewayId"] == "3"
