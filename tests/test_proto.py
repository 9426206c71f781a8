"""The protocol definitions: Span's names and numbers, and generated modules that are current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor import Descriptor

from span_events.proto import gateway_pb2

ROOT = Path(__file__).parent.parent
FOLDER = "span_events/proto"


def test_the_generated_modules_are_current(tmp_path: Path) -> None:
    """scripts/proto would change nothing."""
    sources = sorted(path.relative_to(ROOT) for path in (ROOT / FOLDER).glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=."]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *map(str, sources)]
    subprocess.run(command, cwd=ROOT, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / FOLDER).iterdir()}

    assert len(made) == 2 * len(sources) > 0
    assert {name: (ROOT / FOLDER / name).read_text() for name in made} == made


def fields_of(message: Descriptor) -> dict[str, int]:
    """List the fields of a message with their numbers."""
    return {each.name: each.number for each in message.fields}


def choices_of(message: Descriptor) -> dict[str, tuple[int, str]]:
    """List what a message may hold one of, with number and type."""
    (oneof,) = message.oneofs
    return {each.name: (each.number, each.message_type.name) for each in oneof.fields if each.message_type is not None}


def test_gateways_are_spoken_to_by_spans_names_and_numbers() -> None:
    """A gateway that was made for Span notices no difference."""
    service = gateway_pb2.DESCRIPTOR.services_by_name["UserGatewayService"]
    (method,) = service.methods
    request, response = method.input_type, method.output_type
    messages = {each.name: fields_of(each) for each in gateway_pb2.DESCRIPTOR.message_types_by_name.values()}

    assert f"/{service.full_name}/{method.name}" == "/gateway.v1.UserGatewayService/ControlStream"
    assert (method.client_streaming, method.server_streaming) == (True, True)
    assert choices_of(request) == {
        "config": (1, "ConfigRequest"),
        "upstream_message": (2, "UpstreamMessage"),
        "keepalive": (3, "Keepalive"),
        "gateway_metadata": (4, "GatewayMetadataUpdate"),
        "device_update": (5, "DeviceUpdate"),
    }
    assert choices_of(response) == {
        "device_update": (1, "DeviceConfigUpdate"),
        "gateway_update": (2, "GatewayConfigUpdate"),
        "device_removed": (3, "DeviceRemoved"),
        "downstream_message": (4, "DownstreamMessage"),
        "keepalive_response": (5, "KeepaliveResponse"),
    }
    del messages["ControlStreamRequest"], messages["ControlStreamResponse"]
    assert messages == {
        "ConfigRequest": {},
        "UpstreamMessage": {"device_id": 1, "payload": 2, "metadata": 3},
        "Keepalive": {},
        "GatewayMetadataUpdate": {"metadata": 1},
        "DeviceUpdate": {"device_id": 1, "config": 2, "metadata": 3},
        "DeviceConfigUpdate": {"device_id": 1, "config": 2, "tags": 3},
        "GatewayConfigUpdate": {"gateway_id": 1, "config": 2, "tags": 3},
        "DeviceRemoved": {"device_id": 1},
        "DownstreamMessage": {"message_id": 1, "device_id": 2, "payload": 3},
        "KeepaliveResponse": {},
    }
