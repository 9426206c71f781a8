"""Webhooks: POST requests with messages or events, signed if there is a secret."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from span_events import __version__, ids
from span_events.clock import Clock
from span_events.events.reasons import OutputReason
from span_events.fleet.outputs.health import Failure
from span_events.fleet.outputs.outputs import SECRET_PREFIX
from span_events.net import shown_url
from span_events.outputs.base import DeliveryFailed, Item, unreachable
from span_events.outputs.content import Content
from span_events.outputs.targets import Resolver, SocketAddress, Targets
from span_events.registry.outputs import OutputConfig

_ANSWER: Final = 1024
"""Octets of an answer that are read."""
_ANSWER_TIME: Final = 0.5
"""Seconds that an answer may take behind its status."""
_SHOWN: Final = 200
"""Characters of a fault in an answer."""
_TRANSIENT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Statuses below 500 after which another attempt may succeed."""


class Http:
    """
    An HTTP client for one target: one connection, no redirects, no proxy, checked addresses.

    Args:
        target: URL as events show it.
    """

    def __init__(self, targets: Targets, target: str, *, verify: bool = True) -> None:
        self.target = target
        self._targets = targets
        self._verify = verify
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """
        Send a request, and wait for a status of success.

        Raises:
            DeliveryFailed: There was none.
        """
        if self._session is None:
            self._session = self._open()
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                answer = await _begin_of(response)
                if not 200 <= response.status < 300:
                    raise _refusal(response, answer)
        except aiohttp.ClientConnectorCertificateError as exc:
            raise DeliveryFailed(Failure(OutputReason.TLS_FAILED, str(exc.certificate_error))) from exc
        except (aiohttp.ClientSSLError, ssl.SSLError) as exc:
            raise DeliveryFailed(Failure(OutputReason.TLS_FAILED, str(exc))) from exc
        except OSError as exc:  # aiohttp's ClientOSError, too
            raise unreachable(exc) from exc
        except aiohttp.InvalidURL as exc:  # its text has the whole URL, which may hold a secret
            detail = f"{urlsplit(url).hostname}: {exc.description or 'is not valid'}"
            raise DeliveryFailed(Failure(OutputReason.NOT_RESOLVED, detail)) from exc
        except aiohttp.ClientResponseError as exc:  # likewise
            detail = f"the answer is not valid HTTP: {' '.join(exc.message.split())[:_SHOWN]}"
            raise DeliveryFailed(Failure(OutputReason.TARGET_FAILED, detail), answered=True) from exc
        except aiohttp.ServerDisconnectedError as exc:
            detail = "the target closed the connection without an answer"
            raise DeliveryFailed(Failure(OutputReason.UNREACHABLE, detail)) from exc
        except (aiohttp.ClientError, ValueError) as exc:
            raise DeliveryFailed(Failure(OutputReason.UNREACHABLE, str(exc) or type(exc).__name__)) from exc

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=Resolver(self._targets),
            use_dns_cache=False,
            limit=1,
            ssl=self._verify,
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # the worker limits the whole delivery
            headers={"User-Agent": f"span-events/{__version__}", "Accept-Encoding": "identity"},
        )

    def _socket(self, address: SocketAddress) -> socket.socket:
        """Open a socket for an address; the resolver has not seen one that stands in the URL, however it is written."""
        family, kind, protocol, _, target = address
        host = str(target[0])
        self._targets.check(host, host)
        return socket.socket(family, kind, protocol)


class Webhook:
    """Posts messages or events to a URL."""

    def __init__(self, config: OutputConfig, content: Content, targets: Targets, clock: Clock, *, batch: int) -> None:
        self.target = shown_url(config.url)
        self.batch = batch if content.is_batched else 1
        self._config = config
        self._content = content
        self._clock = clock
        self._http = Http(targets, self.target, verify=not config.disable_cert_check)

    async def send(self, items: Sequence[Item]) -> int:
        """Post items."""
        body = self._content.body(items)
        url, event = self._config.url, self._content.translated(items[0])
        if event is not None:  # ChirpStack's body does not name its kind
            parts = urlsplit(url)
            url = parts._replace(query="&".join(filter(None, (parts.query, f"event={event.kind}")))).geturl()
        await self._http.post(url, body, self._headers(ids.render(items[0].id), body))
        return len(body)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    def _headers(self, identifier: str, body: bytes) -> dict[str, str]:
        config = self._config
        headers = {"Content-Type": self._content.media_type}
        if config.basic_auth_user or config.basic_auth_pass:
            user = f"{config.basic_auth_user}:{config.basic_auth_pass}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"
        if config.custom_header_name:
            headers[config.custom_header_name] = config.custom_header_value
        if config.signing_secret:
            headers |= sign(config.signing_secret, identifier, self._clock.time_ns() // 1_000_000_000, body)
        return headers


def sign(secret: str, identifier: str, second: int, body: bytes) -> dict[str, str]:
    """
    Return the headers of a signed request (Standard Webhooks, symmetric).

    Args:
        secret: ``whsec_`` and base64.
        identifier: The same for each attempt at one delivery, so that the target can recognise repetitions.
        second: Unix time.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.new(key, b"%s.%d.%s" % (identifier.encode(), second, body), hashlib.sha256).digest()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(second),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


async def _begin_of(response: aiohttp.ClientResponse) -> bytes:
    """Return the begin of an answer, as far as it comes: the target has decided with the status."""
    with suppress(aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        async with asyncio.timeout(_ANSWER_TIME):
            return await response.content.read(_ANSWER)
    return b""


def _refusal(response: aiohttp.ClientResponse, answer: bytes) -> DeliveryFailed:
    status = response.status
    text = "".join(each if each.isprintable() else " " for each in answer.decode(errors="replace")).strip()
    location = response.headers.get("Location", "")
    if status < 400 and location:
        failure = Failure(OutputReason.REDIRECTED, shown_url(location)[:_ANSWER], status)
        return DeliveryFailed(failure, answered=True, final=True)
    transient = status >= 500 or status in _TRANSIENT
    reason = OutputReason.TARGET_FAILED if transient else OutputReason.REFUSED
    return DeliveryFailed(
        Failure(reason, status=status, answer=text),
        answered=True,
        final=not transient,
        pause=_pause_of(response.headers),
    )


def _pause_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After (RFC 9110 section 10.2.3); a date counts from that of the answer."""
    after = headers.get("Retry-After", "")
    if after.isascii() and after.isdigit():
        return float(after)
    try:
        return (parsedate_to_datetime(after) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
