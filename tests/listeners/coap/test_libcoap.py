"""CoAP with libcoap's coap-client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.programs import output_of
from tests.listeners.coap.bench import CoapBench

CLIENT = "coap-client-openssl"
BODY = b"".join(b"line %06d of the file\n" % number for number in range(125))
"""3,000 octets."""


async def run(coap: CoapBench, *arguments: str, path: str = "x") -> str:
    """Run the client against the listener and return its output."""
    uri = f"coap://127.0.0.1:{coap.server[1]}/{path}"
    return await output_of(CLIENT, "-B", "60", *arguments, uri)


@pytest.mark.parametrize("option", [[], ["-N"], ["-U"], ["-T", "token"]])
async def test_a_post_arrives(coap: CoapBench, option: list[str]) -> None:
    """CON and NON, with and without the options for host and port."""
    output = await run(coap, *option, "-m", "post", "-e", "hello", path="data/on/server?unit=1")

    assert output.strip() == ""
    assert coap.payloads == [b"hello"]
    assert coap.fleet.messages[0].coap_path == "/data/on/server"
    assert coap.fleet.names == ["clientConnected", "upstreamMessage"]


@pytest.mark.parametrize("option", [["-m", "post", "-e", "hello"], ["-m", "get"], ["-N", "-m", "get"]])
async def test_a_queued_message_is_fetched(coap: CoapBench, option: list[str]) -> None:
    """By a POST or by a poll."""
    await coap.queue(b"lamp on")

    assert "lamp on" in await run(coap, *option)
    assert coap.fleet.names[-1] == "downstreamMessage"


@pytest.mark.parametrize("size", ["16", "64", "256", "1024"])
async def test_a_file_is_uploaded_in_blocks(coap: CoapBench, tmp_path: Path, size: str) -> None:
    """One message, whatever the block size."""
    file = tmp_path / "file"
    file.write_bytes(BODY)

    await run(coap, "-b", size, "-m", "post", "-f", str(file))

    assert coap.payloads == [BODY]
    assert coap.listener.endpoint.unfinished_uploads == 0


async def test_a_file_is_uploaded_in_blocks_without_an_option(coap: CoapBench, tmp_path: Path) -> None:
    """Without -b, libcoap selects the block size."""
    file = tmp_path / "file"
    file.write_bytes(BODY)

    await run(coap, "-m", "post", "-f", str(file))

    assert coap.payloads == [BODY]


@pytest.mark.parametrize("option", [[], ["-b", "64"], ["-b", "1024"], ["-N"]])
@pytest.mark.parametrize("method", [["-m", "get"], ["-m", "post", "-e", "hello"]])
async def test_a_large_message_is_fetched_in_blocks(
    coap: CoapBench, tmp_path: Path, option: list[str], method: list[str]
) -> None:
    """The client assembles the message; the next message stays in the queue."""
    await coap.queue(BODY)
    await coap.queue(b"next")
    file = tmp_path / "fetched"

    await run(coap, *option, *method, "-o", str(file))

    assert file.read_bytes() == BODY
    waiting = coap.fleet.outbox.next_for(coap.device)
    assert waiting is not None
    assert waiting.payload == b"next"


async def test_an_upload_that_begins_in_the_middle_is_rejected(coap: CoapBench, tmp_path: Path) -> None:
    """F26, with a real client."""
    file = tmp_path / "file"
    file.write_bytes(BODY)

    output = await run(coap, "-b", "1,1024", "-m", "post", "-f", str(file))

    assert "4.08 block 0 was expected, 1 came" in output
    assert coap.fleet.names == ["messageRejected"]
    assert coap.payloads == []


async def test_an_unknown_critical_option_is_rejected_with_a_diagnostic(coap: CoapBench) -> None:
    """F25, with a real client."""
    output = await run(coap, "-O", "65001,x", "-m", "post", "-e", "hello")

    assert "4.02 option 65001 is not served here" in output


async def test_discovery_lists_the_root(coap: CoapBench) -> None:
    """GET /.well-known/core."""
    assert "</>" in await run(coap, "-m", "get", path=".well-known/core")
