"""
Heads of HTTP/1.x requests (RFC 9112), strictly read, and the replies to them: what an upload needs.

h11 would do for well-behaved clients. It does not say at which octet a head is wrong, nor that a client speaks TLS, and
that is what a developer wants to know; and it refuses what small devices send and we understand: requests without Host,
and after an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from span_events.errors import MalformedMessage

MAX_HEAD: Final = 8_192
"""Octets of a request line and fields together at most; RFC 9112 §3 asks for 8000 of a request line."""
_END: Final = re.compile(rb"\r?\n\r?\n")
"""An empty line; a bare LF counts as the end of a line (RFC 9112 §2.2)."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 §5.6.2."""
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no field value may hold (RFC 9110 §5.5)."""
_TLS_HANDSHAKE: Final = 0x16
_AUTHORITY: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_LENGTH_DIGITS: Final = 18
_SHOWN: Final = 60
"""Characters of what a client sent that a message quotes."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its content."""

    method: str
    path: str
    """Of the target, as it was sent: without authority and query, ``/`` if there is nothing else."""
    fields: Mapping[str, str]
    """By name in lower case; of a repeated one all values, with commas."""
    length: int | None
    """Octets of the content; None if they are not announced."""

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a go-ahead (RFC 9110 §10.1.1)."""
        return self.fields.get("expect", "").lower() == "100-continue"


def end_of_head(octets: bytes) -> int | None:
    """
    Find where the content begins; None if the head is not complete.

    Raises:
        MalformedMessage: What there is cannot become the head of a request.
    """
    begin = _begin(octets)
    found = _END.search(octets, begin)
    end = len(octets) if found is None else found.end()
    if end > MAX_HEAD:
        raise MalformedMessage(f"the head of the request is over {MAX_HEAD} octets", at=MAX_HEAD)
    return None if found is None else end


def decode(octets: bytes) -> Head:
    """
    Read the head of a request, as `end_of_head` has found it.

    Raises:
        MalformedMessage: It breaks RFC 9112.
    """
    at = _begin(octets)
    line, *lines = octets[at:].decode("latin-1").split("\n")
    method, path = _request_line(line.removesuffix("\r"), at)
    at += len(line) + 1
    fields: dict[str, str] = {}
    for each in lines[:-2]:
        name, value = _field(each.removesuffix("\r"), at)
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
        if name == "content-length":
            _check_length(fields[name], at)
        at += len(each) + 1
    length = fields.get("content-length")
    return Head(method, path, fields, None if length is None else int(length))


def encode_reply(
    status: HTTPStatus, text: str, *, date: str, fields: Iterable[tuple[str, str]] = (), with_content: bool = True
) -> bytes:
    """
    Write a reply that ends its connection.

    Args:
        text: The content, one line.
        date: As RFC 9110 §5.6.7 wants it.
        fields: Besides the usual ones.
        with_content: False for the reply to a HEAD.
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
"""Lets a client begin to send that waits for it."""


def _begin(octets: bytes) -> int:
    """Skip empty lines before the request (RFC 9112 §2.2); refuse at once what is no HTTP."""
    at = len(octets) - len(octets.lstrip(b"\r\n"))
    if at < len(octets) and octets[at] == _TLS_HANDSHAKE:
        raise MalformedMessage("this is TLS, wanted HTTP; HTTPS has a port of its own", at=at)
    if at < len(octets) and not _TOKEN.match(chr(octets[at])):
        raise MalformedMessage(f"octet 0x{octets[at]:02x} is no begin of an HTTP request", at=at)
    return at


def _request_line(line: str, at: int) -> tuple[str, str]:
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
    return method, _text_of(re.split("[?#]", path, maxsplit=1)[0]) or "/"


def _text_of(path: str) -> str:
    """Read a path whose octets are UTF-8 as that; what is not stays Latin-1, of which each octet is a character."""
    try:
        return path.encode("latin-1").decode()
    except UnicodeDecodeError:
        return path


def _check_length(text: str, at: int) -> None:
    """Two lengths are refused even if they agree: something between the client and us is broken (RFC 9112 §6.3)."""
    if not (text.isascii() and text.isdigit()) or len(text) > _LENGTH_DIGITS:
        raise MalformedMessage(f"Content-Length is {text[:_SHOWN]!r}, wanted one decimal number", at=at)


def _field(line: str, at: int) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):  # also the old folding of lines, and a space before the colon
        raise MalformedMessage(f"a header line is {line[:_SHOWN]!r}, wanted NAME: VALUE", at=at)
    forbidden = _FORBIDDEN.search(value)
    if forbidden:
        raise MalformedMessage(
            f"the value of {name[:_SHOWN]} holds octet 0x{ord(forbidden[0]):02x}",
            at=at + len(name) + 1 + forbidden.start(),
        )
    return name.lower(), value.strip(" \t")
