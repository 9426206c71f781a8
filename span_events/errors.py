"""
Errors: all exceptions that this package raises on purpose, in one tree::

    SpanEventsError
    ├── ConfigurationError       a setting is wrong; lists every fault with its path
    ├── StorageUnavailable       the data directory or the registry cannot be used
    │   └── DatabaseUnavailable  the registry in PostgreSQL cannot be used
    ├── ListenerUnavailable      a listener could not bind its address
    ├── ServerUnreachable        the command line could not reach a server
    ├── MalformedMessage         octets from the wire break their protocol; says where
    └── RequestError             a request to the API is refused; has an HTTP status
        ├── InvalidRequest       400
        ├── Unauthenticated      401
        ├── AccessDenied         403
        ├── NotFound             404
        ├── Conflict             409
        ├── TooLarge             413
        ├── UnsupportedMedia     415
        ├── UnknownExpectation   417
        ├── UpgradeRequired      426
        ├── LimitReached         429
        │   └── TooManyAttempts
        └── Unavailable          503

``code`` is stable (REST bodies, log fields), ``hint`` names the next thing to try, ``exit_status`` is
the exit status of the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final


class SpanEventsError(Exception):
    """Root of the tree; never raised itself."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    hint: str = ""


class ConfigurationError(SpanEventsError):
    """One or more settings are wrong."""

    code = "configuration"
    exit_status = 2
    hint = "Correct the settings that are named; `span-events config show` explains every one."

    def __init__(self, faults: Sequence[str], *, hint: str = "") -> None:
        super().__init__("\n".join(faults))
        self.hint = hint or type(self).hint
        self.faults = tuple(faults)
        """One sentence a fault, each beginning with the path of the setting (``coap.port: …``)."""


class StorageUnavailable(SpanEventsError):
    """The data directory or the registry in it cannot be used."""

    code = "storage_unavailable"
    exit_status = 4
    hint = "Check that the data directory exists, is writable by this user, and that the disk is not full."


class DatabaseUnavailable(StorageUnavailable):
    """The registry in PostgreSQL cannot be used, by this node or by any that shares it."""

    hint = "Check that PostgreSQL runs, can be reached from here, and knows the role and password of registry.url."


class ListenerUnavailable(SpanEventsError):
    """A listener could not bind its address."""

    code = "listener_unavailable"
    exit_status = 3

    def __init__(self, detail: str, *, hint: str) -> None:
        super().__init__(detail)
        self.hint = hint


class ServerUnreachable(SpanEventsError):
    """The command line could not reach a server."""

    code = "server_unreachable"
    exit_status = 5
    hint = "Is the server running? --endpoint or SPAN_API_ENDPOINT says where (default http://127.0.0.1:8080)."


class MalformedMessage(SpanEventsError):
    """Octets from the wire break their protocol."""

    code = "malformed"

    def __init__(self, detail: str, *, at: int) -> None:
        super().__init__(f"{detail} (octet {at})")
        self.detail = detail
        """The value that was seen, and the one that is valid."""
        self.at = at
        """Index of the octet where parsing stopped, in the datagram."""


class RequestError(SpanEventsError):
    """A request to the API is refused."""

    code = "request"
    status: ClassVar[int] = 500
    """HTTP status."""
    rpc_code: ClassVar[int] = 13
    """google.rpc.Code, for clients that read Span's ``code`` field."""

    def __init__(self, detail: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint or type(self).hint
        self.field = field
        """The parameter or body field that was wrong (``config.ciot.imsi``), if it was one."""


class InvalidRequest(RequestError):
    """The request is wrong in itself; repeating it unchanged is useless."""

    code, status, rpc_code = "invalid_request", 400, 3


class Unauthenticated(RequestError):
    """No credentials, or credentials that we do not know."""

    code, status, rpc_code = "unauthenticated", 401, 16
    hint = "Send a token as X-API-Token; `span-events token create` makes one."


class AccessDenied(RequestError):
    """The credentials are known but do not reach that far."""

    code, status, rpc_code = "access_denied", 403, 7


class NotFound(RequestError):
    """The resource does not exist, or is not in that collection."""

    code, status, rpc_code = "not_found", 404, 5


class Conflict(RequestError):
    """The request contradicts the current state."""

    code, status, rpc_code = "conflict", 409, 9


class PreconditionFailed(RequestError):
    """The resource has another version than the client expects."""

    code, status, rpc_code = "precondition_failed", 412, 9


class TooLarge(RequestError):
    """A body or a payload is over its limit."""

    code, status, rpc_code = "too_large", 413, 3


class UnsupportedMedia(RequestError):
    """The body is compressed, and no body may be."""

    code, status, rpc_code = "unsupported_media", 415, 3


class UnknownExpectation(RequestError):
    """The header Expect names something other than 100-continue."""

    code, status, rpc_code = "unknown_expectation", 417, 3


class UpgradeRequired(RequestError):
    """The URL is a WebSocket, and the request is not a WebSocket handshake."""

    code, status, rpc_code = "upgrade_required", 426, 9
    hint = "Use a WebSocket client: `span-events tail`, wscat, or new WebSocket(…) in a browser."


class LimitReached(RequestError):
    """A bound of the configuration is reached."""

    code, status, rpc_code = "limit_reached", 429, 8


class TooManyAttempts(LimitReached):
    """Too many logins failed in this minute."""

    code = "too_many_attempts"
    hint = "Wait a minute. If you did not try, ask who runs the server: somebody guesses passwords."


class NotServed(RequestError):
    """Span has this, and this server does not."""

    code, status, rpc_code = "not_served", 501, 12


class Unavailable(RequestError):
    """The server cannot take this now; trying later may help."""

    code, status, rpc_code = "unavailable", 503, 14


_LISTED_BY: Final = {
    "blob": "blob list",
    "collection": "collection list",
    "device": "device list",
    "gateway": "gateway list",
    "image": "firmware list",
    "message": "outbox list",
    "output": "output list",
    "token": "token list",
}
"""Commands that list ids, by the kind of resource."""


def where_ids_are(what: str) -> str:
    """Return the hint which command lists such ids; empty if none does."""
    return f"`span-events {_LISTED_BY[what]}` shows the ids." if what in _LISTED_BY else ""
