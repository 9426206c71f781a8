"""Streams of users who are logged in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed

from span_events.auth.users import Users
from span_events.ids import render
from tests.bench.servers import Running, activity, names, running

ALICE, PASSWORD = "alice@example.com", "correct horse battery"


@pytest.fixture
async def site(tmp_path: Path, quick_passwords: None) -> AsyncIterator[Running]:
    """A server whose logins are short."""
    async with running(tmp_path, logins={"lifetime": 10}) as opened:
        yield opened


Ending = Callable[[Running, Users, str], Awaitable[object]]


async def expire(site: Running, _users: Users, _text: str) -> None:
    """Let the login end by itself."""
    await site.clock.advance(site.server.config.logins.lifetime)


ENDINGS: dict[str, Ending] = {
    "logout": lambda site, _users, text: site.server.logins.log_out(text),
    "password": lambda _site, users, _text: users.change_password(ALICE, "another good password"),
    "deletion": lambda _site, users, _text: users.delete(ALICE),
    "expiry": expire,
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("first", [False, True], ids=["header", "first message"])
async def test_the_end_of_a_login_ends_its_streams(site: Running, ending: str, first: bool) -> None:
    """1008 within a second; the streams of others go on."""
    collection = await site.collection()
    users = Users(site.server.tokens._store.accounts, site.server.node.identifiers, site.clock)
    await users.add(ALICE, PASSWORD, resource=f"/collections/{render(collection.id)}", write=True)
    text = await site.server.logins.log_in(ALICE, PASSWORD, host="127.0.0.1")
    assert text is not None
    headers = {} if first else {"Authorization": f"TOKEN {text}"}
    async with (
        site.stream(activity(collection), token="", headers=headers) as mine,
        site.stream(activity(collection)) as other,
    ):
        if first:
            await mine.send(json.dumps({"jwt": text, "collectionId": render(collection.id)}) + "\n")
        await site.joined(2)
        await site.device(collection)
        seen = await names(mine, 1)
        await ENDINGS[ending](site, users, text)
        await site.ended(mine)

        reason = "the token has expired" if ending == "expiry" else "the token was revoked"
        assert seen == await names(other, 1) == ["deviceCreated"]
        assert (mine.close_code, mine.close_reason) == (1008, reason)
        assert site.server.hub.subscribers == 1


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_end_of_a_login_ends_its_replies(site: Running, ending: str) -> None:
    """Server-Sent Events say why; lines of JSON end."""
    users = Users(site.server.tokens._store.accounts, site.server.node.identifiers, site.clock)
    await users.add(ALICE, PASSWORD, resource="/", write=False)
    text = await site.server.logins.log_in(ALICE, PASSWORD, host="127.0.0.1")
    headers = {"Authorization": f"Bearer {text}"}
    async with (
        aiohttp.ClientSession(f"http://{site.http}", headers=headers) as session,
        session.get("/span/activity") as lines,
        session.get("/span/activity", headers={"Accept": "text/event-stream"}) as sse,
    ):
        await site.joined(2)
        await ENDINGS[ending](site, users, str(text))
        bodies = asyncio.gather(lines.read(), sse.read())
        while not bodies.done():
            await site.clock.advance(0.5)
            await asyncio.wait([bodies], timeout=0.1)
        plain, told = await bodies

    reason = "the token has expired" if ending == "expiry" else "the token was revoked"
    assert plain == b""
    assert told.endswith(f'event: end\ndata: {{"reason":"{reason}"}}\n\n'.encode())


async def test_a_jwt_of_another_server_is_closed_with_1008(site: Running) -> None:
    collection = await site.collection()
    async with site.stream(activity(collection), token="") as stream:
        await stream.send('{"jwt": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA"}\n')
        with pytest.raises(ConnectionClosed):
            await stream.recv()

        assert stream.close_code == 1008
        assert "The login is not known" in str(stream.close_reason)
