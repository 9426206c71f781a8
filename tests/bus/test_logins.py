"""The login of a node at NATS: its file, and its permissions."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.bus.nats import NatsBus
from span_events.clock import SystemClock
from span_events.config import BusConfig, EventsConfig
from span_events.errors import ConfigurationError
from span_events.ids import IdGenerator, render
from tests.bench.peers.nats import nats_server
from tests.bench.waiting import until
from tests.bus.nodes import COLLECTION, break_off, node, numbered

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_login_comes_from_a_file(tmp_path: Path) -> None:
    """Without it, the health says what NATS says, and the log the setting."""
    secret = tmp_path / "secret"
    secret.write_text("me:right:on\n")
    async with (
        nats_server(tmp_path, 'authorization: {user: me, password: "right:on"}') as server,
        node(server.url, credentials_file=str(secret)) as known,
    ):
        with capture_logs() as lines:
            async with node(server.url) as stranger:
                assert known.is_connected
                # NATS resets some connections, so that nats-py cannot read why: the next attempt shows it
                await until(lambda: "Authorization Violation" in stranger.bus.health())

    (hint,) = [each["hint"] for each in lines if each["event"] == "bus_away"]
    assert "bus.credentials_file" in hint


async def test_a_login_that_lacks_permissions_is_told(tmp_path: Path) -> None:
    """In the log, once a minute for each kind of subject, and in the health while the connection lasts."""
    secret = tmp_path / "secret"
    secret.write_text("me:right")
    denied = '{publish: {deny: ["span.activity.>"]}, subscribe: {deny: ["span.messages.>"]}}'
    login = f"authorization: {{users: [{{user: me, password: right, permissions: {denied}}}]}}"
    with capture_logs() as lines:
        async with nats_server(tmp_path, login) as server, node(server.url, credentials_file=str(secret)) as here:
            await here.follow(COLLECTION, messages=True)
            for collection in range(3):
                here.bus.publish(numbered(1, collection))
            await until(lambda: here.metric("bus_refused") == 4)
            health = here.bus.health()
            here.unfollow(COLLECTION, messages=True)
            here.bus.sweep(time.monotonic() + 61)
            await break_off(here)
            await until(lambda: here.is_connected)

            assert here.metric("bus_refused") == 0
            assert "refuses" not in here.bus.health()

    assert health.startswith("degraded: NATS refuses this login (permissions violation for ")
    assert render(COLLECTION) not in health
    refused = [each for each in lines if each["event"] == "bus_refused"]
    assert sorted(each["why"] for each in refused) == [
        'permissions violation for publish to "span.activity.*.routine"',
        'permissions violation for subscription to "span.messages.*"',
    ]
    assert all("$JS.API.>" in each["hint"] for each in refused)


@pytest.mark.parametrize("setting", ["credentials_file", "ca_file"])
async def test_a_file_that_cannot_be_read_is_named(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"bus.{setting}: /no/such"):
        NatsBus(
            BusConfig.model_validate({"url": "nats://h", setting: "/no/such"}),
            EventsConfig(),
            SystemClock(),
            IdGenerator(),
            server="one",
            fill=lambda past: None,
        )
