"""An authority for tests: keys are made once and copied, since making RSA keys takes longer than most tests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from span_events.clock import Clock
from span_events.config import PkiConfig
from span_events.pki import files
from span_events.pki.authority import Authority
from tests.bench.clock import START_NS, ManualClock

_MADE: dict[str, dict[str, bytes]] = {}
"""The files of the first authority that was made by a clock of each kind, see `_kind`."""
_PRESENT: Final = 600 * 1_000_000_000
"""Nanoseconds by which a clock may be slow to show the present; certificates are backdated by an hour."""


async def open_authority(folder: Path, clock: Clock | None = None, **settings: Any) -> Authority:
    """Open an authority; a new one with default settings gets the files of the first."""
    clock = clock or ManualClock()
    kind = "" if settings else _kind(clock)
    new = kind and _is_new(folder)
    if new:
        _copy_to(folder, _MADE.get(kind, {}))
    authority = await Authority.open(folder, PkiConfig(**settings), clock)
    if new and kind not in _MADE:
        _MADE[kind] = {path.name: path.read_bytes() for path in _files_in(folder)}
    return authority


async def prepare_authority(folder: Path, clock: Clock, **settings: Any) -> None:
    """Make the files of a new authority as `open_authority` does, for a server that opens it."""
    made = None if settings else _MADE.get(_kind(clock))
    if made:
        _copy_to(folder, made)
    else:
        await open_authority(folder, clock, **settings)


def _kind(clock: Clock) -> str:
    """Name the kind of a clock: one that stands where every manual clock begins, or shows the present; else empty."""
    if clock.time_ns() == START_NS:
        return "start"
    return "present" if 0 <= time.time_ns() - clock.time_ns() < _PRESENT else ""


def _is_new(folder: Path) -> bool:
    return not folder.exists()


def _copy_to(folder: Path, made: Mapping[str, bytes]) -> None:
    files.prepare_folder(folder)
    for name, content in made.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)


def _files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """Read a chain."""
    return x509.load_pem_x509_certificates(pem)


def public_octets(certificate: x509.Certificate) -> bytes:
    """Return the public key as octets that can be compared."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
