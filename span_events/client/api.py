"""A small client of the REST API: documents in and out, and every failure as one of our errors."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from span_events import __version__, errors
from span_events.errors import InvalidRequest, RequestError, ServerUnreachable, Unauthenticated, where_ids_are

USER_AGENT: Final = f"span-events/{__version__}"
_EXTENDED: Final = {"extended": "1"}
"""Query of every request: replies also have the fields that Span's API does not have."""
_WARNING: Final = "X-Warning"
_TIMEOUT: Final = 30.0
_CONNECT_TIMEOUT: Final = 10.0

_BY_STATUS: Final[Mapping[int, type[RequestError]]] = {
    each.status: each
    for each in (
        errors.InvalidRequest,
        errors.Unauthenticated,
        errors.AccessDenied,
        errors.NotFound,
        errors.Conflict,
        errors.PreconditionFailed,
        errors.TooLarge,
        errors.LimitReached,
        errors.Unavailable,
    )
}


class UnexpectedReply(RequestError):
    """The server answered, but not as this API does."""

    code: ClassVar[str] = "unexpected_reply"
    hint = "Is --endpoint a span-events server, and no other program or failing proxy? The server's log may say why."


class Client:
    """
    Speaks to one server.

    Args:
        endpoint: ``http://host:port`` or ``https://host:port``, also with ``/span`` behind it.
        token: API token; empty sends none.
        on_warning: Takes each warning of the server: names in a request that it does not know, and ignores.

    Raises:
        InvalidRequest: The endpoint is no such URL, or the token cannot be one.
    """

    def __init__(self, endpoint: str, token: str, *, on_warning: Callable[[str], None] = lambda _: None) -> None:
        self.base = _base(endpoint)
        self._token = _checked(token)
        self._on_warning = on_warning
        self._http: aiohttp.ClientSession | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request, that for a WebSocket included."""
        return {"X-API-Token": self._token} if self._token else {}

    @property
    def has_token(self) -> bool:
        """Return whether requests carry a token."""
        return bool(self._token)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", **self.headers}
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._http is not None
        await self._http.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        within: float = _TIMEOUT,
    ) -> dict[str, Any]:
        """
        Make one request.

        Args:
            within: Limit of the request in seconds.

        Raises:
            RequestError: The server refused the request; the class stands for the status.
            ServerUnreachable: There was no answer.
        """
        octets = await self._exchange(method, path, body, query={**_EXTENDED, **(query or {})}, within=within)
        return _document(octets, f"{method} {path}")

    async def fetch(self, path: str, *, within: float = _TIMEOUT) -> bytes:
        """
        Get octets instead of a document; raises the errors of `request`.

        Args:
            within: Limit of the request in seconds.
        """
        return await self._exchange("GET", path, within=within)

    async def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        within: float,
    ) -> bytes:
        assert self._http is not None, "use the client as a context manager"
        content = None if body is None else orjson.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._http.request(
                method,
                self.base + path,
                data=content,
                headers=kind,
                params=query,
                timeout=aiohttp.ClientTimeout(total=within, sock_connect=_CONNECT_TIMEOUT),
            ) as reply:
                octets = await reply.read()
        except TimeoutError as exc:
            raise ServerUnreachable(f"{self.base} did not answer within {within:.0f} s") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise unreachable(self.base, exc) from exc
        if warning := reply.headers.get(_WARNING):
            self._on_warning(warning)
        if reply.status >= 300:
            raise refusal(reply.status, octets, has_token=self.has_token)
        return octets


def refusal(status: int, body: bytes, *, has_token: bool) -> RequestError:
    """
    Build the error of a refused request.

    Args:
        status: HTTP status, 300 or above.
        body: A problem document (RFC 9457) if the server is ours, anything if it is not.
        has_token: True if a token was sent, which changes the hint of a 401.
    """
    problem = _problem(body)
    kind = _BY_STATUS.get(status, UnexpectedReply)
    detail = _text(problem, "detail") or _text(problem, "message") or _text(problem, "title")
    if not detail:
        detail, kind = f"The server answered {status}{_phrase(status)}", _BY_STATUS.get(status, UnexpectedReply)
    hint = _text(problem, "hint")
    if status == Unauthenticated.status and not has_token:
        hint = "Give --token or SPAN_API_TOKEN; `span-events token create --data-dir DIR` makes a token."
    field = _text(problem, "field")
    if kind is errors.NotFound and not hint:
        hint = where_ids_are(field)
    return kind(detail, hint=hint, field=field)


def unreachable(base: str, cause: BaseException) -> ServerUnreachable:
    """Build the error of a failed connection."""
    os_error = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
    error: ServerUnreachable
    if isinstance(cause, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        error = ServerUnreachable(f"The certificate of {base} is not trusted: {_reason(cause)}")
        error.hint = "SSL_CERT_FILE=/path/to/ca.crt names a certificate authority to trust; check the host name, too."
    elif isinstance(cause, aiohttp.ClientSSLError | ssl.SSLError):
        error = ServerUnreachable(f"{base} does not speak TLS as we do: {_reason(cause)}")
        error.hint = "If the server has no TLS, write http:// in --endpoint or SPAN_API_ENDPOINT."
    elif isinstance(os_error, ConnectionRefusedError):
        error = ServerUnreachable(f"Nothing listens at {base} (connection refused)")
    else:
        error = ServerUnreachable(f"Cannot reach {base}: {_reason(os_error)}")
    return error


def _reason(cause: BaseException) -> str:
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):  # first: it is an SSLCertVerificationError, too
        return _reason(cause.certificate_error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


def _base(endpoint: str) -> str:
    base = endpoint.strip().rstrip("/").removesuffix("/span")
    scheme, separator, rest = base.partition("://")
    if not separator:
        raise InvalidRequest(f"The endpoint {endpoint!r} is no URL", hint=f"Write it with its scheme: http://{base}")
    if scheme not in {"http", "https"} or not _is_host_and_port(rest):
        raise InvalidRequest(
            f"The endpoint {endpoint!r} is not http://HOST:PORT or https://HOST:PORT",
            hint="The API is spoken over http:// or https://; `span-events tail` makes ws:// of that itself.",
        )
    return base


def _checked(token: str) -> str:
    """Take a token without the white space around it, which a file or a copy brings along."""
    text = token.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidRequest(
            "The token holds a character that no token has", hint="Copy it again: it is one word of letters and digits."
        )
    return text


def _is_host_and_port(rest: str) -> bool:
    try:
        parts = urlsplit(f"//{rest}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _text(problem: dict[str, Any], key: str) -> str:
    """Find a text in a problem, or in the details that Span's shape has."""
    value = problem.get(key)
    if isinstance(value, str):
        return value
    details = problem.get("details")
    for each in details if isinstance(details, list) else ():
        if isinstance(each, dict) and isinstance(each.get(key), str):
            return str(each[key])
    return ""


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _document(octets: bytes, what: str) -> dict[str, Any]:
    try:
        document = orjson.loads(octets)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise UnexpectedReply(f"The answer to {what} is no JSON object: {octets[:60]!r}")
    return document
