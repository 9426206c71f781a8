"""
Calls of ``ttn.lorawan.v3.Events`` over gRPC: the two methods, and how each call ends.

The connection below carries the octets; a call knows its own stream only.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from span_events import ids
from span_events.dialects.things_stack.errors import (
    INVALID_ARGUMENT,
    ErrorDetails,
    StatusError,
    UndecodableRequest,
    undecodable,
)
from span_events.dialects.things_stack.protobuf import ProtobufDialect, status_of
from span_events.dialects.things_stack.requests import check_correlation_id, of_protobuf
from span_events.errors import RequestError, StorageUnavailable, Unavailable
from span_events.fanout.subscriber import Ending, Stream, Subscriber, encoding
from span_events.log import get_logger
from span_events.proto import things_stack_pb2 as pb
from span_events.web.streams.reading import By
from span_events.web.things_stack.service import EventsService, Subscription, ending_of, of_refusal
from span_events.wire.grpc.connections import Status
from span_events.wire.grpc.server import message_frame
from span_events.wire.recognition import ProtocolName, recognise

log = get_logger("things_stack")

_SERVICE: Final = "/ttn.lorawan.v3.Events/"
STREAM: Final = f"{_SERVICE}Stream"
FIND_RELATED: Final = f"{_SERVICE}FindRelated"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a call, as its trailers say it."""

    status: Status
    text: str = ""
    details: bytes = b""
    at_once: bool = True
    """False if the octets before must leave first."""


class Held(ExitStack):
    """Resources of a call until it ends: the place of a stream among those of its token and its address."""

    reason = ""
    """Reason of the server to end the call; empty if the client ended it."""


class CallLink(Protocol):
    """The stream of a call within its connection."""

    @property
    def remote(self) -> str:
        """Address of the client."""

    def answer(self, metadata: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the headers of the reply."""

    def write(self, data: bytes) -> None:
        """Send framed messages, or buffer them."""

    def get_write_buffer_size(self) -> int:
        """Return the octets that wait for the client."""

    def end(self, end: End) -> None:
        """Send the trailers."""


class Calls:
    """Serves calls."""

    def __init__(self, service: EventsService) -> None:
        self._service = service
        self._dialect = ProtobufDialect(service.host)
        self._encoding = encoding(self._dialect, message_frame, tells_gaps=True)

    async def serve(
        self, path: str, authorization: str, payload: bytes, link: CallLink, held: Held
    ) -> Subscriber | None:
        """
        Serve a call with its request message; return the subscriber of a stream.

        Args:
            path: `STREAM` or `FIND_RELATED`.
            authorization: The metadata of this name.
            held: Closed with the call.
        """
        number = self._service.number()
        try:
            self._service.hub.check_room()
            token = await self._service.authenticate(authorization)
            if path == STREAM:
                request = pb.StreamEventsRequest.FromString(payload)
                subscription = await self._service.permit(of_protobuf(request), token)
                held.enter_context(self._service.admission.hold_address(link.remote, subscription.weight))
                held.enter_context(self._service.admission.hold_token(token, subscription.weight))
                return self._stream(subscription, request, number, link, held)
            related = pb.FindRelatedEventsRequest.FromString(payload)
            found = await self._service.related(check_correlation_id(related.correlation_id), token)
            reply = pb.FindRelatedEventsResponse(
                events=[self._dialect.message(each.activity, redacted=each.redacted) for each in found]
            )
            link.answer(())
            link.write(message_frame(reply.SerializeToString()))
            link.end(End(Status.OK, at_once=False))
        except (DecodeError, UndecodableRequest, StatusError, RequestError, StorageUnavailable) as exc:
            details = _details_of(exc)
            self._service.refused(details, link.remote, path)
            link.end(_end_of(details, number))
        return None

    def broken(self, remote: str, detail: str, begin: bytes) -> None:
        """
        Count and log a connection that is not HTTP/2, or no longer.

        Args:
            begin: The first octets of a connection without a call: they may show what its client speaks.
        """
        if (seen := recognise(begin)) is not None:
            detail = f"the client speaks {seen.protocol} ({seen.words}), and this port gRPC"
            if seen.protocol is ProtocolName.TLS:
                detail += " without TLS; --insecure makes ttn-lw-cli do without"
        error = ErrorDetails("span", "malformed", "{detail}", INVALID_ARGUMENT, {"detail": detail})
        self._service.refused(error, remote, "gRPC")

    def _stream(
        self,
        subscription: Subscription,
        request: pb.StreamEventsRequest,
        number: int,
        link: CallLink,
        held: Held,
    ) -> Subscriber:
        service, wish, token = self._service, subscription.wish, ids.render(subscription.token.id)
        link.answer(((b"warning", subscription.warning.encode()),) if subscription.warning else ())
        start = self._dialect.start(
            service.number(),
            service.clock.time_ns(),
            identifiers=request.identifiers,
            names=subscription.names,
            request_id=ids.to_ulid(number),
        )

        def close(ending: Ending, text: str) -> None:
            held.reason = text
            link.end(_end_of(ending_of(ending, text), number))

        def note_end() -> None:
            by = By.SERVER if held.reason else By.CLIENT
            counts = {"delivered": subscriber.delivered, "dropped": subscriber.dropped}
            log.info("subscriber_left", token=token, by=by.value, reason=held.reason, **counts)

        subscriber = service.hub.subscribe(
            Stream.ACTIVITIES,
            wish.scopes,
            wish,
            self._encoding,
            sink=link,
            token_id=subscription.token.id,
            close=close,
            replay=lambda: (message_frame(start), *service.past(subscription, self._encoding)),
        )
        log.info("subscriber_joined", token=token, path=STREAM, remote=link.remote)
        held.callback(note_end)
        return subscriber


def _end_of(error: ErrorDetails, number: int) -> End:
    numbered = error.numbered(f"{number:032x}")
    return End(Status(numbered.code), numbered.message, status_of(numbered))


def _details_of(error: Exception) -> ErrorDetails:
    if isinstance(error, StatusError):
        return error.details
    if isinstance(error, RequestError):
        return of_refusal(error).details
    if isinstance(error, StorageUnavailable):
        log.error("storage_unavailable", detail=str(error))
        return of_refusal(Unavailable("The server's storage cannot be used now; its log says why")).details
    return undecodable(str(error))
