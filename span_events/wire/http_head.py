"""
Heads of HTTP/1.x requests (RFC 9112) and their replies, as uploads need them; the decoder is strict.

h11 would suffice for correct clients, but its errors name neither the wrong octet nor a client that speaks TLS, which
developers need for a diagnosis. It also rejects two clear faults of small devices: a request without Host, and a
request after an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from span_events.errors import MalformedMessage

MAX_HEAD: Final = 8_192
"""Octets of request line and fields at most; RFC 9112 §3 requires at least 8000 for a request line."""
_END: Final = re.compile(rb"\r?\n\r?\n")
"""An empty line; a bare LF counts as the end of a line (RFC 9112 §2.2)."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110 §5.6.2)."""
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Octets that a field value must not contain (RFC 9110 §5.5)."""
_TLS_HANDSHAKE: Final = 0x16
_AUTHORITY: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_LENGTH_DIGITS: Final = 18
_SHOWN: Final = 60
"""Characters of a client's input that an error message quotes at most."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its content."""

    method: str
    path: str
    """Path of the target as it was sent: without authority and query; ``/`` if it is empty."""
    fields: Mapping[str, str]
    """Values by name in lower case; the values of a repeated field are joined with commas."""
    length: int | None
    """Octets of the content; None without Content-Length."""

    @property
    def is_chunked(self) -> bool:
        """True if the content comes in chunks (RFC 9112 §7.1)."""
        return self.fields.get("transfer-encoding", "").lower() == "chunked"

    @property
    def expects_continue(self) -> bool:
        """True if the client waits for ``100 Continue`` (RFC 9110 §10.1.1)."""
        return self.fields.get("expect", "").lower() == "100-continue"


def end_of_head(octets: bytes) -> int | None:
    """
    Return the offset at which the content begins; None if the head is incomplete.

    Raises:
        MalformedMessage: The octets cannot be the begin of a valid head.
    """
    begin = _begin(octets)
    found = _END.search(octets, begin)
    end = len(octets) if found is None else found.end()
    if end > MAX_HEAD:
        raise MalformedMessage(f"the head of the request is over {MAX_HEAD} octets", at=MAX_HEAD)
    return None if found is None else end


def decode(octets: bytes) -> Head:
    """
    Decode the head of a request, up to the offset that `end_of_head` returned.

    Raises:
        MalformedMessage: The head violates RFC 9112.
    """
    at = _begin(octets)
    line, *lines = octets[at:].decode("latin-1").split("\n")
    method, path, version = _request_line(line.removesuffix("\r"), at)
    at += len(line) + 1
    fields: dict[str, str] = {}
    for each in lines[:-2]:
        name, value = _field(each.removesuffix("\r"), at)
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
        if name == "content-length":
            _check_length(fields[name], at)
        at += len(each) + 1
    length = fields.get("content-length")
    if "transfer-encoding" in fields and (length is not None or version == "HTTP/1.0"):
        other = "Content-Length" if length is not None else "HTTP/1.0"
        raise MalformedMessage(f"Transfer-Encoding and {other} exclude each other (RFC 9112 6.1)", at=at)
    return Head(method, path, fields, None if length is None else int(length))


def encode_reply(
    status: HTTPStatus, text: str, *, date: str, fields: Iterable[tuple[str, str]] = (), with_content: bool = True
) -> bytes:
    """
    Encode a reply that closes its connection.

    Args:
        text: The content, one line.
        date: Current time in the format of RFC 9110 §5.6.7.
        fields: Additional fields.
        with_content: False for the reply to a HEAD request.
    """
    content = f"{text}\n".encode()
    written = [
        f"HTTP/1.1 {status} {status.phrase}",
        f"Date: {date}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in fields),
        "Connection: close",
    ]
    return "\r\n".join((*written, "", "")).encode("latin-1") + (content if with_content else b"")


CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The go-ahead for a client that waits for it before it sends the content."""


def _begin(octets: bytes) -> int:
    """Skip empty lines before the request (RFC 9112 §2.2); raise at once if the first octet is not HTTP."""
    at = len(octets) - len(octets.lstrip(b"\r\n"))
    if at < len(octets) and octets[at] == _TLS_HANDSHAKE:
        raise MalformedMessage("this is TLS, wanted HTTP; HTTPS has a port of its own", at=at)
    if at < len(octets) and not _TOKEN.match(chr(octets[at])):
        raise MalformedMessage(f"octet 0x{octets[at]:02x} is no begin of an HTTP request", at=at)
    return at


def _request_line(line: str, at: int) -> tuple[str, str, str]:
    method, first, rest = line.partition(" ")
    target, second, version = rest.partition(" ")
    if not _TOKEN.fullmatch(method) or not first or not second:
        raise MalformedMessage(f"the request line is {line[:_SHOWN]!r}, wanted METHOD TARGET HTTP/1.1", at=at)
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise MalformedMessage(
            f"the version is {version[:_SHOWN]!r}, wanted HTTP/1.1", at=at + len(line) - len(version)
        )
    if not target or _FORBIDDEN.search(target) or "\t" in target:
        raise MalformedMessage(f"the target is {target[:_SHOWN]!r}, wanted a path", at=at + len(method) + 1)
    path = _AUTHORITY.sub("", target, count=1) if "://" in target else target
    return method, _text_of(re.split("[?#]", path, maxsplit=1)[0]) or "/", version


def _text_of(path: str) -> str:
    """Decode a path as UTF-8; a path that is not UTF-8 stays Latin-1, with one character per octet."""
    try:
        return path.encode("latin-1").decode()
    except UnicodeDecodeError:
        return path


def _check_length(text: str, at: int) -> None:
    """Raise unless there is one decimal length: two, even equal ones, mean a faulty proxy (RFC 9112 §6.3)."""
    if not (text.isascii() and text.isdigit()) or len(text) > _LENGTH_DIGITS:
        raise MalformedMessage(f"Content-Length is {text[:_SHOWN]!r}, wanted one decimal number", at=at)


def _field(line: str, at: int) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):  # also for obsolete line folding, and for a space before the colon
        raise MalformedMessage(f"a header line is {line[:_SHOWN]!r}, wanted NAME: VALUE", at=at)
    forbidden = _FORBIDDEN.search(value)
    if forbidden:
        raise MalformedMessage(
            f"the value of {name[:_SHOWN]} holds octet 0x{ord(forbidden[0]):02x}",
            at=at + len(name) + 1 + forbidden.start(),
        )
    return name.lower(), value.strip(" \t")
