"""Outputs of other types than webhooks: UDP and IFTTT."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from pathlib import Path

import orjson
import pytest

from span_events.errors import InvalidRequest
from span_events.outputs import ifttt
from span_events.registry.outputs import OutputType
from tests.bench.ports import free_port
from tests.bench.waiting import until
from tests.outputs.conftest import OutputsBench, Target, outputs_bench


def receiver(port: int = 0) -> socket.socket:
    """Bind a UDP socket."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bound.bind(("127.0.0.1", port))
    return bound


async def test_udp_sends_the_payload_as_it_is(bench: OutputsBench) -> None:
    with receiver() as bound:
        await bench.add(OutputType.UDP, host="localhost", port=bound.getsockname()[1])
        bench.send(b"\x00\x01")

        assert await asyncio.get_running_loop().sock_recv(bound, 2048) == b"\x00\x01"


@pytest.mark.parametrize(("content", "key"), [("messages", "payload"), ("activity", "event")])
async def test_udp_sends_json_if_a_format_is_set(bench: OutputsBench, content: str, key: str) -> None:
    with receiver() as bound:
        port = bound.getsockname()[1]
        await bench.add(OutputType.UDP, host="127.0.0.1", port=port, content=content, format="span")
        bench.send()

        assert key in orjson.loads(await asyncio.get_running_loop().sock_recv(bound, 65536))


async def test_a_closed_udp_port_is_told_and_a_restart_of_the_target_survived(bench: OutputsBench) -> None:
    port = free_port()
    await bench.add(OutputType.UDP, host="127.0.0.1", port=port)
    while not bench.published("outputFailed"):  # the refusal of one datagram is the failure of the next
        bench.send(b"lost")
        await asyncio.sleep(0)
    failed = bench.published("outputFailed")[0]
    with receiver(port) as bound:
        bench.send(b"next")
        while await asyncio.get_running_loop().sock_recv(bound, 2048) != b"next":
            pass

    assert (failed["reason"], failed["detail"]) == ("unreachable", "Connection refused")
    assert failed["target"] == f"127.0.0.1:{port}"


async def test_udp_to_a_private_address_is_refused(tmp_path: Path) -> None:
    async with outputs_bench(tmp_path, allow_private=False) as bench:
        with receiver() as bound:
            await bench.add(OutputType.UDP, host="localhost", port=bound.getsockname()[1])
            bench.send()
            failed = await bench.event("outputFailed")

            assert failed["reason"] == "privateTarget"
            with pytest.raises(BlockingIOError):
                bound.recv(1)


@pytest.mark.parametrize(("as_is", "value"), [(False, b64encode(b"hello").decode()), (True, "hello")])
async def test_ifttt_gets_payload_device_and_time(
    bench: OutputsBench, target: Target, monkeypatch: pytest.MonkeyPatch, as_is: bool, value: str
) -> None:
    monkeypatch.setattr(ifttt, "URL", f"http://127.0.0.1:{target.port}/trigger")
    await bench.add(OutputType.IFTTT, key="secret/key", event_name="my event", as_is_payload=as_is)
    bench.send()
    await until(lambda: bool(target.requests))

    assert target.requests[0][0].raw_path == "/trigger/my%20event/with/key/secret%2Fkey"
    assert target.bodies[0]["value1"] == value
    assert target.bodies[0]["value2"]


async def test_events_about_ifttt_do_not_show_its_key(bench: OutputsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifttt, "URL", "http://127.0.0.1:1/trigger")
    await bench.add(OutputType.IFTTT, key="secret", event_name="door")
    bench.send()
    failed = await bench.event("outputFailed")

    assert failed["target"].endswith("/trigger/door")
    assert "secret" not in str(failed)


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        (OutputType.UDP, {}, "config.host"),
        (OutputType.UDP, {"host": "a"}, "config.port"),
        (OutputType.UDP, {"host": "a/b", "port": 1}, "config.host"),
        (OutputType.IFTTT, {"key": "a"}, "config.eventName"),
        (OutputType.IFTTT, {"event_name": "a"}, "config.key"),
        (OutputType.UNDEFINED, {}, "type"),
    ],
)
async def test_a_missing_setting_is_named(
    bench: OutputsBench, kind: OutputType, config: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await bench.add(kind, **config)

    assert caught.value.field == field
