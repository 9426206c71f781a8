"""The configurations for nginx and HAProxy: WebSocket, Server-Sent Events and, for nginx, UDP pass through them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from scripts.nodes import proxy
from span_events.config import FirmwareConfig
from tests.bench.ports import free_port
from tests.bench.programs import find_program
from tests.bench.servers import Running, running
from tests.bench.waiting import PATIENCE

ROOT: Final = Path(__file__).parents[2]
NGINX: Final = ROOT / "config" / "nginx"
HAPROXY: Final = (ROOT / "config" / "haproxy" / "haproxy.cfg").read_text()
GUIDE: Final = (ROOT / "span_events" / "guides" / "proxies.md").read_text()
MODULE: Final = "/usr/lib/nginx/modules/ngx_stream_module.so"


def without_tls(text: str) -> str:
    """Remove TLS from a configuration, whose certificate is not here."""
    return re.sub(r" ssl( crt \S+)?|^\s*ssl_certificate.*\n", "", text, flags=re.MULTILINE)


@asynccontextmanager
async def started(command: Sequence[str | Path], port: int) -> AsyncIterator[None]:
    """Run a proxy, from the moment when it accepts connections."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    if process.returncode is not None:
                        pytest.fail((await process.communicate())[1].decode())
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def nginx(folder: Path, server: Running, port: int, udp: int) -> list[str | Path]:
    """Return the command of nginx with both files, which it includes as a reader would."""
    http = without_tls((NGINX / "span-events.conf").read_text())
    stream = (NGINX / "span-events-udp.conf").read_text()
    datagrams = server.server.addresses["datagrams"]
    (folder / "http.conf").write_text(
        http.replace("listen 443", f"listen 127.0.0.1:{port}").replace("127.0.0.1:8080", server.http)
    )
    (folder / "udp.conf").write_text(
        stream.replace("127.0.0.1:21234", datagrams)
        .replace("listen 1234 udp", f"listen 127.0.0.1:{udp} udp")
        .replace("listen 5684 udp", f"listen 127.0.0.1:{free_port()} udp")
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{each}_temp_path {folder}/{each};" for each in kinds)
    main = folder / "nginx.conf"
    main.write_text(
        f"load_module {MODULE}; daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"include {folder}/udp.conf; http {{ access_log off; {paths} include {folder}/http.conf; }}\n"
    )
    return [find_program("nginx"), "-c", main, "-p", folder]


def haproxy(folder: Path, server: Running, port: int) -> list[str | Path]:
    """Return the command of HAProxy."""
    main = folder / "haproxy.cfg"
    text = without_tls(HAPROXY).replace("127.0.0.1:8080", server.http)
    main.write_text(text.replace("bind :443", f"bind 127.0.0.1:{port}"))
    return [find_program("haproxy"), "-db", "-f", main]


async def streams(server: Running, port: int) -> tuple[str, str]:
    """Return the first event of a WebSocket and of Server-Sent Events through a proxy: a new device's."""
    url, headers = f"http://127.0.0.1:{port}/span/activity", {"X-API-Token": server.token}
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession(headers=headers) as http,
        http.ws_connect(url) as socket_,
        http.get(url, headers={"Accept": "text/event-stream"}) as events,
    ):
        await server.joined(2)
        await server.device(await server.collection(), "127.0.0.1")
        first = str(json.loads(await socket_.receive_str())["event"])
        while not (line := (await events.content.readline()).decode()).startswith("event: "):
            pass
        return first, line.removeprefix("event: ").strip()


async def test_websocket_sse_and_udp_pass_through_nginx(tmp_path: Path) -> None:
    """The datagram comes from nginx's address, as the file says."""
    port, udp = free_port(), free_port()
    async with running(tmp_path / "data") as server, started(nginx(tmp_path, server, port, udp), port):
        events = await streams(server, port)
        (device,) = server.server.fleet.directory.devices.values()
        async with server.stream("/span/activity") as stream:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"hello", ("127.0.0.1", udp))
                while json.loads(await stream.recv())["event"] != "upstreamMessage":
                    pass

    assert events == ("deviceCreated", "deviceCreated")
    assert device.last_payload == b"hello"


async def test_websocket_and_sse_pass_through_haproxy(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path / "data") as server, started(haproxy(tmp_path, server, port), port):
        events = await streams(server, port)

    assert events == ("deviceCreated", "deviceCreated")


class Node(asyncio.DatagramProtocol):
    """A device node, as nginx sees it: answers each datagram with its port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = asyncio.Event()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._closed.clear()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", self._port))

    async def stop(self) -> None:
        assert self._transport is not None, "it was started"
        self._transport.close()
        await self._closed.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None, "it was started"
        self._transport.sendto(str(self._port).encode(), addr)


async def answer(port: int) -> int:
    """Return the node that serves a new device, which sends again until it has an answer, as in a handshake."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.setblocking(False)
        device.connect(("127.0.0.1", port))
        async with asyncio.timeout(PATIENCE):
            while True:
                device.send(b"hello")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        while not (found := await asyncio.get_running_loop().sock_recv(device, 16)):
                            pass  # nginx tells a device of a dead node with an empty datagram
                        return int(found)


async def test_nginx_refuses_no_device_after_each_node_has_been_away(tmp_path: Path) -> None:
    """While one is away, the other serves all."""
    first, second, port = (free_port() for _ in range(3))  # of the nodes, of nginx
    ports = defaultdict(free_port, {"10.0.0.21:1234": first, "10.0.0.22:1234": second})
    listens = {"1234": port} | {each: free_port() for each in ("443", "5684", "6674", "8443")}
    service, nodes = proxy.nginx(tmp_path, listens, ports), {first: Node(first), second: Node(second)}
    await asyncio.gather(*(each.start() for each in nodes.values()))
    try:
        await service.start()
        alone = []
        for node in nodes.values():
            await node.stop()
            alone.append({await answer(port) for _ in range(4)})
            await node.start()
        for _ in range(8):
            await answer(port)
    finally:
        await service.stop()
        await asyncio.gather(*(each.stop() for each in nodes.values()))

    assert alone == [{second}, {first}]
    assert "no live upstreams" not in (tmp_path / "nginx-errors.log").read_text()


def test_nginx_passes_the_largest_body_that_the_server_takes() -> None:
    """A firmware image, in base64: four octets for three."""
    sizes = re.findall(r"client_max_body_size (\d+)m;", "".join(each.read_text() for each in NGINX.iterdir()))

    assert len(sizes) == 2
    assert min(map(int, sizes)) * 1_048_576 > FirmwareConfig().max_image * 4 / 3


def test_the_files_are_those_of_the_guide() -> None:
    for language, text in (("nginx", (NGINX / "span-events.conf").read_text()), ("haproxy", HAPROXY)):
        (example,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
        assert text.endswith(example)
