"""Types of settings: each checks its values, and words its faults for the operator."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

T = TypeVar("T")
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Octets = Annotated[int, Field(ge=1)]
Buffer = Annotated[int, Field(ge=1, le=(1 << 31) - 1)]
"""Octets of a socket buffer, up to the largest value that the kernel takes."""


def _whole_number(value: object) -> object:
    """Take the text of an environment variable as the number that it is."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


BlockSize = Annotated[Literal[16, 32, 64, 128, 256, 512, 1024], BeforeValidator(_whole_number)]
"""Octets of a block of CoAP (RFC 7959)."""
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Number per second."""


_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}$)(\*\.)?({_LABEL}\.)*{_LABEL}")


def _host_name(text: str) -> str:
    """Take an IP address, or a host name as certificates spell it (RFC 5890: lower case, ASCII)."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        lower = text.lower()
        if not _DNS_NAME.fullmatch(lower):
            raise ValueError(f"{text!r} is neither an IP address nor a host name") from None
        return lower


HostName = Annotated[str, AfterValidator(_host_name)]


def _pool_prefix(text: str) -> str:
    """Take a prefix that addresses can be given out of: /64 prefixes, where it is IPv6."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a prefix of addresses: {exc}") from None
    if network.version == 6 and network.prefixlen > 64:
        raise ValueError(f"{text!r} has no room for /64 prefixes, and that is what a device gets of IPv6")
    return str(network)


PoolPrefix = Annotated[str, AfterValidator(_pool_prefix)]


def _address(text: object) -> object:
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


Address = Annotated[ipaddress.IPv4Address | ipaddress.IPv6Address, BeforeValidator(_address)]


def _prefix(text: object) -> object:
    """Accept an IP address or prefix, except one that contains every address."""
    try:
        found = ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an IP address nor a prefix") from None
    if "/" in str(text) and ipaddress.ip_interface(str(text)).ip != found.network_address:
        raise ValueError(f"{text!r} is an address in {found}: which of them?")
    if found.prefixlen == 0:
        raise ValueError(f"{text!r} is every address")
    return found


Prefix = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_prefix)]


_MAX_HOST: Final = 24
_MAX_PATH: Final = 9
_PATH: Final = re.compile("(/[A-Za-z0-9_-]+)+")
_TAKEN: Final = frozenset({"/u", "/blob"})


def _download_host(text: str) -> str:
    """Take a host that fits into the buffers of devices (`wire.fota`), or nothing."""
    host = text and _host_name(text)
    if len(host) > _MAX_HOST:
        raise ValueError(f"{text!r} has {len(host)} characters, devices have room for {_MAX_HOST}")
    return host


def _download_path(text: str) -> str:
    """Take a path that fits into the buffers of devices, and into CoAP as it is."""
    if len(text) > _MAX_PATH or not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not a / and letters, digits, - or _, {_MAX_PATH} characters at most")
    if text in _TAKEN:
        raise ValueError(f"{text!r} is the path of something else")
    return text


DownloadHost = Annotated[str, AfterValidator(_download_host)]
DownloadPath = Annotated[str, AfterValidator(_download_path)]


def _origin(text: str) -> str:
    """Take an origin as browsers send it (RFC 6454 6.2): scheme, host, and a port other than the default."""
    if text in {"null", "*"}:
        return text
    scheme, separator, rest = text.partition("://")
    if not separator or not scheme:
        raise ValueError(f"{text!r} is no origin, as it has no scheme: https://{text.strip('/')}")
    if not rest or "/" in rest:
        raise ValueError(f"{text!r} is no origin, as it does not end after host and port")
    return text


Origin = Annotated[str, AfterValidator(_origin)]


def setting(default: T, meaning: str) -> T:
    """Declare a setting; ``meaning`` ends up as the comment in the configuration file."""
    field: T = Field(default=default, description=meaning)
    return field


def secret_in(path: str) -> str:
    """Read a file that holds a secret."""
    try:
        return Path(path).read_text("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ValueError(f"{path} cannot be read: {why}") from exc
