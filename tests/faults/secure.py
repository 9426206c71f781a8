"""A device that speaks DTLS: real clients with its credentials or with others, and what subscribers hear of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from span_events.events.reasons import ClientRejectedReason
from tests.bench.certificates import Holder, Key
from tests.bench.live import Credentials, Document, LiveServer, Tail
from tests.bench.ports import free_port
from tests.bench.programs import Finished, Program, run
from tests.faults.scene import EXTENDED, Scene, check_words

LINE: Final = "hello span\n"
SESSION: Final = ["clientConnected", "upstreamMessage", "clientDisconnected"]
"""What a client causes that connects, sends a line and leaves."""
_OWNERS: Final = ("collectionId", "deviceId", "gatewayId")


class Attempt(NamedTuple):
    """A client that has ended."""

    remote: str
    """The address that it had."""
    ended: Finished

    @property
    def printed(self) -> str:
        """Everything that it said."""
        return self.ended.printed


@dataclass(frozen=True, slots=True)
class SecureScene:
    """A device with a certificate, and a subscriber who also hears what nobody owns."""

    scene: Scene
    everything: Tail
    credentials: Credentials

    @property
    def device(self) -> Document:
        """How events name the device."""
        return {"collectionId": self.scene.device.collection, "deviceId": self.scene.device.id}

    @property
    def collection(self) -> Document:
        """How events name its collection alone."""
        return {"collectionId": self.scene.device.collection}

    # ---- clients ------------------------------------------------------------------------------

    def free_port(self) -> str:
        """Return the device's address with a port that nobody has."""
        return f"{self.scene.device.address}:{free_port()}"

    def s_client(
        self, *arguments: str | Path, bind: str | None = None, to: str | None = None, version: str = "-dtls1_2"
    ) -> tuple[str, ...]:
        """Return the command of OpenSSL's client; it believes the server, but shows only what is in the arguments."""
        return (
            *("openssl", "s_client", version, "-connect", to or self.scene.server.addresses["datagrams"]),
            *(("-bind", bind) if bind else ()),
            *("-CAfile", str(self.credentials.certificate), "-verify_return_error"),
            *map(str, arguments),
        )

    async def try_s_client(self, *arguments: str | Path, version: str = "-dtls1_2") -> Attempt:
        """Let OpenSSL's client connect, type a line and leave; it may fail."""
        remote = self.free_port()
        return Attempt(remote, await run(*self.s_client(*arguments, bind=remote, version=version), typed=LINE))

    async def try_coap_client(self, program: str, *arguments: str | Path) -> Attempt:
        """Let one of libcoap's clients POST over CoAPS; it may fail."""
        remote = self.free_port()
        host, _, port = remote.rpartition(":")
        command = (
            program,
            "-a",
            host,
            "-p",
            port,
            "-B",
            "60",
            "-m",
            "post",
            "-e",
            "hello",
            *map(str, arguments),
        )
        return Attempt(remote, await run(*command, f"coaps://{self.scene.server.addresses['coaps']}/x"))

    async def try_gnutls(self, *arguments: str | Path) -> Finished:
        """Let GnuTLS' client connect, from an address of its own choice; it may fail."""
        host, _, port = self.scene.server.addresses["datagrams"].rpartition(":")
        root = str(self.credentials.certificate)
        return await run("gnutls-cli", "--udp", "--port", port, "--x509cafile", root, *map(str, arguments), host)

    def client(self, *arguments: str | Path, bind: str | None = None, to: str | None = None) -> Program:
        """Let OpenSSL's client run while the test goes on; without arguments, with the device's certificate."""
        return Program(*self.s_client(*(arguments or shown(self.credentials)), bind=bind, to=to))

    # ---- certificates -------------------------------------------------------------------------

    def files_of(self, holder: Holder) -> Credentials:
        """Write the files of a certificate that the test has made."""
        serial = str(holder.certificate.serial_number)
        return self.scene.server.write_credentials(holder.chain_pem, holder.key_pem, serial=serial)

    def authority(self) -> Holder:
        """Read the collection's intermediate."""
        return authority_of(self.scene.server, self.scene.device.collection)

    # ---- what subscribers hear ----------------------------------------------------------------

    async def rejected(
        self, reason: ClientRejectedReason, attempt: Attempt, *, of: Document | None = None, transport: str = "dtls"
    ) -> Document:
        """
        Wait for the event of a client that was not let in; check whose it is, and return the rest of its data.

        Args:
            of: Owner of the event; None for the device, if only the address tells that.
        """
        event = await self.everything.until("clientRejected", remoteAddress=attempt.remote)
        data: Document = event["data"]
        data.pop("cipher", None)
        if of is None:
            assert data.pop("attributedBy") == "address"
            of = self.device
        if of:
            await self.scene.tail.until("clientRejected", remoteAddress=attempt.remote)
        else:
            assert "clientRejected" not in await self.scene.names_until_now()

        assert data.pop("reason") == reason.value, data
        assert (data.pop("remoteAddress"), data.pop("transport")) == (attempt.remote, transport)
        assert owner_of(event) == of
        check_words(event, "error", reason.hint)
        return data

    async def session(self, *arguments: str | Path) -> list[Document]:
        """Let a good client connect, send a line and leave; return the events of that."""
        remote = self.free_port()
        async with self.client(*arguments, bind=remote) as client:  # it dawdles after its goodbye: nobody waits for it
            client.say(LINE)
            client.say_no_more()
            told = [await self.scene.published(name) for name in SESSION]

        assert told[0]["data"]["remoteAddress"] == remote
        assert told[1]["data"]["bytes"] == str(len(LINE))
        return told

    async def lets_others_in(self) -> None:
        """Let a new device connect, from the same host."""
        server = self.scene.server
        device = await server.add_device(await server.add_collection())
        credentials = await server.add_certificate(device)
        async with (
            server.tail(f"/span/collections/{device.collection}/activity", EXTENDED) as tail,
            self.client(*shown(credentials), bind=self.free_port()) as client,
        ):
            client.say(LINE)
            client.say_no_more()
            for name in SESSION:
                await tail.until(name)


@asynccontextmanager
async def open_secure_scene(scene: Scene) -> AsyncIterator[SecureScene]:
    """Give the device a certificate; after the fault, the server must still let good clients in."""
    credentials = await scene.server.add_certificate(scene.device)
    async with scene.server.tail(query=EXTENDED) as everything:
        secure = SecureScene(scene, everything, credentials)
        yield secure
        await secure.lets_others_in()


def authority_of(server: LiveServer, collection: str) -> Holder:
    """Read a collection's intermediate from the data directory, as only its owner can."""
    pem = (server.data_dir / "pki" / f"collection-{collection}.pem").read_bytes()
    key: Key = load_pem_private_key(pem, None)  # type: ignore[assignment]  # the server makes EC keys
    return Holder(key, x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :]))


def shown(credentials: Credentials) -> tuple[str, ...]:
    """Return the arguments of OpenSSL's client for a certificate."""
    return ("-cert", str(credentials.certificate), "-key", str(credentials.key))


def psk(identity: bytes, key: bytes) -> tuple[str, ...]:
    """Return the arguments of OpenSSL's client for a pre-shared key."""
    return ("-psk_identity", identity.decode(), "-psk", key.hex())


def owner_of(event: Document) -> Document:
    """Return what an event says about whose it is."""
    return {name: event[name] for name in _OWNERS if name in event}


def session_of(event: Document) -> str:
    """Return the session that an event belongs to."""
    (session,) = (each for each in event["correlationIds"] if each.startswith("session:"))
    return str(session)


def is_time(text: str) -> bool:
    """Tell whether text is a moment as events show it."""
    return re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text) is not None
