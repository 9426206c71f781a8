"""
A real server in a process of its own, and its clients: API calls, devices, subscribers.

Everything goes through the contract for scripts and supervisors: the command line, environment
variables, the ready file, signals and exit statuses.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from span_events.cli.running import TOKEN_FILE
from tests.bench.forked import ForkedProgram
from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import output_of
from tests.bench.waiting import PATIENCE
from tests.listeners.coap.bench import RawClient, post

COAP_CLIENT: Final = "coap-client-openssl"
"""libcoap's client (Debian package libcoap3-bin)."""

_CERTIFICATE_FILES: Final = (("certificate", "chain"), ("privateKey",))
"""What the API answers, file by file."""

Document = dict[str, Any]
"""A JSON object: an event, or what the API says."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API, or its refusal of an upgrade."""

    status: int
    content_type: str
    document: Document


@dataclass(frozen=True, slots=True)
class Token:
    """An API token; ``text`` is the secret."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class LiveDevice:
    """A device of the server, and the address of this machine that it sends from."""

    id: str
    collection: str
    address: str

    @property
    def path(self) -> str:
        """Its URL path."""
        return f"/span/collections/{self.collection}/devices/{self.id}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files of a client's certificate and key, as ``span-events cert create`` writes them."""

    certificate: Path
    """The client's certificate, those above it, and the root that it trusts."""
    key: Path
    serial: str = ""
    expires: float = 0.0
    """Seconds since 1970."""


class Tail:
    """
    A subscriber: a WebSocket client that reads only on request.

    Args:
        receive_buffer: Octets of the kernel's receive buffer (SO_RCVBUF): small for a client that stops reading.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, receive_buffer: int | None = None) -> None:
        self.url = url
        self.seen: list[Document] = []
        """Every event so far, in order."""
        self.lines: list[str] = []
        """The same as they came: one frame each."""
        self._headers = headers
        self._receive_buffer = receive_buffer
        self._connection: ClientConnection | None = None
        self._line = ""
        self._replayed: deque[tuple[Document, str]] = deque()  # events of the history, with their lines

    async def __aenter__(self) -> Self:
        address = self.url.split("/")[2].split(":")
        opened = socket.socket()
        if self._receive_buffer is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        opened.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(opened, (address[0], int(address[1])))
            self._connection = await connect(  # no pings: on a busy machine their answers come late
                self.url,
                sock=opened,
                additional_headers=self._headers,
                compression=None,
                proxy=None,
                open_timeout=PATIENCE,
                ping_interval=None,
            )
            if "extended=1" in self.url:
                while (found := await self._receive()).get("type") != "live":
                    self._replayed.append((found, self._line))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._connection is not None
        # The close frame of the server comes after all lines that were not read.
        await asyncio.gather(self._connection.close(), self._discard())

    async def _discard(self) -> None:
        assert self._connection is not None
        with suppress(ConnectionClosed):
            while True:
                await self._connection.recv()

    @property
    def names(self) -> list[str]:
        """The names of the events so far."""
        return [event["event"] for event in self.seen]

    async def next(self) -> Document:
        """Wait for an event or, on /from, a message."""
        if self._replayed:
            found, line = self._replayed.popleft()
        else:
            async with asyncio.timeout(PATIENCE):
                while (found := await self._receive()).get("type") in ("keepalive", "live"):
                    pass
            line = self._line
        self.seen.append(found)
        self.lines.append(line)
        return found

    async def until(self, name: str, **data: str) -> Document:
        """Wait for an event with this name and these data; others pass by, into ``seen``."""
        start = len(self.seen)
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    event = await self.next()
                    if event["event"] == name and data.items() <= event.get("data", {}).items():
                        return event
        except TimeoutError:
            raise AssertionError(f"no {name} {data or ''} came, only {self.seen[start:]}") from None

    async def closed(self) -> tuple[int, str]:
        """Read on until the server closes the stream; return the code and the reason."""
        with pytest.raises(ConnectionClosed) as ended:
            await self._read_on()
        assert ended.value.rcvd is not None, f"the stream ended without a close frame: {ended.value}"
        return ended.value.rcvd.code, ended.value.rcvd.reason

    async def _read_on(self) -> None:
        while True:
            await self.next()

    async def _receive(self) -> Document:
        assert self._connection is not None
        text = self._line = await self._connection.recv(decode=True)
        assert text.endswith("\n"), f"a frame holds one object and a newline, not {text!r}"
        found: Document = json.loads(text)
        return found


def free_addresses() -> Iterator[str]:
    """Yield addresses of this machine, for devices."""
    return (f"127.0.{3 + number // 256}.{number % 256}" for number in itertools.count(1))


class LiveServer:
    """
    ``span-events serve`` on free ports of 127.0.0.1.

    Args:
        folder: An empty folder, for the data directory and the ready file.
        settings: As in the configuration file: ``{"sessions.idle_timeout": 0.3}``.
        descriptors: Upper bound of the process's file descriptors (RLIMIT_NOFILE).
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, object] | None = None, *, descriptors: int | None = None
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.ready_file = folder / "ready"
        self.addresses: dict[str, str] = {}
        """The ready file: listener to ``host:port``."""
        self.token = ""
        """Text of a token that may do everything."""
        variables = {
            f"SPAN_EVENTS_{name.upper().replace('.', '__')}": str(value) for name, value in (settings or {}).items()
        }
        self._environment = {**os.environ, **FREE_VARIABLES, **variables}
        self._descriptors = None if descriptors is None else (descriptors, descriptors)
        self._process: ForkedProgram | None = None
        self._log: list[str] = []
        self._logged = threading.Condition()
        self._log_reader: threading.Thread | None = None
        self.free_addresses = free_addresses()
        """Addresses of this machine that no device of the server has."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()

    # ---- the process --------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, wait until all is bound, and take the token of the first start."""
        arguments = ("serve", "--data-dir", str(self.data_dir), "--ready-file", str(self.ready_file))
        self._process = process = ForkedProgram(arguments, self._environment, descriptors=self._descriptors)
        self._log_reader = threading.Thread(target=self._read_log, name="server's log")
        self._log_reader.start()
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            while line := process.stdout.readline():
                if "Ctrl-C" in line:  # the end of the banner
                    break
            else:
                raise AssertionError(f"the server did not start:\n{self.log}")
            self.addresses = json.loads(self.ready_file.read_text())
            self.token = self.token or self._first_token()
        except BaseException:
            process.kill()
            self._reap()
            raise
        finally:
            watchdog.cancel()

    def stop(self) -> None:
        """Stop the server as a supervisor does (SIGTERM), and check its exit status and log."""
        process = self._process
        assert process is not None
        process.terminate()
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        status = self._reap()
        watchdog.cancel()
        self._process = None
        assert status == 0, f"the server ended with status {status}:\n{self.log}"
        assert "Traceback" not in self.log, self.log
        assert not self.ready_file.exists(), "the ready file is still there"

    def kill(self) -> None:
        """End the server as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._reap()
        self._process = None

    @property
    def log(self) -> str:
        """Standard error of the server so far."""
        return "".join(self._log)

    async def logged(self, word: str) -> None:
        """Wait until the server's log has a word in it."""

        def wait() -> bool:
            with self._logged:
                return self._logged.wait_for(lambda: any(word in line for line in self._log), PATIENCE)

        assert await asyncio.to_thread(wait), f"no {word} in the log:\n{self.log}"

    async def cli(self, *arguments: str) -> str:
        """Run a command of the command line in a process of its own; return its output."""
        return await asyncio.to_thread(self._cli, *arguments)

    def _first_token(self) -> str:
        """Read the token of the registry's first start, or make one if another server shares the registry."""
        path = self.data_dir / TOKEN_FILE
        if path.exists():
            return path.read_text().strip()
        return self._cli("token", "create", "--data-dir", str(self.data_dir), "--resource", "/", "--write")

    def _cli(self, *arguments: str) -> str:
        program = ForkedProgram(arguments, self._environment)
        watchdog = threading.Timer(PATIENCE, program.kill)
        watchdog.start()
        with program.stdout, program.stderr:
            output, complaints = program.stdout.read(), program.stderr.read()
        status = program.join()
        watchdog.cancel()
        assert status == 0, complaints
        return output.strip()

    def _read_log(self) -> None:
        """
        Keep the log, and repeat it where pytest captures it: it shows what a failed test captured.

        That is descriptor 2: `sys.stderr` may be that of a command which a test runs meanwhile.
        """
        assert self._process is not None
        for line in self._process.stderr:
            if sys.stderr is not sys.__stderr__:
                os.write(2, line.encode())
            with self._logged:
                self._log.append(line)
                self._logged.notify_all()

    def _reap(self) -> int:
        assert self._process is not None
        assert self._log_reader is not None
        status = self._process.join()
        self._log_reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            pipe.close()
        return status

    def memory_kib(self) -> int:
        """Return the memory of the process that no other shares, KiB (proportional set size)."""
        assert self._process is not None
        for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
        raise AssertionError("the kernel tells no proportional set size")

    # ---- the API ------------------------------------------------------------------------------

    async def request(
        self, method: str, path: str, body: Document | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Call the API, with the token unless other headers are given; any status is returned."""
        sent = {"X-API-Token": self.token} if headers is None else headers
        url = f"http://{self.addresses['http']}{path}"
        async with (
            asyncio.timeout(PATIENCE),
            aiohttp.ClientSession() as session,
            session.request(method, url, json=body, headers=sent) as response,
        ):
            return Reply(response.status, response.content_type, await response.json(content_type=None))

    async def call(self, method: str, path: str, body: Document | None = None) -> Document:
        """Call the API, and return the document; a refusal fails the test."""
        reply = await self.request(method, path, body)
        assert reply.status == 200, reply
        return reply.document

    async def add_collection(self) -> str:
        """Make a collection, and return its id."""
        return str((await self.call("POST", "/span/collections", {}))["collectionId"])

    async def add_device(self, collection: str) -> LiveDevice:
        """Make a device at an address that no other device has."""
        address = self.free_address()
        body = {"metadata": {"ciot": {"allocatedIp": address}}}
        made = await self.call("POST", f"/span/collections/{collection}/devices", body)
        return LiveDevice(made["deviceId"], collection, address)

    async def add_certificate(self, device: LiveDevice) -> Credentials:
        """Make a certificate for a device, and write its files."""
        path = f"/span/collections/{device.collection}/certificates/create?extended=1"
        made = await self.call("POST", path, {"deviceId": device.id})
        chain, key = (b"".join(base64.b64decode(made[name]) for name in names) for names in _CERTIFICATE_FILES)
        serial, expires = str(made["certificateSerial"]), int(made["expires"]) / 1000
        return self.write_credentials(chain, key, serial=serial, expires=expires)

    def write_credentials(self, chain: bytes, key: bytes, *, serial: str = "", expires: float = 0.0) -> Credentials:
        """Write the files of a client: its certificate and those above it, and its key, PEM."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="client-"))
        found = Credentials(folder / "cert.crt", folder / "key.pem", serial, expires)
        found.certificate.write_bytes(chain)
        found.key.write_bytes(key)
        return found

    async def set_psk(self, device: LiveDevice, identity: bytes, key: bytes) -> None:
        """Give a device a pre-shared key."""
        identity_text, key_text = (base64.b64encode(each).decode() for each in (identity, key))
        await self.call("PUT", f"{device.path}/psk", {"identity": identity_text, "key": key_text})

    async def create_token(self, resource: str = "/", *, write: bool = False) -> Token:
        """Make a token with the command line."""
        rights = ("--write",) if write else ()
        data_dir = ("--data-dir", str(self.data_dir))
        made = json.loads(await self.cli("token", "create", *data_dir, "--resource", resource, *rights, "--json"))
        return Token(made["tokenId"], made["token"])

    async def delete_token(self, token: Token) -> None:
        """Delete a token with the command line, behind the server's back."""
        await self.cli("token", "delete", "--data-dir", str(self.data_dir), token.id)

    # ---- subscribers --------------------------------------------------------------------------

    def tail(
        self,
        path: str = "/span/activity",
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> Tail:
        """Make a subscriber, with the token unless other headers are given; enter it to connect."""
        url = f"ws://{self.addresses['http']}{path}" + (f"?{urlencode(query)}" if query else "")
        return Tail(url, {"X-API-Token": self.token} if headers is None else headers, receive_buffer=receive_buffer)

    async def refused_tail(
        self, path: str, query: Mapping[str, str] | None = None, *, headers: Mapping[str, str]
    ) -> Reply:
        """Try to subscribe; return how the server refused the upgrade."""
        with pytest.raises(InvalidStatus) as refusal:
            await self.tail(path, query, headers=headers).__aenter__()
        response = refusal.value.response
        return Reply(response.status_code, response.headers["Content-Type"], json.loads(response.body or b"{}"))

    # ---- devices ------------------------------------------------------------------------------

    def free_address(self) -> str:
        """Return an address of this machine that no device has had."""
        return next(self.free_addresses)

    def socket_at(self, address: str, listener: str) -> RawClient:
        """Open a UDP socket at an address, towards ``datagrams`` or ``coap``; close it at the end."""
        host, _, port = self.addresses[listener].rpartition(":")
        return RawClient(address, (host, int(port)))

    async def coap_client(self, address: str, *arguments: str, path: str = "x", target: str | None = None) -> str:
        """Run libcoap's client at an address of this machine; return its output."""
        output = await output_of(
            *(COAP_CLIENT, "-a", address, "-B", "60", *arguments),
            f"coap://{target or self.addresses['coap']}/{path}",
        )
        return output.strip()

    async def still_serves(self) -> bool:
        """Let a new device send over UDP and over CoAP, and see both messages arrive."""
        collection = await self.add_collection()
        device = await self.add_device(collection)
        async with self.tail(f"/span/collections/{collection}/activity") as tail:
            with (
                closing(self.socket_at(device.address, "datagrams")) as udp,
                closing(self.socket_at(device.address, "coap")) as coap,
            ):
                udp.send(b"still there?")
                await tail.until("upstreamMessage", transport="udp", bytes="12")
                reply = await coap.exchange(post(b"and here?"))
                await tail.until("upstreamMessage", transport="coap", bytes="9")
        return reply.code >> 5 == 2
