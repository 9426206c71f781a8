"""Bodies about gateways that were passed over in silence."""

from __future__ import annotations

from tests.web.conftest import WebBench


async def test_parameters_under_their_older_name_are_taken(api: WebBench) -> None:
    """Older documents of Span write ``cust``."""
    collection = await api.collection()
    body = {"name": "roof", "config": {"cust": {"params": {"band": "868"}}}}
    reply = await api.call("POST", f"/span/collections/{collection}/gateways", json=body)

    assert reply.body["config"]["user"]["params"] == {"band": "868"}


async def test_a_block_that_names_another_gateway_is_refused(api: WebBench) -> None:
    """The intended one of the two is unknown."""
    collection = await api.collection()
    one, other = await api.gateway(collection), await api.gateway(collection)
    path = f"/span/collections/{collection}/devices"
    block = {"gatewayId": other, "params": {"a": "b"}}
    refused = await api.call("POST", path, json={"config": {"gateway": {one: block}}})
    taken = await api.call("POST", path, json={"config": {"gateway": {other: block}}})

    assert (refused.status, refused.body["field"]) == (400, f"config.gateway.{one}.gatewayId")
    assert taken.status in (200, 201)
