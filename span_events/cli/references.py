"""
References: a collection, device or gateway as people name it, and the id that it stands for.

An id counts first, then the tag ``name`` (of a gateway also its name), a SIM, hardware, an address, and the
beginning of an id. A reference that fits several resources is refused with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from span_events import ids
from span_events.errors import AccessDenied, InvalidRequest, NotFound, RequestError, where_ids_are
from span_events.wire import imei

Document = Mapping[str, Any]
Fetch = Callable[[str], Document]
"""Gets the document of a path."""

_ID_DIGITS: Final = 14
"""Digits of an id of this server."""
_SHORTEST_BEGINNING: Final = 4
_SHOWN: Final = 10
"""Candidates that a refusal lists."""
_FORMS: Final = {
    "collection": "an id, its beginning, or a tag `name`",
    "device": "an id, its beginning, a tag `name`, an IMSI, an IMEI, or an address",
    "gateway": "an id, its beginning, a name, or a tag `name`",
}


def is_id(text: str) -> bool:
    """Return whether a text is surely an id: 14 digits of base 24. Fewer may be a word, decimal ones an IMEI."""
    return len(text) == _ID_DIGITS and not text.isdigit() and _is_base_24(text)


def resolve(fetch: Fetch, what: str, text: str, *, collection: str | None = None) -> str:
    """
    Return the id of the collection, device or gateway that a reference names.

    Args:
        fetch: Called for lists; never for a text that is surely an id.
        what: ``collection``, ``device`` or ``gateway``.
        collection: Id of the collection of a device or gateway; None searches all that the token reaches.

    Raises:
        InvalidRequest: The reference fits several resources.
        NotFound: Nothing has this id or name.
        RequestError: The list cannot be read.
    """
    if is_id(text):
        return text
    try:
        listed = list(_listed(fetch, what, collection))
    except (AccessDenied, NotFound):
        if _is_base_24(text):
            return text
        raise
    for fits in _TIERS:
        found = [each for each in listed if fits(what, each, text)]
        if len(found) == 1:
            return str(found[0][f"{what}Id"])
        if found:
            raise _ambiguous(what, text, found)
    raise NotFound(f"{text[:40]!r} fits no {what}: give {_FORMS[what]}", hint=where_ids_are(what), field=what)


def _listed(fetch: Fetch, what: str, collection: str | None) -> Iterator[Document]:
    if what == "collection" or collection is None:
        collections: Sequence[Document] = fetch("/span/collections").get("collections") or ()
        if what == "collection":
            yield from collections
            return
        for each in collections:
            yield from _listed(fetch, what, str(each["collectionId"]))
        return
    yield from fetch(f"/span/collections/{collection}/{what}s").get(f"{what}s") or ()


def _has_id(what: str, document: Document, text: str) -> bool:
    return bool(document.get(f"{what}Id") == text)


def _has_name(_what: str, document: Document, text: str) -> bool:
    return text in (document.get("name"), (document.get("tags") or {}).get("name"))


def _has_sim_or_hardware(_what: str, document: Document, text: str) -> bool:
    ciot = (document.get("config") or {}).get("ciot") or {}
    hardware = str(ciot.get("imei") or "")
    same = len(text) in imei.DIGITS and imei.same_hardware(text, hardware)
    return text.isdigit() and (str(ciot.get("imsi")) == text or same)


def _has_address(_what: str, document: Document, text: str) -> bool:
    ciot = (document.get("metadata") or {}).get("ciot") or {}
    return text in (ciot.get("allocatedIp"), ciot.get("staticIp"), ciot.get("allocatedPrefix"))


def _begins_with(what: str, document: Document, text: str) -> bool:
    return len(text) >= _SHORTEST_BEGINNING and str(document.get(f"{what}Id")).startswith(text)


_TIERS: Final = (_has_id, _has_name, _has_sim_or_hardware, _has_address, _begins_with)
"""Ways to fit, the strongest first."""


def _ambiguous(what: str, text: str, found: Sequence[Document]) -> RequestError:
    named = [_name_of(what, each) for each in found[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return InvalidRequest(
        f"{text[:40]!r} fits {len(found)} {what}s: {', '.join(named)}{more}", hint="Give the id of one.", field=what
    )


def _name_of(what: str, document: Document) -> str:
    ciot = (document.get("metadata") or {}).get("ciot") or {}
    name = document.get("name") or (document.get("tags") or {}).get("name")
    notes = ", ".join(str(each) for each in (name, ciot.get("allocatedIp")) if each)
    return f"{document.get(f'{what}Id')} ({notes})" if notes else str(document.get(f"{what}Id"))


def _is_base_24(text: str) -> bool:
    try:
        ids.parse(text)
    except InvalidRequest:
        return False
    return True
