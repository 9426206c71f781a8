"""CoAP with aiocoap's own client, used through its public API only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiocoap
import pytest
from aiocoap.numbers import Code as Registered
from aiocoap.numbers import OptionNumber

from span_events.wire.coap.messages import Code, Option
from tests.bench.waiting import PATIENCE
from tests.listeners.coap.bench import CoapBench

BODY = b"".join(b"line %06d of the file\n" % number for number in range(125))
"""3,000 octets."""
_REGISTERED: Final = {"IPATCH": "iPATCH"}
"""Names of codes that aiocoap spells otherwise."""


@pytest.fixture
async def client() -> AsyncIterator[aiocoap.Context]:
    """Open a client."""
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    yield context
    await context.shutdown()


async def exchange(client: aiocoap.Context, coap: CoapBench, code: object, payload: bytes = b"") -> aiocoap.Message:
    """Send a request to the listener and wait for the response."""
    request = aiocoap.Message(code=code, uri=f"coap://127.0.0.1:{coap.server[1]}/data/on/server", payload=payload)
    async with asyncio.timeout(PATIENCE):
        return await client.request(request).response


async def test_a_post_is_a_message(coap: CoapBench, client: aiocoap.Context) -> None:
    """The response takes a waiting message along."""
    await coap.queue(b"lamp on")
    response = await exchange(client, coap, aiocoap.POST, b"hello")

    assert (response.code, response.payload) == (aiocoap.CREATED, b"lamp on")
    assert coap.payloads == [b"hello"]
    assert coap.fleet.messages[0].coap_path == "/data/on/server"


async def test_a_get_fetches_a_waiting_message(coap: CoapBench, client: aiocoap.Context) -> None:
    """And an empty one if there is none."""
    await coap.queue(b"lamp on")
    responses = [await exchange(client, coap, aiocoap.GET) for _ in range(2)]

    assert [response.code for response in responses] == [aiocoap.CONTENT] * 2
    assert [response.payload for response in responses] == [b"lamp on", b""]


async def test_a_large_post_arrives_in_blocks(coap: CoapBench, client: aiocoap.Context) -> None:
    """Three blocks, one message (RFC 7959 §2.5)."""
    response = await exchange(client, coap, aiocoap.POST, BODY)

    assert response.code == aiocoap.CREATED
    assert coap.payloads == [BODY]


async def test_a_large_message_is_fetched_in_blocks(coap: CoapBench, client: aiocoap.Context) -> None:
    """Three blocks, one message (RFC 7959 §2.4)."""
    await coap.queue(BODY)
    response = await exchange(client, coap, aiocoap.GET)

    assert (response.code, response.payload) == (aiocoap.CONTENT, BODY)
    assert coap.fleet.names.count("downstreamMessage") == 1


async def test_a_large_post_may_have_a_large_response(coap: CoapBench, client: aiocoap.Context) -> None:
    """Block1 and Block2 in one exchange (RFC 7959 §3.3)."""
    await coap.queue(BODY)
    response = await exchange(client, coap, aiocoap.POST, BODY)

    assert (response.code, response.payload) == (aiocoap.CREATED, BODY)
    assert coap.payloads == [BODY]


def test_codes_and_options_have_the_numbers_that_aiocoap_gives_them() -> None:
    """Both follow the IANA registries."""
    codes = {code.name: int(code) for code in Code}
    options = {option.name: int(option) for option in Option}

    assert codes == {name: int(Registered[_REGISTERED.get(name, name)]) for name in codes}
    assert options == {name: int(OptionNumber[name]) for name in options}
