"""Login and logout, as Span's clients ask for them."""

from __future__ import annotations

import pytest

from span_events.auth.users import Users
from tests.web.conftest import Reply, WebBench

ALICE, PASSWORD = "alice@example.com", "correct horse battery"


@pytest.fixture(autouse=True)
async def _user(api: WebBench, quick_passwords: None) -> None:
    users = Users(api.fleet.store.accounts, api.fleet.identifiers, api.fleet.clock)
    await users.add(ALICE, PASSWORD, resource="/", write=False)


async def log_in(api: WebBench, password: str = PASSWORD) -> Reply:
    """Log in as Span's command line does."""
    body = {"email": ALICE, "password": password, "passcode": ""}
    return await api.call("POST", "/dejavu/v1/login", token=None, json=body)


@pytest.mark.parametrize("scheme", ["TOKEN", "Bearer", "token"])
async def test_a_login_gives_credentials_for_the_header_authorization(api: WebBench, scheme: str) -> None:
    reply = await log_in(api)
    headers = {"Authorization": f"{scheme} {reply.body['credentials']}"}
    listed = await api.call("GET", "/span/collections", token=None, headers=headers)
    made = await api.call("POST", "/span/collections", token=None, headers=headers, json={})

    assert (reply.status, reply.body["result"]) == (200, "RESULT_SUCCESS")
    assert listed.status == 200
    assert made.problem == (403, "The token may only read, and this changes /collections")


async def test_a_wrong_password_is_a_result(api: WebBench) -> None:
    reply = await log_in(api, "wrong")

    assert (reply.status, reply.body) == (200, {"result": "RESULT_INVALID", "credentials": ""})


async def test_a_logout_ends_the_login(api: WebBench) -> None:
    headers = {"Authorization": f"TOKEN {(await log_in(api)).body['credentials']}"}
    first = await api.call("POST", "/dejavu/v1/logout", token=None, headers=headers, json={})
    second = await api.call("POST", "/dejavu/v1/logout", token=None, headers=headers, json={})
    after = await api.call("GET", "/span/collections", token=None, headers=headers)

    assert (first.status, first.body) == (200, {})
    told = (401, "The login is not known: it expired, was ended, or belongs to another server")
    assert [second.problem, after.problem] == [told, told]


async def test_a_token_cannot_be_logged_out(api: WebBench) -> None:
    reply = await api.call("POST", "/dejavu/v1/logout", json={})

    assert reply.problem == (400, "The token is no login, so nothing can be logged out")
    assert (await api.call("GET", "/span/collections")).status == 200


async def test_too_many_failures_are_told_with_a_time(api: WebBench) -> None:
    for _ in range(10):
        await log_in(api, "wrong")
    reply = await log_in(api)

    assert reply.problem == (429, "Too many logins from this address failed")
    assert reply.headers["retry-after"] == "60"


@pytest.mark.parametrize("password", [12345678901234, ["secret"], "secret" * 1000])
async def test_a_refusal_shows_no_password(api: WebBench, password: object) -> None:
    reply = await api.call("POST", "/dejavu/v1/login", token=None, json={"email": ALICE, "password": password})

    assert reply.status == 400
    assert "secret" not in str(reply.body)
    assert "1234" not in str(reply.body)
