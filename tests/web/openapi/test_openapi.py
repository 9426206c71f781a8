"""``GET /openapi.json``: it describes every route, and every reply of a full collection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from span_events.web.openapi.document import document
from span_events.web.openapi.subjects.streams import ACTIVITY_PARAMETERS
from span_events.web.paths import QUERY
from span_events.web.streams import request as streams
from tests.field.span_documents import REPLIES
from tests.field.test_contract import Scene, in_order
from tests.web.conftest import WebBench, web_bench

ONLY_REFUSES: Final = {
    "/api/v3/{rest}",
    "/span/collections/{collection}/firmware/labeled",
    "/span/collections/{collection}/firmware/labeled/{rest}",
}
"""Paths that refuse every method; their names are in Span's and The Things Stack's documents."""


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document."""
    return document()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def strict(schema: Any) -> Any:
    """Forbid the fields that a schema does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(each) for name, each in schema.items()}
    if "properties" in found and isinstance(found["properties"], dict):
        found.setdefault("additionalProperties", False)
    return found


async def test_the_document_is_served_without_a_token(api: WebBench) -> None:
    reply = await api.call("GET", "/openapi.json", token=None)

    assert reply.status == 200
    assert reply.body == document()


def test_the_document_obeys_the_specification(described: dict[str, Any]) -> None:
    validate(described)

    assert described["openapi"] == "3.1.0"


async def test_every_route_is_described_and_every_description_is_served(
    api: WebBench, described: dict[str, Any]
) -> None:
    served = {(each.method, each.resource.canonical) for each in api.app.router.routes() if each.resource}
    of_any_method = {path for method, path in served if method == "*"}
    known = {(method, path) for method, path, _ in operations(described)}

    assert {each for each in served if each[0] not in ("*", "HEAD")} <= known
    assert {path for method, path in known - served} <= of_any_method
    assert of_any_method - {path for _, path in known} == ONLY_REFUSES


def test_operations_have_names_of_their_own(described: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(described)]

    assert len(names) == len(set(names))


def test_query_parameters_are_those_that_are_read(described: dict[str, Any]) -> None:
    """The other two of the API, and three of labeled firmware, are nowhere described."""
    named = {
        each["name"]
        for _, path, operation in operations(described)
        if path.startswith("/span/") and "streams" not in operation["tags"]
        for each in operation["parameters"]
        if each.get("in") == "query"
    }

    assert named == QUERY - {"api_token", "version", "label", "imageRef"}
    assert {each["name"] for each in ACTIVITY_PARAMETERS} == streams.PARAMETERS - {"api_token"}


async def test_operations_without_security_need_no_token_and_the_others_do(
    api: WebBench, described: dict[str, Any]
) -> None:
    path_of = dict.fromkeys(("collection", "device", "gateway", "image", "blob", "output", "message"), "17dh0cf43jfgl8")
    for method, path, operation in operations(described):
        if operation["tags"][0] not in ("streams", "things-stack"):
            reply = await api.call(method, path.format(**path_of, serial="1"), token=None)

            assert (reply.status == 401) == ("security" not in operation), (method, path)


async def test_every_field_of_a_reply_is_described(api: WebBench, described: dict[str, Any]) -> None:
    """In a collection whose resources have all states and optional fields, plain and extended."""
    scene = Scene(api)
    await scene.build()
    components = strict(described["components"])
    routes = [each for each in sorted(REPLIES, key=in_order) if each[0] != "DELETE"]
    for method, path in [*routes, *(each for each in sorted(REPLIES, key=in_order) if each not in routes)]:
        if (method, path) == ("DELETE", "/span/collections/{collection}"):
            await scene.clear()
        reply = described["paths"][path][method.lower()]["responses"]["200"]["content"]["application/json"]
        validator = OAS31Validator({**strict(reply["schema"]), "components": components})
        bodies = [await scene.call(method, path)]
        if method == "GET":
            url = path.format(**scene.names)
            bodies.append((await api.call("GET", f"{url}?extended=1&upstream=1&downstream=1")).body)
        for body in bodies:
            assert [f"{each.json_path}: {each.message}" for each in validator.iter_errors(body)] == [], path


async def test_replies_without_a_token_are_described(api: WebBench, described: dict[str, Any]) -> None:
    components = strict(described["components"])
    for path in ("/healthz", "/readyz", "/span/events/catalogue", "/span/system?extended=1"):
        schema = described["paths"][path.partition("?")[0]]["get"]["responses"]["200"]["content"]["application/json"]
        body = (await api.call("GET", path, token=None)).body
        errors = OAS31Validator({**strict(schema["schema"]), "components": components}).iter_errors(body)

        assert [f"{each.json_path}: {each.message}" for each in errors] == [], path


def test_examples_of_bodies_obey_their_schemas(described: dict[str, Any]) -> None:
    components = described["components"]
    for method, path, operation in operations(described):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            errors = OAS31Validator({**content["schema"], "components": components}).iter_errors(content["example"])

            assert [each.message for each in errors] == [], (method, path)
