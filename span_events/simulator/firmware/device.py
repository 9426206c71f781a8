"""
Simulated devices that update their firmware: report, download block by block, restart, report again.

Simulated firmware is any octets behind a first line with its version, see `make_image`: the protocol does not
carry the version of a download, the image does.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from enum import Enum, StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

from span_events.errors import MalformedMessage
from span_events.simulator.coap import CoapClient, Timing
from span_events.simulator.sockets import Address, AddressUnavailable
from span_events.wire.coap.blocks import Block, block_of, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, name_of_code, option_of
from span_events.wire.fota import MAX_TEXT, Report, Response, decode_response, encode_report

REPORT_PATH: Final = "u"
BLOCK_EXPONENT: Final = 5
"""Blocks of 512 octets."""
STALL_AT: Final = 0.6
"""Share of an image at which a download stops, on request."""
_FIRST_WORDS: Final = b"simulated firmware "
_LONGEST_FIRST_LINE: Final = len(_FIRST_WORDS) + MAX_TEXT + 1


class Mishap(StrEnum):
    """Faults of an update, on request; the value is the name on the command line."""

    STALL = "stalledDownload"
    """The download stops at 60 %; the next update resumes there."""
    REVERT = "revertedUpdate"
    """The device downloads all, and reports its old version again."""
    TRUNCATED_REPORT = "truncatedReport"
    """The report is cut off in its last field."""


class Outcome(Enum):
    """How an update ended."""

    CURRENT = "has nothing to update"
    UPDATED = "runs the new version"
    STALLED = "stopped in the middle of the download"
    REVERTED = "reported the old version after the download"
    FAILED = "did not get what it asked for"


class Ended(NamedTuple):
    """Outcome of an update."""

    outcome: Outcome
    detail: str
    """For people."""


def make_image(version: str, size: int) -> bytes:
    """Make firmware that a simulated device can run, of so many octets (or a few more); no two are the same."""
    first_line = _FIRST_WORDS + version.encode() + b"\n"
    return first_line + random.randbytes(size - len(first_line)) if size > len(first_line) else first_line


def version_of(image: bytes) -> str:
    """Return the version of simulated firmware; empty if it is none. The beginning of an image is enough."""
    line, newline, _ = image.partition(b"\n")
    if not newline or not line.startswith(_FIRST_WORDS):
        return ""
    return line.removeprefix(_FIRST_WORDS).decode(errors="replace")


class UpdatingDevice:
    """
    A device at an address of its own; it keeps the progress of a download, not the octets.

    Args:
        address: IP address of the device.
        target: Address of the CoAP listener.
        version: Version at the start.
        exponent: Requested blocks have 2 ** (exponent + 4) octets, 0 to 6 (RFC 7959 §2.2).
        pause: Seconds between two blocks, so that people can watch.
        restart: Seconds between the download and the next report.
        timing: Retransmission of its requests.

    Raises:
        AddressUnavailable: The address is not one of this machine.
    """

    def __init__(
        self,
        address: str,
        target: Address,
        *,
        version: str = "1.0.0",
        exponent: int = BLOCK_EXPONENT,
        pause: float = 0.0,
        restart: float = 0.0,
        timing: Timing | None = None,
    ) -> None:
        self.address = address
        self.version = version
        """Present version."""
        self._wanted_exponent = exponent
        self._pause = pause
        self._restart = restart
        self._timing = timing
        self._client = CoapClient(address, target, timing=timing)
        self._image = _Image(exponent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the socket; idempotent."""
        self._client.close()

    @property
    def fetched(self) -> int:
        """Octets that it has of the image that it downloads, or downloaded last."""
        return self._image.fetched

    @property
    def sha256(self) -> str:
        """Their digest, hexadecimal."""
        return self._image.digest.hexdigest()

    async def update(self, mishap: Mishap | None = None) -> Ended:
        """
        Report; if an update waits, download it, restart, and report again.

        A stopped download resumes, unless the target changed. Cancelling keeps the downloaded
        part.
        """
        try:
            return await self._update(mishap)
        except _Failed as exc:
            return Ended(Outcome.FAILED, str(exc))

    async def _update(self, mishap: Mishap | None) -> Ended:
        place = await self._report(cut=3 if mishap is Mishap.TRUNCATED_REPORT else 0)
        if not place.available:
            return Ended(Outcome.CURRENT, f"no update waits for {self.version}")
        try:
            client = CoapClient(self.address, await self._resolve(place), timing=self._timing)
        except AddressUnavailable as exc:
            raise _Failed(f"cannot reach {place.host}:{place.port}: {exc}") from exc
        with client:
            await self._download(client, place.path, stall=mishap is Mishap.STALL)
        image = self._image
        if not image.is_whole:
            return Ended(Outcome.STALLED, f"{image.fetched} of {image.size} octets are there")
        await asyncio.sleep(self._restart)
        new = version_of(image.head)
        if mishap is not Mishap.REVERT and new:
            self.version = new
        again = await self._report()
        seen = f"downloaded {image.fetched} octets ({new or 'nothing that it can run'}), reported {self.version}"
        if again.available:
            seen += "; an update waits again"
        return Ended(Outcome.UPDATED if self.version == new else Outcome.REVERTED, seen)

    async def _report(self, *, cut: int = 0) -> Response:
        """Send a firmware report and return the response; leave out the last ``cut`` octets to simulate a fault."""
        payload = encode_report(Report(self.version, "simulated", self.address, "span-events"))
        reply = _accepted(await self._client.post(REPORT_PATH, payload[: len(payload) - cut]), "the report")
        try:
            return decode_response(reply.payload)
        except MalformedMessage as exc:
            raise _Failed(f"the response to the report cannot be read: {exc.detail}") from exc

    async def _resolve(self, place: Response) -> Address:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(place.host, place.port, family=family, type=socket.SOCK_DGRAM)
        except OSError as exc:
            raise _Failed(f"cannot find {place.host}: {exc.strerror}") from exc
        host, port = found[0][4][:2]
        return str(host), int(port)

    async def _download(self, client: CoapClient, path: str, *, stall: bool) -> None:
        """Ask for one block after the other, to the end of the image or to where it is to stop."""
        if self._image.is_whole:
            self._image = _Image(self._wanted_exponent)
        began_again = False
        while not self._image.is_whole and not (stall and self._image.share >= STALL_AT):
            if self._image.blocks:
                await asyncio.sleep(self._pause)
            wanted = Block(self._image.blocks, more=False, exponent=self._image.exponent)
            options = ((int(Option.BLOCK2), write_block(wanted)),)
            reply = await client.exchange(client.request(Code.GET, path, options=options))
            if not self._image.is_another(reply):
                self._image.take(_accepted(reply, f"block {wanted.number}"), wanted)
            elif began_again:
                raise _Failed("the image changes faster than it comes")
            else:
                began_again = True
                self._image = _Image(self._wanted_exponent)


class _Image:
    """An image during its download."""

    def __init__(self, exponent: int) -> None:
        self.exponent = exponent
        self.blocks = 0
        """Received blocks, in order."""
        self.fetched = 0
        """Received octets."""
        self.size: int | None = None
        """Octets of the whole, if the server sent the size."""
        self.head = b""
        """Its beginning."""
        self.digest = hashlib.sha256()
        self.is_whole = False
        self._etag: bytes | None = None

    @property
    def share(self) -> float:
        """Received part, 0 to 1; 0 if the size is unknown."""
        return self.fetched / self.size if self.size else 0.0

    def is_another(self, reply: CoapMessage | None) -> bool:
        """Return whether a reply shows that the server switched to another image."""
        if reply is None or not self.blocks:
            return False
        if reply.code == Code.CONTENT:  # blocks of different ETags must not be put together (RFC 7959 §2.4)
            return option_of(reply, Option.ETAG) != self._etag
        return reply.code == Code.REQUEST_ENTITY_INCOMPLETE

    def take(self, reply: CoapMessage, wanted: Block) -> None:
        """Take the block that was asked for; the server may make the first one smaller (RFC 7959 §2.4)."""
        block = block_of(reply, Option.BLOCK2) or Block(0, more=False, exponent=wanted.exponent)
        if block.number != wanted.number or block.exponent > wanted.exponent:
            raise _Failed(f"{block} came, wanted {wanted}")
        if wanted.number == 0:
            size = option_of(reply, Option.SIZE2)
            self.exponent = block.exponent
            self.size = int.from_bytes(size, "big") if size is not None else None
            self._etag = option_of(reply, Option.ETAG)
        elif block.exponent != wanted.exponent:
            raise _Failed(f"{block} came, wanted {wanted}")
        self.blocks += 1
        self.fetched += len(reply.payload)
        if len(self.head) < _LONGEST_FIRST_LINE:
            self.head += reply.payload
        self.digest.update(reply.payload)
        self.is_whole = not block.more
        if self.is_whole and self.size not in (None, self.fetched):
            raise _Failed(f"{self.fetched} octets came, {self.size} were announced")


class _Failed(Exception):
    """An update failed; ``str()`` gives the reason."""


def _accepted(reply: CoapMessage | None, what: str) -> CoapMessage:
    if reply is None:
        raise _Failed(f"no reply to {what}")
    if reply.code >> 5 != 2:
        raise _Failed(f"{name_of_code(reply.code)} to {what}: {reply.payload.decode(errors='replace')}")
    return reply
