"""``GET /asyncapi.json``: the streams, with a message for each event."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from openapi_schema_validator import OAS31Validator

from span_events.dialects.span import SpanDialect
from span_events.events.catalogue import CATALOGUE
from span_events.web.openapi.asyncapi import document
from span_events.web.openapi.subjects.streams import PATHS
from tests.bench.programs import run
from tests.dialects.things_stack.samples import activity, events
from tests.web.conftest import WebBench, web_bench
from tests.web.openapi.test_openapi import strict

PARSER: Final = Path(__file__).parents[3] / ".cache/asyncapi/node_modules/@asyncapi/parser"
PARSE: Final = """
const [parser, url] = process.argv.slice(1)
const { Parser } = require(parser)
fetch(url).then(reply => reply.text()).then(text => new Parser().parse(text)).then(({ document, diagnostics }) => {
    const wrong = diagnostics.filter(each => each.severity <= 1).map(each => `${each.path.join(".")}: ${each.message}`)
    const messages = document ? document.allMessages().all().map(each => each.id()) : []
    console.log(JSON.stringify({ wrong, messages }))
})
"""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document."""
    return document()


async def test_the_parser_of_asyncapi_accepts_the_document(api: WebBench) -> None:
    """And finds a message for each event."""
    if not PARSER.exists():
        pytest.fail("@asyncapi/parser is missing: run scripts/test", pytrace=False)
    found = await run("node", "-e", PARSE, str(PARSER), f"{api.url}/asyncapi.json")
    assert found.status == 0, found.printed
    parsed = json.loads(found.output)

    assert parsed["wrong"] == []
    assert CATALOGUE.keys() <= set(parsed["messages"])


async def test_channels_are_the_streams_of_the_application(api: WebBench, described: dict[str, Any]) -> None:
    served = {each.resource.canonical for each in api.app.router.routes() if each.resource}
    streams = {each for each in served if each.startswith("/span") and each.endswith(("/activity", "/from"))}

    assert {each["address"] for each in described["channels"].values()} == streams
    assert len(streams) == len(PATHS)


@pytest.mark.parametrize("extended", [False, True])
def test_each_event_obeys_the_schema_of_its_message(described: dict[str, Any], extended: bool) -> None:
    messages = strict(described["components"]["messages"])
    validators = {name: OAS31Validator(each["payload"]) for name, each in messages.items() if name in CATALOGUE}
    dialect = SpanDialect(extended=extended)
    for event in events():
        line = orjson.loads(dialect.encode(activity(event)))
        wrong = [f"{each.json_path}: {each.message}" for each in validators[event.name].iter_errors(line)]

        assert wrong == [], line
