"""The proxies of the guide, in front of a server: REST, streams, and the address of the client."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.bench.certificates import Holder
from tests.bench.live import LiveServer
from tests.bench.ports import free_port
from tests.bench.programs import PROGRAM, find_program
from tests.bench.waiting import PATIENCE

GUIDE: Final = (Path(__file__).parents[3] / "span_events/guides/proxies.md").read_text()


def example(language: str, tls: Path | None) -> str:
    """Return an example of the guide, with the certificate in a folder, or without TLS."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    if tls is not None:
        return str(text).replace("/etc/ssl/", f"{tls}/")
    lines = [line for line in str(text).splitlines() if "ssl_certificate" not in line]
    return re.sub(r" ssl( crt \S+)?", "", "\n".join(lines)) + "\n"


@asynccontextmanager
async def proxy(
    folder: Path, name: str, target: str, *, without: str = "", tls: Path | None = None
) -> AsyncIterator[str]:
    """
    Run a proxy with the example of the guide.

    Args:
        without: Begin of the lines to leave out.
        tls: Folder with span.pem and span.key; None for plain HTTP.
    """
    port = free_port()
    text = example(name, tls).replace("443", f"127.0.0.1:{port}", 1).replace("127.0.0.1:8080", target)
    text = text.replace(":127.0.0.1", "127.0.0.1")
    if without:
        text = "\n".join(line for line in text.splitlines() if not line.strip().startswith(without)) + "\n"
    config = folder / f"{name}.conf"
    if name == "nginx":
        paths = "".join(
            f"{each}_temp_path {folder}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} {text} }}"
        command = [find_program("nginx"), "-c", str(config), "-p", str(folder)]
    else:
        command = [find_program("haproxy"), "-db", "-f", str(config)]
    config.write_text(text)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                assert process.returncode is None, f"{name} does not start with {text}"
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
        yield f"127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_core_11_streams_pass_through_the_proxies_of_the_guide(tmp_path: Path, name: str) -> None:
    settings = {"http.proxies": '["127.0.0.1"]'}
    (tmp_path / "server").mkdir()
    with LiveServer(tmp_path / "server", settings) as server:
        async with proxy(tmp_path, name, server.addresses["http"]) as address:
            headers = {"X-API-Token": server.token, "X-Forwarded-For": "192.0.2.7"}
            async with connect(f"ws://{address}/span/activity", additional_headers=headers) as stream:
                collection = await server.add_collection()
                await server.add_device(collection)
                event = await stream.recv()
        assert "deviceCreated" in str(event)
        await server.logged("remote=192.0.2.7")


async def test_core_11_nginx_with_tls_and_buffering_passes_each_event_on_at_once(tmp_path: Path) -> None:
    """The next event is sent when the one before has come, in each form: nothing may wait for more."""
    (tmp_path / "server").mkdir()
    root = Holder.root()
    leaf = root.leaf("localhost", server=True)
    (tmp_path / "span.pem").write_bytes(leaf.chain_pem)
    (tmp_path / "span.key").write_bytes(leaf.key_pem)
    context = ssl.create_default_context(cadata=root.pem.decode())
    context.check_hostname = False
    assert "buffering" not in example("nginx", tmp_path)
    with LiveServer(tmp_path / "server") as server:
        headers = {"X-API-Token": server.token}
        collection = await server.add_collection()
        async with (
            proxy(tmp_path, "nginx", server.addresses["http"], tls=tmp_path) as address,
            aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(f"https://{address}/span/activity") as lines,
            session.get(f"https://{address}/span/activity", headers={"Accept": "text/event-stream"}) as sse,
            connect(f"wss://{address}/span/activity", additional_headers=headers, ssl=context) as socket,
            asyncio.timeout(PATIENCE),
        ):
            assert await sse.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
            for _ in range(3):
                made = (await server.add_device(collection)).id
                seen = [
                    await lines.content.readline(),
                    await sse.content.readuntil(b"\n\n"),
                    str(await socket.recv()).encode(),
                ]

                assert [made.encode() in each for each in seen] == [True] * 3


async def test_core_11_a_proxy_that_drops_upgrade_is_named_by_the_server_and_by_tail(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with LiveServer(tmp_path / "server") as server:
        async with proxy(tmp_path, "nginx", server.addresses["http"], without="proxy_set_header Upgrade") as address:
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{address}/span/activity", additional_headers={"X-API-Token": server.token})
            tail = await asyncio.create_subprocess_exec(
                *(PROGRAM, "--endpoint", f"http://{address}", "--token", server.token, "tail"),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, complaint = await tail.communicate()

    assert refused.value.response.status_code == 426
    assert b"proxy_set_header Upgrade" in refused.value.response.body
    assert b"span-events guide proxies" in complaint
    assert b"Use a WebSocket client" not in complaint
