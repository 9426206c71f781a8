"""Access control: permitted operations, and the messages of refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from multidict import CIMultiDict

from span_events.auth import access
from span_events.auth.access import Credentials
from span_events.auth.tokens import Tokens
from span_events.errors import RequestError, Unauthenticated
from span_events.events.filters import EVERYTHING, Scope
from span_events.ids import IdGenerator, parse
from span_events.registry.model import Token
from span_events.registry.store import Store
from tests.bench.clock import ManualClock
from tests.registry.empty import make_registry

COLLECTION = "/collections/17"
DEVICE = "/collections/17/devices/2a"
GATEWAY = "/collections/17/gateways/2a"


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[Tokens]:
    """No tokens yet."""
    store = Store(await make_registry(tmp_path))
    await store.open()
    yield Tokens(store, IdGenerator(), ManualClock())
    await store.close()


def token(resource: str, *, write: bool = False) -> Token:
    return Token(1, "", resource, write, "", 0)


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ({"X-API-Token": "abc"}, {}, Credentials("abc", in_query=False)),
        ({"x-api-token": " abc "}, {"api_token": "q"}, Credentials("abc", in_query=False)),
        ({"Authorization": "TOKEN abc"}, {}, Credentials("abc", in_query=False)),
        ({"authorization": "bearer  abc"}, {}, Credentials("abc", in_query=False)),
        ({"X-API-Token": "", "Authorization": "Bearer abc"}, {}, Credentials("abc", in_query=False)),
        ({}, {"api_token": "abc"}, Credentials("abc", in_query=True)),
        ({"X-API-Token": ""}, {"api_token": "abc"}, Credentials("abc", in_query=True)),
        ({"Authorization": "Basic abc"}, {"api_token": "abc"}, Credentials("abc", in_query=True)),
    ],
)
def test_credentials_are_found_wherever_clients_put_them(
    headers: dict[str, str], query: dict[str, str], found: Credentials
) -> None:
    """Headers go first; an empty one does not hide the others."""
    assert access.credentials(CIMultiDict(headers), query) == found


@pytest.mark.parametrize(
    ("headers", "query", "sentence"),
    [
        ({}, {}, "There is no token in the request"),
        ({"X-API-Token": ""}, {}, "There is no token in the request: the header X-API-Token is empty"),
        ({"Authorization": "Bearer"}, {}, "There is no token in the request: the header Authorization is empty"),
        ({}, {"api_token": " "}, "There is no token in the request: api_token in the query is empty"),
        (
            {"Authorization": "Basic dXNlcg=="},
            {},
            "Authorization has the scheme 'Basic'; Bearer and Token are understood",
        ),
    ],
)
def test_kinds_of_missing_credentials_have_different_messages(
    headers: dict[str, str], query: dict[str, str], sentence: str
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        access.credentials(CIMultiDict(headers), query)

    assert caught.value.detail == sentence
    assert "X-API-Token" in caught.value.hint


def test_credentials_keep_their_text_out_of_logs() -> None:
    assert "secret" not in repr(Credentials("secret", in_query=True))


async def refusal(tokens: Tokens, text: str, *, in_query: bool = False, write: bool = False) -> tuple[int, str]:
    """Return status and sentence of a refusal for collection 17."""
    with pytest.raises(RequestError) as caught:
        await access.authorize(tokens, Credentials(text, in_query=in_query), resource=COLLECTION, write=write)
    return caught.value.status, caught.value.detail


async def test_each_refusal_has_its_own_sentence(tokens: Tokens) -> None:
    """F40: unknown, without access, read-only, and a write token in the query."""
    _, elsewhere = await tokens.create(resource="/collections/18", write=True)
    _, reader = await tokens.create(resource="/", write=False)
    _, writer = await tokens.create(resource="/", write=True)
    told = [
        await refusal(tokens, "0" * 64),
        await refusal(tokens, elsewhere),
        await refusal(tokens, reader, write=True),
        await refusal(tokens, writer, in_query=True),
    ]

    assert told == [
        (401, "The token is not known: it was deleted, was copied incompletely, or belongs to another server"),
        (403, "The token does not reach /collections/17; it reaches /collections/18"),
        (403, "The token may only read, and this changes /collections/17"),
        (
            403,
            "A token with write access is not accepted in the query, because URLs end up in logs and histories",
        ),
    ]


async def test_a_caller_may_ask_before_it_knows_the_resource(tokens: Tokens) -> None:
    """Authentication only; the reach of the token is a separate check."""
    reader, text = await tokens.create(resource=COLLECTION, write=False)

    assert await access.authenticate(tokens, Credentials(text, in_query=True)) == reader


@pytest.mark.parametrize(
    ("reach", "resource", "reached"),
    [
        ("/", "/collections", True),
        ("/", DEVICE, True),
        (COLLECTION, "/collections", False),
        (COLLECTION, COLLECTION, True),
        (COLLECTION, DEVICE, True),
        (COLLECTION, "/collections/170", False),
        (DEVICE, COLLECTION, False),
        (DEVICE, DEVICE, True),
        (DEVICE, GATEWAY, False),
        ("/collections/17/devices/2", DEVICE, False),
    ],
)
def test_a_token_reaches_its_resource_and_the_resources_below(reach: str, resource: str, reached: bool) -> None:
    """Segment by segment, never in the middle of an id."""
    assert access.reaches(token(reach), resource) == reached


def test_resources_are_written_with_canonical_ids() -> None:
    collection, part = parse("17"), parse("2a")

    assert access.resource_of() == "/collections"
    assert access.resource_of(collection) == COLLECTION
    assert access.resource_of(collection, device_id=part) == DEVICE
    assert access.resource_of(collection, gateway_id=part) == GATEWAY


def test_the_scope_of_streams_follows_the_token() -> None:
    collection, part = parse("17"), parse("2a")

    assert access.scope_of(token("/")) == EVERYTHING
    assert access.scope_of(token(COLLECTION)) == Scope(collection)
    assert access.scope_of(token(DEVICE)) == Scope(collection, device_id=part)
    assert access.scope_of(token(GATEWAY)) == Scope(collection, gateway_id=part)
