"""NATS as operators secure and multiply it: TLS, logins of each kind, a cluster that loses a server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]
import pytest
from nats.aio.client import Client

from span_events.bus.archive import ELECTED, STREAM
from span_events.bus.link import settle
from span_events.events.filters import PASS_ALL, Scope
from tests.bench.certificates import Holder
from tests.bench.peers.nats import NatsServer, jetstream, nats_server
from tests.bench.ports import free_port
from tests.bench.waiting import until
from tests.bus.nodes import COLLECTION, Node, Shifted, node, numbered


async def passes(here: Node, there: Node, number: int) -> None:
    """Let one node publish until the other has it, from the archive of NATS."""
    here.bus.publish(numbered(number))
    await until(lambda: number in there.values)


def values(at: Node) -> list[int]:
    """The numbers in the history of a node."""
    found = at.history.after(Scope(COLLECTION), PASS_ALL, 0).activities
    return [each.event.handshake_ms for each in found]  # type: ignore[attr-defined]  # of `numbered`


# ---- TLS and logins ---------------------------------------------------------------------------


async def test_nodes_speak_tls_and_refuse_a_server_that_the_authority_does_not_know(tmp_path: Path) -> None:
    root, other = Holder.root(), Holder.root("other")
    server = root.leaf("localhost", server=True)
    for name, octets in {"key": server.key_pem, "cert": server.chain_pem, "root": root.pem, "other": other.pem}.items():
        (tmp_path / name).write_bytes(octets)
    tls = f'tls: {{cert_file: "{tmp_path}/cert", key_file: "{tmp_path}/key"}}'
    async with nats_server(tmp_path, jetstream(tmp_path), tls) as nats:
        url, known = f"tls://localhost:{nats.port}", str(tmp_path / "root")
        async with node(url, 1, ca_file=known) as here, node(url, 2, ca_file=known) as there:
            await there.follow(COLLECTION)
            await passes(here, there, 1)
            health = here.bus.health()
        async with node(url, 3, ca_file=str(tmp_path / "other")) as stranger:
            complaint = stranger.bus.health()

    assert health == "ok"
    assert "certificate verify failed" in complaint


@pytest.mark.parametrize("kind", ["password", "nkey", "creds"])
async def test_a_login_of_each_kind_is_taken_from_its_file(tmp_path: Path, kind: str) -> None:
    """With the permissions of the guide and no others; a node without a login is refused."""
    setting, secret = LOGINS[kind]()
    (tmp_path / "secret").write_text(secret)
    async with nats_server(tmp_path, jetstream(tmp_path), setting) as nats:
        login = str(tmp_path / "secret")
        async with (
            node(nats.url, 1, credentials_file=login) as here,
            node(nats.url, 2, credentials_file=login) as there,
            node(nats.url) as stranger,
        ):
            await there.follow(COLLECTION)
            await passes(here, there, 1)
            await until(lambda: "uthorization" in stranger.bus.health())

            assert here.bus.health() == there.bus.health() == "ok"


PERMISSIONS = {
    "publish": ["span.>", "_INBOX.>", "$JS.API.>", "$JS.FC.>"],
    "subscribe": ["span.>", "_INBOX.>", "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.>"],
}
"""Those that the guide names."""


def password() -> tuple[str, str]:
    """A user with a password."""
    users = [{"user": "me", "password": "right:on", "permissions": PERMISSIONS}]
    return f"authorization: {json.dumps({'users': users})}", "me:right:on\n"


def nkey() -> tuple[str, str]:
    """A user with an nkey: the server has the public half, the file the seed."""
    seed, public = key_pair(nkeys.PREFIX_BYTE_USER)
    users = [{"nkey": public, "permissions": PERMISSIONS}]
    return f"authorization: {json.dumps({'users': users})}", f"{seed}\n"


def creds() -> tuple[str, str]:
    """A user whom an operator's account admits, as `nsc` makes it: the server trusts the operator."""
    operator, account, system, user = (
        key_pair(prefix)
        for prefix in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
        )
    )
    unlimited = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    memory = unlimited | dict.fromkeys(("mem_storage", "streams", "consumer"), -1)
    permissions = {"pub": {"allow": PERMISSIONS["publish"]}, "sub": {"allow": PERMISSIONS["subscribe"]}}
    accounts = {
        account[1]: token(operator, account[1], {"type": "account", "limits": memory}),
        system[1]: token(operator, system[1], {"type": "account", "limits": unlimited}),
    }
    setting = {
        "operator": token(operator, operator[1], {"type": "operator", "system_account": system[1]}),
        "system_account": system[1],
        "resolver": "MEMORY",
        "resolver_preload": accounts,
    }
    admitted = token(account, user[1], {"type": "user", "subs": -1, "data": -1, "payload": -1, **permissions})
    lines = "\n".join(f"{name}: {json.dumps(value)}" for name, value in setting.items())
    return lines, (
        f"-----BEGIN NATS USER JWT-----\n{admitted}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user[0]}\n------END USER NKEY SEED------\n"
    )


LOGINS = {"password": password, "nkey": nkey, "creds": creds}


def key_pair(prefix: int) -> tuple[str, str]:
    """Make a key; return its seed and its public half."""
    seed = nkeys.encode_seed(os.urandom(32), prefix)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


def token(signer: tuple[str, str], subject: str, claims: dict[str, Any]) -> str:
    """Sign a token as `nsc` does (JWT, ed25519-nkey)."""

    def part(value: object) -> str:
        octets = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

    issued = {"iss": signer[1], "sub": subject, "name": claims["type"], "iat": int(time.time())}
    issued["jti"] = base64.b32encode(hashlib.sha256(subject.encode()).digest()).decode().rstrip("=")
    text = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(issued | {'nats': claims | {'version': 2}})}"
    return f"{text}.{part(nkeys.from_seed(bytearray(signer[0].encode())).sign(text.encode()))}"


# ---- a cluster --------------------------------------------------------------------------------


@asynccontextmanager
async def three_servers(folder: Path) -> AsyncIterator[list[NatsServer]]:
    """Run a cluster whose JetStream has a leader."""
    routes = [free_port() for _ in range(3)]
    async with AsyncExitStack() as stack:
        servers = []
        for number, port in enumerate(routes):
            own = folder / str(number)
            own.mkdir()
            peers = ", ".join(f'"nats://127.0.0.1:{each}"' for each in routes)
            cluster = f'cluster: {{name: c, listen: "127.0.0.1:{port}", routes: [{peers}]}}'
            server = NatsServer(own, f"server_name: n{number}", jetstream(own), cluster)
            stack.push_async_callback(server.kill)
            await server.start()
            servers.append(server)
        while not await is_whole(servers):
            pass
        yield servers


async def is_whole(servers: list[NatsServer]) -> bool:
    """Whether JetStream has a leader, and the leader both other servers."""
    pages = [(await each.ask("jsz")).get("meta_cluster", {}) for each in servers]
    return any(len([each for each in page.get("replicas") or [] if each["current"]]) == 2 for page in pages)


async def idle_one_of(servers: list[NatsServer]) -> NatsServer:
    """Return the server that leads neither JetStream nor its stream of events: without it, no election is due."""
    page = await servers[0].ask("jsz?streams=1")
    details = [each for account in page["account_details"] for each in account["stream_detail"]]
    leaders = {each["cluster"]["leader"] for each in details if each["name"] == STREAM} | {
        page["meta_cluster"]["leader"]
    }
    return next(each for number, each in enumerate(servers) if f"n{number}" not in leaders)


def heals(which: Node) -> bool:
    """Sweep a node once; return whether it has NATS and the archive."""
    which.bus.sweep(which.bus._clock.monotonic())
    return which.is_connected and which.bus.health() == "ok"


def is_elsewhere(which: Node, server: NatsServer) -> bool:
    """Whether a node is connected to another server."""
    client = which.bus._link.client  # type: ignore[attr-defined]
    return client is None or client.connected_url.port != server.port


async def test_a_cluster_that_loses_a_server_keeps_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With three copies of it: the node of that server goes on with another, and one that comes later has the past."""
    monkeypatch.setattr("span_events.bus.nats._LOOK", 0.0)
    async with three_servers(tmp_path) as servers, AsyncExitStack() as stack:
        clock, url = Shifted(), ",".join(each.url for each in servers)
        there = await stack.enter_async_context(node(url, 1, clock, history_copies=3))
        await until(lambda: heals(there))
        victim = await idle_one_of(servers)
        here = await stack.enter_async_context(node(url, 2, history_copies=3))
        while is_elsewhere(here, victim):  # nodes choose their servers by chance
            here = await stack.enter_async_context(node(url, 2, history_copies=3))
        await there.follow(COLLECTION)
        await passes(here, there, 1)
        await victim.kill()
        await until(lambda: not here.is_connected)
        await until(lambda: heals(here))
        for number in count(2):
            here.bus.publish(numbered(number))
            await asyncio.sleep(0.1)  # a node that publishes now and then
            if number in there.values:
                break
            clock.ahead += 1  # a consumer on that server fell silent, and is made again after some seconds
            heals(there)
        later = await stack.enter_async_context(node(url, 3, history_copies=3))
        await later.follow(COLLECTION)
        await until(lambda: heals(later) and 1 in values(later))


async def test_a_leader_that_was_elected_means_that_events_may_be_missing(tmp_path: Path) -> None:
    """Without a leader the cluster stores nothing, and no number in the stream shows that."""
    async with nats_server(tmp_path, jetstream(tmp_path)) as nats, node(nats.url) as there:
        await there.follow(COLLECTION)
        stranger = Client()
        await stranger.connect(nats.url)
        await stranger.publish(ELECTED, b"{}")
        await settle(stranger)
        await stranger.close()

        def tells() -> bool:
            there.bus.sweep(0.0)
            return there.gaps == 1

        await until(tells)
