"""Refusals of ``/api/v3/events``: code, status and body of each, in the order in which the original checks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from span_events.errors import StorageUnavailable
from tests.dialects.things_stack.schemas import ERROR_DETAILS, STATUS, check
from tests.web.conftest import WebBench, web_bench
from tests.web.things_stack.client import Raw, application, body_of, device, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = "17dj5j4ce8bkci"
NUMBER = re.compile("[0-9a-f]{32}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebBench]:
    """One API for all tests: a refusal changes nothing."""
    async with web_bench(tmp_path_factory.mktemp("api")) as bench:
        yield bench


def counted(api: WebBench) -> Counter[str]:
    """Return the refusals so far, by reason."""
    (metric,) = api.events.metrics()
    found = metric.value()
    assert isinstance(found, Mapping)
    return Counter({reason: int(count) for reason, count in found.items()})


async def refused(api: WebBench, body: bytes, **options: Any) -> tuple[int, dict[str, Any]]:
    """Return status and error of a refused stream, having checked its form."""
    async with Raw(api, body, **options) as stream:
        octets = await stream.rest()
    assert stream.head["content-type"] == "text/event-stream"
    assert octets.startswith(b'{"error":{"code":')
    assert octets.endswith(b"}\n\n")
    error = json.loads(octets)["error"]
    check(error, STATUS)
    (details,) = error["details"]
    check(details, ERROR_DETAILS)
    assert details["code"] == error["code"]
    assert NUMBER.fullmatch(details["correlation_id"])
    return stream.status, error


# ---- bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b'{"identifiers":[]}', b'{"identifiers":null}'])
async def test_a_request_without_identifiers_is_refused(api: WebBench, body: bytes) -> None:
    """Octet by octet the body that the original sends, but for the number of the request."""
    async with Raw(api, body) as stream:
        octets = await stream.rest()

    assert stream.status == 400
    assert re.sub(b"[0-9a-f]{32}", b"<number>", octets) == (
        b'{"error":{"code":3,"message":"error:pkg/events/grpc:no_identifiers (no identifiers)",'
        b'"details":[{"@type":"type.googleapis.com/ttn.lorawan.v3.ErrorDetails","namespace":"pkg/events/grpc",'
        b'"name":"no_identifiers","message_format":"no identifiers","correlation_id":"<number>","code":3}]}}\n\n'
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"identifiers"', "unexpected EOF"),
        (b"no", None),
        (b"[]", "StreamEventsRequest: expect an object"),
        (b'{"identifiers":1}', "identifiers: expect [ or null"),
        (b'{"identifiers":["a"]}', "identifiers: expect an object"),
        (b'{"identifiers":[{"gateway_ids":"a"}]}', "gateway_ids: expect an object"),
        (b'{"identifiers":[{"gateway_ids":{"gateway_id":1}}]}', "gateway_id: expect a string"),
        (b'{"identifiers":[{"gateway_ids":{"eui":"x"}}]}', "eui: expect 16 hexadecimal digits"),
        (b'{"identifiers":[{"gateway_ids":{},"user_ids":{}}]}', "identifiers: only one of gateway_ids and user_ids"),
        (b'{"names":"gs.up"}', "names: expect [ or null"),
        (b'{"names":[1]}', "names: expect a string"),
        (b'{"tail":-1}', "tail: expect an unsigned 32-bit number"),
        (b'{"tail":true}', "tail: expect an unsigned 32-bit number"),
        (b'{"tail":4294967296}', "tail: expect an unsigned 32-bit number"),
        (b'{"after":"yesterday"}', "after: expect an RFC 3339 time"),
        (b'{"after":"2024-01-01T00:00:00"}', "after: expect an RFC 3339 time"),
        (b'{"after":1}', "after: expect a string"),
        (b"[" * 5000, None),
        (
            b'{"x":"' + b"x" * 300_000 + b'"}',
            "http: request body too large: things_stack.max_request allows 262144 octets",
        ),
    ],
)
async def test_a_body_that_cannot_be_decoded_gets_a_bare_status(
    api: WebBench, body: bytes, message: str | None
) -> None:
    """Without details and without a wrapping, as the original's gateway writes it."""
    async with Raw(api, body) as stream:
        octets = await stream.rest()
    found = json.loads(octets)

    assert stream.status == 400
    assert octets.startswith(b'{"code":3, "message":"')
    assert set(found) == {"code", "message"}
    assert message in (None, found["message"])


@pytest.mark.parametrize(
    ("identifiers", "path", "reason"),
    [
        ({}, ["ids"], "value is required"),
        (
            {"application_ids": {"application_id": "A"}},
            ["application_ids", "application_id"],
            'value does not match regex pattern "^[a-z0-9](?:[-]?[a-z0-9]){2,}$"',
        ),
        (
            {"application_ids": {"application_id": "a" * 37}},
            ["application_ids", "application_id"],
            "value length must be at most 36 runes",
        ),
        ({"user_ids": {"user_id": "a"}}, ["user_ids", "user_id"], None),
        ({"gateway_ids": {}}, ["gateway_ids", "gateway_id"], None),
        ({"device_ids": {"device_id": "dev1"}}, ["device_ids", "application_ids"], "value is required"),
        (
            {"device_ids": {"device_id": "dev1", "application_ids": {"application_id": "a--b"}}},
            ["device_ids", "application_ids", "application_id"],
            None,
        ),
    ],
)
async def test_a_wrong_identifier_is_named_level_by_level(
    api: WebBench, identifiers: dict[str, Any], path: list[str], reason: str | None
) -> None:
    good = {"application_ids": {"application_id": "app1"}}
    status, error = await refused(api, body_of(good, identifiers))
    level = error["details"][0]
    fields = []
    while True:
        assert (level["namespace"], level["name"]) == ("pkg/errors", "validation")
        fields.append(level["attributes"]["field"])
        if "cause" not in level:
            break
        level = level["cause"]
        assert "@type" not in level

    assert status == 400
    assert error["message"] == (
        "error:pkg/errors:validation (invalid `identifiers[1]`: embedded message failed validation)"
    )
    assert fields == ["identifiers[1]", *path]
    assert reason in (None, level["attributes"]["reason"])


@pytest.mark.parametrize("field", ["identifiers", "names"])
async def test_the_number_of_elements_is_bounded(api: WebBench, field: str) -> None:
    body = body_of(*[application("app1")] * (1001 if field == "identifiers" else 1), names=["/./"] * 257)
    status, error = await refused(api, body)

    assert (status, error["details"][0]["attributes"]["field"]) == (400, field)


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gs.up", "error:pkg/events:unknown_event_name (unknown event `gs.up`)"),
        ("/nothing/", "error:pkg/events:no_matching_events (no matching events for regexp `nothing`)"),
        ("/(/", "error:pkg/events:invalid_regexp (invalid regexp)"),
    ],
)
async def test_a_wrong_name_is_reported_before_rights_are_looked_at(api: WebBench, name: str, message: str) -> None:
    text = await api.token(f"/collections/{await api.collection()}")
    status, error = await refused(api, body_of(application(NOBODY), names=[name]), token=text)

    assert (status, error["code"], error["message"]) == (400, 3, message)


@pytest.mark.parametrize(
    ("expression", "reason"), [("(", "missing )"), ("a" * 257, "over 256 characters"), (r"\pN{200}", "too large")]
)
async def test_an_expression_that_is_refused_has_the_reason_among_its_attributes(
    api: WebBench, expression: str, reason: str
) -> None:
    """The original's message does not say why; here an expression may be right, but too large."""
    _, error = await refused(api, body_of(application(NOBODY), names=[f"/{expression}/"]))

    assert error["message"] == "error:pkg/events:invalid_regexp (invalid regexp)"
    assert reason in error["details"][0]["attributes"]["reason"]


# ---- tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "status", "message"),
    [
        (None, 401, "error:pkg/auth/rights:unauthenticated (unauthenticated)"),
        ("Basic YTpi", 401, "error:pkg/identityserver:unsupported_authorization (unsupported authorization method)"),
        ("Bearer", 400, "error:pkg/auth:token (invalid token)"),
        ("Bearer abc", 400, "error:pkg/auth:token (invalid token)"),
        ("Bearer XXXXX.AAAA.BBBB", 400, "error:pkg/auth:token (invalid token)"),
        ("Bearer NNSXS.BR55PTYILPPVXY..", 401, "error:pkg/identityserver:api_key_not_found (API key not found)"),
        (f"Bearer {'0' * 64}", 401, "error:pkg/identityserver:api_key_not_found (API key not found)"),
    ],
)
async def test_a_call_without_a_good_token_is_refused_before_its_body(
    api: WebBench, authorization: str | None, status: int, message: str
) -> None:
    """401 without one, where the original answers 403 or even looks at the body first."""
    headers = {"Authorization": authorization} if authorization else {}
    found, error = await refused(api, b"no json", headers=headers, token=None)

    assert (found, error["code"], error["message"]) == (status, 3 if status == 400 else 16, message)


async def test_an_expired_token_is_told_from_an_unknown_one(api: WebBench) -> None:
    _, text = await api.tokens.create(resource="/", write=False, lifetime=1.0)
    await api.fleet.clock.advance(1.0)
    status, error = await refused(api, body_of(application(NOBODY)), token=text)

    assert (status, error["message"]) == (401, "error:pkg/identityserver:api_key_expired (API key expired)")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_of_a_token_has_no_case(api: WebBench, scheme: str) -> None:
    collection = await api.collection()
    async with Raw(
        api, body_of(application(collection)), {"Authorization": f"{scheme} {api.admin}"}, token=None
    ) as stream:
        assert stream.status == 200


async def test_a_registry_that_cannot_be_asked_is_unavailable(api: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_text: str) -> None:
        raise StorageUnavailable("the disk is on fire")

    monkeypatch.setattr(api.tokens, "find", fail)
    status, error = await refused(api, body_of(application(NOBODY)))

    assert (status, error["code"]) == (503, 14)
    assert "fire" not in error["message"]


# ---- rights ----------------------------------------------------------------------------------


async def test_every_entity_needs_a_right(api: WebBench) -> None:
    """403 names the first one without; an entity that does not exist looks the same."""
    mine, foreign = await api.collection(), await api.collection()
    tracker = await api.device(mine)
    station = await api.gateway(foreign)
    text = await api.token(f"/collections/{mine}")
    for identifiers, kind, named in [
        ((application(mine), application(foreign)), "application", foreign),
        ((application(NOBODY),), "application", NOBODY),
        ((device(foreign, tracker),), "application", foreign),
        ((application(mine), gateway(station)), "gateway", station),
        ((gateway(NOBODY),), "gateway", NOBODY),
        ((gateway("my-gateway"),), "gateway", "my-gateway"),
        (({"user_ids": {"user_id": "admin"}},), "user", "admin"),
    ]:
        status, error = await refused(api, body_of(*identifiers), token=text)

        assert (status, error["code"]) == (403, 7)
        assert error["message"] == f"error:pkg/auth/rights:no_{kind}_rights (no rights for {kind} `{named}`)"


async def test_a_token_of_one_device_or_gateway_reaches_that_only(api: WebBench) -> None:
    collection = await api.collection()
    one, two, station = await api.device(collection), await api.device(collection), await api.gateway(collection)
    for resource, allowed, denied in [
        (f"/collections/{collection}/devices/{one}", device(collection, one), device(collection, two)),
        (f"/collections/{collection}/devices/{one}", device(collection, one), application(collection)),
        (f"/collections/{collection}/devices/{one}", device(collection, one), device(collection, "my-tracker")),
        (f"/collections/{collection}/gateways/{station}", gateway(station), device(collection, one)),
    ]:
        text = await api.token(resource)
        async with Raw(api, body_of(allowed), token=text) as stream:
            assert stream.status == 200
        assert (await refused(api, body_of(denied), token=text))[0] == 403


@pytest.mark.parametrize(
    ("identifiers", "message"),
    [
        (
            application("app9"),
            "error:pkg/identityserver/store:application_not_found (application with id `app9` not found)",
        ),
        (gateway("gtw9"), "error:pkg/identityserver/store:gateway_not_found (gateway with id `gtw9` not found)"),
        (
            {"organization_ids": {"organization_id": "org9"}},
            "error:pkg/identityserver/store:organization_not_found (organization with id `org9` not found)",
        ),
    ],
)
async def test_a_token_for_everything_learns_that_an_entity_does_not_exist(
    api: WebBench, identifiers: dict[str, Any], message: str
) -> None:
    status, error = await refused(api, body_of(identifiers))

    assert (status, error["code"], error["message"]) == (404, 5, message)


async def test_refusals_are_counted_by_reason(api: WebBench) -> None:
    before = counted(api)
    for _ in range(2):
        await refused(api, b"")
    await refused(api, body_of(application("app9")))
    async with Raw(api, b"no json"):
        pass

    assert counted(api) - before == {"no_identifiers": 2, "application_not_found": 1, "undecodable": 1}


# ---- paths and methods -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/api/v3/events", 501, b'{"code":12, "message":"Method Not Allowed"}'),
        ("DELETE", "/api/v3/events", 501, b'{"code":12, "message":"Method Not Allowed"}'),
        ("POST", "/api/v3/events/related", 501, b'{"code":12, "message":"Method Not Allowed"}'),
        ("POST", "/api/v3/events/", 404, b'{"code":5, "message":"Not Found"}'),
        ("GET", "/api/v3/applications", 404, b'{"code":5, "message":"Not Found"}'),
        ("GET", "/api/v3/", 404, b'{"code":5, "message":"Not Found"}'),
        ("GET", "/api/v3/console/internal/events", 404, b'{"code":5, "message":"Not Found"}'),
    ],
)
@pytest.mark.parametrize("token", ["", None])
async def test_other_methods_and_paths_get_a_bare_status(
    api: WebBench, method: str, path: str, status: int, body: bytes, token: str | None
) -> None:
    async with Raw(api, method=method, path=path, token=token) as stream:
        found = await stream.rest()

    assert (stream.status, found) == (status, body)


# ---- pages -----------------------------------------------------------------------------------


async def test_a_page_of_any_origin_may_call(api: WebBench) -> None:
    """The token is its only credential: there are no cookies that a foreign page could ride on."""
    async with Raw(api, b"", {"Origin": "https://example.com"}) as stream:
        await stream.rest()

    assert stream.head["access-control-allow-origin"] == "*"
    assert "X-Warning" in stream.head["access-control-expose-headers"].split(", ")
    assert "access-control-allow-credentials" not in stream.head


async def test_a_preflight_allows_the_known_headers(api: WebBench) -> None:
    headers = {
        "Origin": "https://example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-evil",
    }
    async with Raw(api, b"", headers, method="OPTIONS", token=None) as stream:
        pass

    assert stream.status == 200
    assert stream.head["access-control-allow-origin"] == "*"
    assert stream.head["access-control-allow-headers"] == "authorization, content-type"
    assert stream.head["access-control-allow-methods"] == "POST"
    assert stream.head["access-control-max-age"] == "600"
