"""Path and query parameters of a request: collections, devices, gateways, images, blobs, outputs, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, Final, TypeVar

from aiohttp import web

from span_events import ids
from span_events.auth import access
from span_events.errors import InvalidRequest
from span_events.registry.model import Blob, Collection, Device, Gateway, Image
from span_events.registry.outputs import Output
from span_events.web.services import SERVICES
from span_events.web.warnings import warn

QUERY: Final = frozenset(
    {
        *("extended", "api_token", "limit", "start", "end", "offset", "upstream", "downstream"),
        *("deviceId", "gatewayId", "event", "id", "version", "label", "imageRef"),
    }
)
"""Query parameters of the API; `version`, `label` and `imageRef` belong to Span's labeled firmware."""
MAX_LIMIT: Final = 1_000
"""Most messages that one reply lists."""
_MAX_MS: Final = 1 << 53
_MAX_SERIAL: Final = (1 << 63) - 1
_RESOURCES: Final = ("collection", "device", "gateway")
_ID: Final[Callable[[Any], int]] = attrgetter("id")
T = TypeVar("T")
_YES_NO: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


def collection_of(request: web.Request) -> Collection:
    """
    Return the collection that the path names.

    Raises:
        InvalidRequest: The path holds no id there.
        NotFound: No collection has this id.
    """
    return request.app[SERVICES].fleet.directory.collection(_path_id(request, "collection"))


def device_of(request: web.Request) -> Device:
    """
    Return the device that the path names.

    Raises:
        InvalidRequest: A part of the path is not an id.
        NotFound: No such collection, or no such device in it.
    """
    directory = request.app[SERVICES].fleet.directory
    return directory.device(_path_id(request, "collection"), _path_id(request, "device"))


def image_of(request: web.Request) -> Image:
    """
    Return the firmware image that the path names.

    Raises:
        InvalidRequest: A part of the path is not an id.
        NotFound: No such collection, or no such image in it.
    """
    collection = collection_of(request)
    return request.app[SERVICES].fleet.directory.images.find(collection.id, _path_id(request, "image"))


def blob_of(request: web.Request) -> Blob:
    """
    Return the blob that the path names.

    Raises:
        InvalidRequest: A part of the path is not an id.
        NotFound: No such collection, or no such blob in it.
    """
    collection = collection_of(request)
    return request.app[SERVICES].fleet.directory.blobs.find(collection.id, _path_id(request, "blob"))


def gateway_of(request: web.Request) -> Gateway:
    """
    Return the gateway that the path names.

    Raises:
        InvalidRequest: A part of the path is not an id.
        NotFound: No such collection, or no such gateway in it.
    """
    directory = request.app[SERVICES].fleet.directory
    return directory.gateway(_path_id(request, "collection"), _path_id(request, "gateway"))


def output_of(request: web.Request) -> Output:
    """
    Return the output that the path names.

    Raises:
        InvalidRequest: A part of the path is not an id.
        NotFound: No such collection, or no such output in it.
    """
    collection = collection_of(request)
    return request.app[SERVICES].fleet.directory.outputs.find(collection.id, _path_id(request, "output"))


def names_known(request: web.Request) -> bool:
    """Return whether this node has all collections, devices and the like that the path names."""
    directory = request.app[SERVICES].fleet.directory
    tables: Mapping[str, Callable[[int], object | None]] = {
        "collection": directory.collections.get,
        "device": directory.devices.get,
        "gateway": directory.gateways.get,
        "image": directory.images.get,
        "blob": directory.blobs.get,
        "output": directory.outputs.get,
    }
    try:
        return all(
            find(_path_id(request, what)) is not None for what, find in tables.items() if what in request.match_info
        )
    except InvalidRequest:  # the handler says so
        return True


def message_id_of(request: web.Request) -> int:
    """
    Return the id of the message that the path names.

    Raises:
        InvalidRequest: The part of the path is not written as an id.
    """
    return _path_id(request, "message")


def serial_of(request: web.Request) -> int:
    """
    Return the serial number of the certificate that the path names.

    Raises:
        InvalidRequest: The part of the path is no number that a certificate of ours can have.
    """
    text = request.match_info["serial"]
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not 0 < int(text) <= _MAX_SERIAL:
        raise InvalidRequest(
            f"{text[:40]!r} is not a serial number: a whole number, decimal, of at most 63 bits", field="serial"
        )
    return int(text)


def query_id_of(request: web.Request, name: str, *, what: str) -> int | None:
    """
    Read an id from the query; absent and empty are None.

    Raises:
        InvalidRequest: The part of the path is not written as an id.
    """
    text = request.query.get(name, "")
    try:
        return ids.parse(text, what=what) if text else None
    except InvalidRequest as exc:
        raise InvalidRequest(f"{name}: {exc.detail}", field=name) from exc


def resource_of(request: web.Request) -> str:
    """
    Return the resource that a token must reach for this path.

    Raises:
        InvalidRequest: A part of the path is not an id.
    """
    named = {what: _path_id(request, what) for what in _RESOURCES if what in request.match_info}
    return access.resource_of(named.get("collection"), device_id=named.get("device"), gateway_id=named.get("gateway"))


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list of messages: a period of time, or the messages older than one of them."""

    limit: int
    before_id: int | None
    start_ms: int | None
    end_ms: int | None


def page_of(request: web.Request, *, default_limit: int) -> Page:
    """
    Read ``limit``, ``start``, ``end`` and ``offset`` from the query; empty values count as absent.

    Raises:
        InvalidRequest: A value is not a valid number, or both kinds of paging are present.
    """
    page = Page(
        limit=_number(request, "limit", most=MAX_LIMIT) or default_limit,
        before_id=query_id_of(request, "offset", what="message"),
        start_ms=_number(request, "start", most=_MAX_MS),
        end_ms=_number(request, "end", most=_MAX_MS),
    )
    if page.before_id is not None and (page.start_ms is not None or page.end_ms is not None):
        raise InvalidRequest(
            "offset: cannot be combined with start or end",
            hint="Page with offset alone: the id of the last message that you have.",
            field="offset",
        )
    if page.start_ms is not None and page.end_ms is not None and page.start_ms > page.end_ms:
        raise InvalidRequest(f"start: {page.start_ms} is after end, {page.end_ms}", field="start")
    return page


def paged(request: web.Request, items: Iterable[T], key: Callable[[T], int] = _ID) -> list[T]:
    """
    Return the page of a list, oldest first, that ``limit`` and ``offset`` of the query ask for; without both, all.

    Args:
        key: Returns the id of an item, by which the pages are ordered.

    Raises:
        InvalidRequest: A value is not valid.
    """
    limit, after = _number(request, "limit", most=_MAX_MS) or None, query_id_of(request, "offset", what="offset")
    return _page(items, limit, after, key)


def paged_by_number(request: web.Request, items: Iterable[T], key: Callable[[T], int]) -> list[T]:
    """Return the page of a list whose ids are decimal; see `paged`."""
    limit, after = _number(request, "limit", most=_MAX_MS) or None, _number(request, "offset", most=_MAX_SERIAL)
    return _page(items, limit, after, key)


def _page(items: Iterable[T], limit: int | None, after: int | None, key: Callable[[T], int]) -> list[T]:
    if limit is None and after is None:
        return list(items)
    ordered = sorted(items, key=key)  # what has moved stands last in the registry
    return list(islice((each for each in ordered if after is None or key(each) > after), limit))


def check_query(request: web.Request) -> None:
    """
    Warn of unknown query parameters, which are mostly misspelt ones.

    Raises:
        InvalidRequest: ``extended`` is neither true nor false.
    """
    for name in request.query:
        if name not in QUERY:
            warn(request, name, "query parameter", QUERY)
    flag_of(request, "extended")


def flag_of(request: web.Request, name: str, *, default: bool = False) -> bool:
    """
    Read a yes or no from the query.

    Args:
        default: Result without the parameter.

    Raises:
        InvalidRequest: The parameter is neither true nor false.
    """
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return _YES_NO[text.lower()]
    except KeyError:
        raise InvalidRequest(f"{name}: {text[:20]!r} is not true or false", field=name) from None


def _path_id(request: web.Request, what: str) -> int:
    return ids.parse(request.match_info[what], what=what)


def _number(request: web.Request, name: str, *, most: int) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > most:
        raise InvalidRequest(f"{name}: {text[:40]!r} is not a whole number from 0 to {most}", field=name)
    return int(text)
