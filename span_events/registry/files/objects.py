"""
The client of an object store with S3's API: bounded transfers, and a state that every node shows.

A failed request marks the store as away. While it is away, requests are refused at once, so that no upload waits for
time-outs; `BucketFiles.check` asks every other second, and an answer ends that state.
"""

from __future__ import annotations

import asyncio
import configparser
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from span_events.clock import Clock
from span_events.config import FilesConfig
from span_events.config.sections.files import Bucket
from span_events.errors import ConfigurationError, StorageUnavailable
from span_events.log import get_logger
from span_events.metrics import Metric

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Store

log = get_logger("files")

_CONNECT: Final = timedelta(seconds=2)
"""Time for a connection to be established."""
_RETRIES: Final = 2
"""Retries of one request after a failure that may pass; within `_RETRY`."""
_RETRY: Final = timedelta(seconds=5)
_CHECK: Final = 2.0
"""Seconds for the answer to a check."""
_PART: Final = 8 << 20
"""Octets of a part of a larger upload."""
_PARTS: Final = 2
"""Parts in memory at a time."""
_PIECE: Final = 1 << 20
"""Octets of a download that are handed on together."""
_KEY_ID, _SECRET = "aws_access_key_id", "aws_secret_access_key"
_STATUS: Final = re.compile(r"status code: (\d{3})")
_INNERMOST: Final = re.compile(r'message: "([^"]+)"|<Message>([^<]+)</Message>')


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list."""

    key: str
    """Below the prefix of the store."""
    modified: datetime


class ObjectStore:
    """
    One prefix in a bucket.

    Raises:
        ConfigurationError: The credentials cannot be read, or obstore is not installed.
    """

    def __init__(self, bucket: Bucket, config: FilesConfig, clock: Clock) -> None:
        self._name = str(bucket)
        self._clock = clock
        self._timeout = config.timeout
        self._store = _client(bucket, config)
        self._transfers = asyncio.Semaphore(config.transfers)
        self.fault = ""
        """Reason why requests are refused; empty while the store answers."""
        self._away_since = 0.0
        self.requests = 0
        self.failures = 0
        self.received = 0
        """Octets of objects that were fetched."""

    async def put(self, key: str, content: Path | bytes) -> None:
        """Store an object; it exists whole or not at all."""

        async def work() -> None:
            await self._store.put_async(key, content, chunk_size=_PART, max_concurrency=_PARTS)

        await self._request("stored", key, work)

    async def get(self, key: str, take: Callable[[bytes], Awaitable[None]]) -> None:
        """
        Fetch an object, piece by piece.

        Raises:
            StorageUnavailable: The object is missing, or the store cannot be used.
        """

        async def work() -> None:
            found = await self._store.get_async(key)
            async for piece in found.stream(min_chunk_size=_PIECE):
                octets = bytes(piece)
                self.received += len(octets)
                await take(octets)

        await self._request("fetched", key, work)

    async def delete(self, key: str) -> None:
        """Delete an object if it exists."""

        async def work() -> None:
            await self._store.delete_async(key)

        await self._request("deleted", key, work)

    async def listed(self, prefix: str) -> list[Listed]:
        """List the objects below a prefix. The store is asked even while it is away; an answer ends that state."""
        with self._translated("listed", prefix):
            async with asyncio.timeout(_CHECK):
                found = [
                    Listed(each["path"], each["last_modified"])
                    async for page in self._store.list(prefix)
                    for each in page
                ]
        self._back()
        return found

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric("object_store_up", "1 while the object store answers.", "gauge", lambda: not self.fault),
            Metric("object_store_requests", "Requests to the object store.", "counter", lambda: self.requests),
            Metric("object_store_failures", "Requests that failed.", "counter", lambda: self.failures),
            Metric("object_store_received_bytes", "Bytes of fetched objects.", "counter", lambda: self.received),
        ]

    async def _request(self, what: str, key: str, work: Callable[[], Awaitable[None]]) -> None:
        async with self._transfers:
            if self.fault:
                raise StorageUnavailable(self.fault)
            with self._translated(what, key):
                async with asyncio.timeout(self._timeout):
                    await work()

    @contextmanager
    def _translated(self, what: str, key: str) -> Iterator[None]:
        from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra

        self.requests += 1
        try:
            yield
        except FileNotFoundError as exc:
            raise StorageUnavailable(f"{self._name}/{key}: is missing, or its bucket is") from exc
        except TimeoutError as exc:
            raise self._failed(what, key, "no answer in time", _UNREACHABLE) from exc
        except BaseError as exc:
            raise self._failed(what, key, _cause(exc), _hint(exc)) from exc

    def _failed(self, what: str, key: str, cause: str, hint: str) -> StorageUnavailable:
        self.failures += 1
        if not self.fault:
            self._away_since = self._clock.monotonic()
            log.error("object_store_away", url=self._name, cause=cause, hint=f"{hint} {_MEANWHILE}")
        self.fault = f"{self._name}: cannot be used: {cause}"
        return StorageUnavailable(f"{self._name}/{key}: cannot be {what}: {cause}")

    def _back(self) -> None:
        if self.fault:
            away = round(self._clock.monotonic() - self._away_since, 1)
            log.info("object_store_back", url=self._name, away=away)
            self.fault = ""


_MEANWHILE: Final = (
    "Until then, uploads are refused with 503, and images with a local copy are served. It is asked every 2 s."
)
_UNREACHABLE: Final = "Start the object store, or correct the endpoint in files.url."
_REFUSED: Final = (
    "Give files.credentials_file the keys of the object store; they need to list, read, write and delete objects."
)
_NO_BUCKET: Final = "Make the bucket, or correct its name in files.url."
_OTHER: Final = "The object store's own log has the reason."
_HINTS: Final = {"401": _REFUSED, "403": _REFUSED, "404": _NO_BUCKET}
"""Hints for statuses of the object store."""


def _client(bucket: Bucket, config: FilesConfig) -> S3Store:
    try:
        from obstore.store import S3Store  # noqa: PLC0415  # an extra
    except ImportError as exc:
        raise ConfigurationError(
            [f"files.url: an object store needs obstore: {exc}"], hint="pip install 'span-events[s3]'"
        ) from exc
    options: ClientConfig = {
        "allow_http": bucket.endpoint.startswith("http:"),
        "connect_timeout": _CONNECT,
        "timeout": timedelta(seconds=config.timeout),
    }
    if config.ca_file:
        options["root_certificate"] = _read("files.ca_file", config.ca_file)
    settings = _credentials(config.credentials_file)
    settings["region"] = bucket.region
    if bucket.endpoint:
        settings["endpoint"] = bucket.endpoint
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=settings,
        client_options=options,
        retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY},
    )


def _credentials(path: str) -> S3Config:
    """Read a file in the form of ~/.aws/credentials; without one, obstore asks environment and machine."""
    if not path:
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read("files.credentials_file", path).decode())
        found = parser["default"]
        return {"access_key_id": found[_KEY_ID], "secret_access_key": found[_SECRET]}
    except (configparser.Error, UnicodeDecodeError, KeyError):  # their messages may quote a secret
        fault = f"files.credentials_file: {path} needs [default] with {_KEY_ID} and {_SECRET}"
        raise ConfigurationError([fault]) from None


def _read(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise ConfigurationError([f"{setting}: {path} cannot be read: {exc.strerror}"]) from exc


def _hint(error: Exception) -> str:
    """Return the next thing to try; obstore has a class for some of these errors, and not for those of a list."""
    status = _STATUS.search(str(error))
    return _HINTS.get(status[1], _OTHER) if status else _UNREACHABLE


def _cause(error: Exception) -> str:
    """Return the innermost message of the store or the network; obstore's own text spreads over many lines."""
    text = str(error)
    found = _INNERMOST.findall(text)
    return "".join(found[-1]) if found else text.partition("\n")[0][:200]
