"""
The CoAP site: POST sends an upstream message, GET fetches a queued downstream message.

The site answers at once, unless a service has to wait. It has no resource tree, because devices choose their own paths,
a few reserved paths aside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from typing import Final, assert_never
from zlib import crc32

from aiocoap.numbers import ContentFormat

from span_events.clock import Clock
from span_events.config import CoapConfig
from span_events.events.marks import Mark
from span_events.events.message import Transport
from span_events.events.reasons import DownstreamFailedReason, MessageRejectedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.listeners.coap.answer import Answer, Later
from span_events.listeners.coap.peer import Peer
from span_events.listeners.coap.service import CoapService
from span_events.listeners.coap.transfers import FIRST, BlockDownload, BlockUploads, Key, Step, Transfers, fault_of
from span_events.log import get_logger
from span_events.registry.model import Downstream
from span_events.wire.coap.blocks import MAX_BLOCK_EXPONENT, Block, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, Type, option_of, uint
from span_events.wire.coap.requests import Reading, is_unwanted, name_of_method

log = get_logger("listeners.coap")

RESERVED: Final = frozenset({"/u", "/fw", "/blob"})
"""Paths of services, enabled or not; requests to them are never upstream messages."""
DISCOVERY: Final = "/.well-known/core"
LINKS: Final = b'</>;title="POST sends a message, GET fetches one that waits; any path"'
"""The links that discovery returns (RFC 6690)."""
_AGAIN: Final = (
    "the same octets came {:.1f} s ago, and another request with the same token, or none, since: taken as a new "
    "message, as of a device that rebooted; a client with several requests under way gives each a token of its own "
    "(RFC 7252 5.3.1)"
)
_LINK_FORMAT: Final[Options] = ((int(Option.CONTENT_FORMAT), uint(ContentFormat.LINKFORMAT)),)


class CoapSite:
    """
    Answers the requests of one endpoint.

    Args:
        max_payload: Upper bound of an upstream message in octets (``messages.max_payload``).
        services: Services at reserved paths.
    """

    def __init__(
        self,
        config: CoapConfig,
        *,
        transport: Transport,
        local_port: int,
        max_payload: int,
        reception: Reception,
        outbox: Outbox,
        clock: Clock,
        services: Sequence[CoapService] = (),
    ) -> None:
        self._transport = transport
        self._local_port = local_port
        self._max_payload = max_payload
        self._reception = reception
        self._outbox = outbox
        self._clock = clock
        self._services = {path: service for service in services for path in service.paths}
        self._reserved_names = frozenset(path.strip("/").lower() for path in RESERVED | self._services.keys())
        self.uploads = BlockUploads(
            limit=config.unfinished_uploads, timeout=config.upload_timeout, max_payload=max_payload
        )
        self.downloads: Transfers[BlockDownload] = Transfers(
            limit=config.unfinished_uploads, lifetime=config.upload_timeout
        )
        self.defects = 0
        """Number of requests that failed by a defect of the server."""

    def forget_peer(self, address: Hashable) -> None:
        """Drop the transfers of an address that will never send again."""
        self.uploads.forget_peer(address)
        self.downloads.forget_peer(address)
        for service in set(self._services.values()):
            service.forget_peer(address)

    def is_repeatable(self, request: CoapMessage, path: str) -> bool:
        """Return whether a copy of a request may be served like a new request."""
        service = self._services.get(path)
        return service is not None and service.is_repeatable(request, path)

    def answer(self, peer: Peer) -> Answer | Later:
        """Answer a request; never raises."""
        try:
            return self._answer(peer)
        except Exception:
            return self._note_defect(peer)

    async def wait(self, peer: Peer, later: Later) -> Answer:
        """Wait for an answer; never raises."""
        try:
            return await later.answer
        except Exception:
            return self._note_defect(peer)

    def sent(self, peer: Peer, answer: Answer, failure: OSError | None) -> None:
        """Report the downstream message in an answer as sent or failed."""
        downstream, cause = answer.downstream, answer.cause
        assert downstream is not None, "only answers with a downstream message are reported"
        if failure is None or peer.request.type is Type.CON:  # the client repeats a CON, and gets the reply from memory
            self._outbox.sent(peer.device, downstream, transport=self._transport, cause=cause)
        elif not isinstance(failure, BlockingIOError):  # after a full buffer, the message stays in the queue
            detail = failure.strerror or str(failure)
            self._outbox.failed(peer.device, downstream, DownstreamFailedReason.SEND_ERROR, detail=detail, cause=cause)

    def _note_defect(self, peer: Peer) -> Answer:
        if self.defects % 1000 == 0:
            log.exception("request_defect", remote=peer.remote[0], so_far=self.defects)
        self.defects += 1
        return Answer(Code.INTERNAL_SERVER_ERROR, b"this is the server's fault")

    def _answer(self, peer: Peer) -> Answer | Later:
        request, path = peer.request, peer.options.path
        service = self._services.get(path)
        if service is not None:
            return self._serve(service, peer, path)
        if request.code in (Code.GET, Code.POST) and path in RESERVED:
            self._reject(peer, MessageRejectedReason.NOT_IMPLEMENTED, detail=f"{Code(request.code).name} {path}")
            return Answer(Code.NOT_IMPLEMENTED, f"{path} is not switched on here".encode())
        if request.code != Code.POST and path not in RESERVED and (near := self._near_miss(peer.options)):
            self._reject(peer, MessageRejectedReason.NEARLY_RESERVED, mark=near)
            return Answer(Code.NOT_FOUND, near.detail.encode())
        if request.code not in (Code.GET, Code.POST):
            return self._method_not_allowed(peer)
        block1, block2 = peer.options.block1, peer.options.block2
        for block in (block1, block2):
            if block is not None and block.exponent > MAX_BLOCK_EXPONENT:
                return self._bad_block(peer, "block size exponent is 7, wanted 0 to 6")
        if path == DISCOVERY and request.code == Code.GET:
            return self._discover(peer, block2 or FIRST)
        if block2 is not None and block2.number and (block1 is None or request.code == Code.GET):
            return self._fetch(peer, path, block2)
        if request.code == Code.GET:
            return self._poll(peer, path, block2)
        if block1 is not None:
            return self._assemble(peer, path, block1, block2)
        return self._deliver(peer, path, request.payload, block2)

    def _serve(self, service: CoapService, peer: Peer, path: str) -> Answer | Later:
        """Let a service answer; a response to a POST that is longer than the block that the device wants is cut."""
        wanted = peer.options.block2 if peer.request.code == Code.POST else None
        if wanted is None or peer.options.block1 is not None:
            return service.answer(peer, path)
        if wanted.exponent > MAX_BLOCK_EXPONENT:
            return self._bad_block(peer, "block size exponent is 7, wanted 0 to 6")
        if wanted.number:
            return self._fetch(peer, path, wanted)
        answer = service.answer(peer, path)
        if isinstance(answer, Later) or len(answer.payload) <= wanted.size or answer.code >> 5 != 2:
            return answer
        return self._first_block(peer, path, wanted, BlockDownload(answer.code, answer.payload, _etag(answer.payload)))

    def _discover(self, peer: Peer, wanted: Block) -> Answer:
        """List the links: whole, or one block if they are larger than one."""
        if peer.options.accept not in (None, ContentFormat.LINKFORMAT):
            detail = f"the links have content format {int(ContentFormat.LINKFORMAT)} (RFC 6690)"
            self._reject(peer, MessageRejectedReason.NOT_ACCEPTABLE, detail=detail)
            return Answer(Code.NOT_ACCEPTABLE, detail.encode())
        if not wanted.number and len(LINKS) <= wanted.size:
            return Answer(Code.CONTENT, LINKS, _LINK_FORMAT)
        answer = self._cut(peer, BlockDownload(Code.CONTENT, LINKS, _etag(LINKS)), wanted)
        if answer.code != Code.CONTENT:
            return answer
        return replace(answer, options=tuple(sorted((*answer.options, *_LINK_FORMAT))))

    def _deliver(self, peer: Peer, path: str, payload: bytes, block2: Block | None) -> Answer | Later:
        """Accept an upstream message; the answer carries the next queued message for the device."""
        message_id = self._reception.received(
            peer.device,
            payload,
            remote=peer.remote,
            transport=self._transport,
            local_port=self._local_port,
            coap_code="POST",
            coap_path=path,
            session=peer.session,
            mark=self._mark(peer),
        )
        if message_id is None:
            return self._too_large()
        if peer.exchange is not None:
            peer.exchange.message_id = message_id
        waiting = self._next_for(peer, Code.CREATED)
        if waiting is None:
            return _CREATED
        return self._carry(peer, path, Code.CREATED, waiting, message_id, block2)

    def _near_miss(self, options: Reading) -> Mark | None:
        """Return the mark of a path that is nearly a reserved one."""
        name = options.folded
        if name not in self._reserved_names:
            return None
        seen = options.path[1:]
        detail = f"looks like the reserved path {name}, but is {seen!r}: write it exactly, without more slashes"
        return Mark(detail, looks_like=name)

    def _mark(self, peer: Peer) -> Mark | None:
        """Return the mark of a message: a near miss of a reserved path, odd options, or octets that came before."""
        near = self._near_miss(peer.options)
        if near is not None:
            return near
        oddities = peer.options.oddities
        if peer.exchange is not None and peer.exchange.again is not None:
            oddities += (_AGAIN.format(peer.exchange.again),)
        return Mark("; ".join(oddities)) if oddities else None

    def _poll(self, peer: Peer, path: str, block2: Block | None) -> Answer | Later:
        """Answer with the oldest queued message, or with an empty payload."""
        self._reception.polled(peer.device, peer.remote, transport=self._transport, session=peer.session)
        if block2 is not None:  # block 0 again, unless the last block was fetched
            download = self.downloads.get(_key(peer, path), self._clock.monotonic())
            if download is not None and download.code == Code.CONTENT and not download.done:
                return self._cut(peer, download, block2)
        waiting = self._next_for(peer, Code.CONTENT)
        if waiting is None:
            return Answer(Code.CONTENT)
        return self._carry(peer, path, Code.CONTENT, waiting, None, block2)

    def _next_for(self, peer: Peer, code: Code) -> Downstream | None:
        """Return the oldest waiting message, unless no response to this request may carry it."""
        if is_unwanted(peer.options, code):
            return None
        return self._outbox.next_over(peer.device, self._transport, confirmable=peer.request.type is Type.CON)

    def _carry(
        self, peer: Peer, path: str, code: Code, waiting: Downstream, cause: int | None, block2: Block | None
    ) -> Answer | Later:
        """Answer with a downstream message, as soon as this node may send it, or without if another node does."""
        if self._outbox.claims.holds(waiting):
            return self._carried(peer, path, code, waiting, cause, block2)

        async def claimed() -> Answer:
            is_claimed = await self._outbox.claims.attempt(waiting)
            is_there = peer.session is not None or self._reception.is_at(peer.device, peer.remote)
            if is_claimed and is_there and self._outbox.next_for(peer.device) is waiting:
                return self._carried(peer, path, code, waiting, cause, block2)
            return Answer(code)

        return Later(claimed())

    def _carried(
        self, peer: Peer, path: str, code: Code, waiting: Downstream, cause: int | None, block2: Block | None
    ) -> Answer:
        """Answer with a downstream message: whole, or its first block if it is larger than one."""
        wanted = block2 or FIRST
        if len(waiting.payload) <= wanted.size:
            return Answer(code, waiting.payload, downstream=waiting, cause=cause)
        download = BlockDownload(code, waiting.payload, uint(waiting.id))
        return replace(self._first_block(peer, path, wanted, download), downstream=waiting, cause=cause)

    def _first_block(self, peer: Peer, path: str, wanted: Block, download: BlockDownload) -> Answer:
        """Answer with the first block of a payload, and keep the payload for the rest."""
        self.downloads.put(_key(peer, path), download, self._clock.monotonic())
        return self._cut(peer, download, wanted)

    def _fetch(self, peer: Peer, path: str, wanted: Block) -> Answer:
        """Answer with a later block of a download under way; the queue stays as it is."""
        key, now = _key(peer, path), self._clock.monotonic()
        download = self.downloads.get(key, now)
        if download is None:
            detail = f"block {wanted.number} is asked for, but no transfer from {path} is under way"
            self._reject(peer, MessageRejectedReason.BLOCK_MISSING, expected=0, received=wanted.number, detail=detail)
            return Answer(Code.REQUEST_ENTITY_INCOMPLETE, b"no transfer is under way here; begin with block 0")
        self.downloads.put(key, download, now)
        return self._cut(peer, download, wanted)

    def _cut(self, peer: Peer, download: BlockDownload, wanted: Block) -> Answer:
        cut = download.block(wanted)
        if cut is None:
            blocks = -(-len(download.payload) // wanted.size)
            return self._bad_block(peer, f"block {wanted.number} is asked for, the last one is {blocks - 1}")
        block, payload = cut
        options: Options = ((Option.ETAG, download.etag), (Option.BLOCK2, write_block(block)))
        if block.number == 0:
            options += ((Option.SIZE2, uint(len(download.payload))),)
        return Answer(download.code, payload, options)

    def _assemble(self, peer: Peer, path: str, block: Block, block2: Block | None) -> Answer | Later:
        """Add a block to an upload, and deliver the message with the last block."""
        request = peer.request
        fault = fault_of(block, request.payload)
        if fault is not None:
            return self._bad_block(peer, fault)
        announced = int.from_bytes(option_of(request, Option.SIZE1) or b"", "big")
        key, now = _key(peer, path), self._clock.monotonic()
        step, upload = self.uploads.take(key, block, request.payload, announced, now)
        echo = ((Option.BLOCK1, write_block(block)),)
        match step:
            case Step.CONTINUE:
                if block.number == 0:
                    self._reception.sessions.contacted(
                        peer.device, peer.remote, transport=self._transport, session=peer.session
                    )
                return Answer(Code.CONTINUE, options=echo)
            case Step.COMPLETE:
                answer = self._deliver(peer, path, bytes(upload.octets), block2)

                def finish(found: Answer) -> Answer:
                    finished = replace(found, options=tuple(sorted((*found.options, *echo))))
                    self.uploads.finish(key, upload, replace(finished, downstream=None), now)
                    return finished

                return finish(answer) if isinstance(answer, Answer) else Later(_then(answer.answer, finish))
            case Step.REPEATED:
                assert upload.answer is not None, "finished uploads have an answer"
                return upload.answer
            case Step.MISSING:
                expected = len(upload.octets) // block.size
                self._reject(peer, MessageRejectedReason.BLOCK_MISSING, expected=expected, received=block.number)
                text = f"block {expected} was expected, {block.number} came"
                return Answer(Code.REQUEST_ENTITY_INCOMPLETE, text.encode(), echo)
            case Step.TOO_LARGE:
                size = max(announced, block.number * block.size + len(request.payload))
                self._reject(peer, MessageRejectedReason.TOO_LARGE, size=size, limit=self._max_payload)
                return self._too_large()
            case _:
                assert_never(step)

    def _too_large(self) -> Answer:
        text = f"at most {self._max_payload} octets"
        return Answer(Code.REQUEST_ENTITY_TOO_LARGE, text.encode(), ((Option.SIZE1, uint(self._max_payload)),))

    def _bad_block(self, peer: Peer, detail: str) -> Answer:
        self._reject(peer, MessageRejectedReason.MALFORMED, detail=detail)
        return Answer(Code.BAD_REQUEST, detail.encode())

    def _method_not_allowed(self, peer: Peer) -> Answer:
        method = name_of_method(peer.request.code)
        self._reject(peer, MessageRejectedReason.METHOD_NOT_ALLOWED, detail=f"{method}, wanted POST or GET")
        return Answer(Code.METHOD_NOT_ALLOWED, f"{method} is not served; use POST or GET".encode())

    def _reject(
        self,
        peer: Peer,
        reason: MessageRejectedReason,
        *,
        size: int | None = None,
        detail: str | None = None,
        expected: int | None = None,
        received: int | None = None,
        limit: int | None = None,
        mark: Mark | None = None,
    ) -> None:
        self._reception.rejections.rejected(
            reason,
            device=peer.device,
            remote=peer.remote,
            transport=self._transport,
            size=size,
            detail=detail,
            expected=expected,
            received=received,
            limit=limit,
            mark=mark,
        )


def _key(peer: Peer, path: str) -> Key:
    return peer.address, (peer.device.id, path)


async def _then(answer: Awaitable[Answer], finish: Callable[[Answer], Answer]) -> Answer:
    return finish(await answer)


def _etag(payload: bytes) -> bytes:
    """Return an entity tag for a payload without an id (RFC 7252 §5.10.6)."""
    return crc32(payload).to_bytes(4, "big")


_CREATED: Final = Answer(Code.CREATED)
