"""An authority for tests: keys are made once and copied, since making RSA keys takes longer than most tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from span_events.clock import Clock
from span_events.config import PkiConfig
from span_events.pki import files
from span_events.pki.authority import Authority
from tests.bench.clock import START_NS, ManualClock

_MADE: dict[str, bytes] = {}
"""The files of the first authority that was made at the moment where every manual clock begins."""


async def open_authority(folder: Path, clock: Clock | None = None, **settings: Any) -> Authority:
    """Open an authority; a new one with default settings gets the files of the first."""
    clock = clock or ManualClock()
    new = not settings and clock.time_ns() == START_NS and _is_new(folder)
    if new:
        _copy_to(folder)
    authority = await Authority.open(folder, PkiConfig(**settings), clock)
    if new and not _MADE:
        _MADE.update({path.name: path.read_bytes() for path in _files_in(folder)})
    return authority


def _is_new(folder: Path) -> bool:
    return not folder.exists()


def _copy_to(folder: Path) -> None:
    files.prepare_folder(folder)
    for name, content in _MADE.items():
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
