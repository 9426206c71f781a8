"""Media types of blobs."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from span_events.fleet.blobs.media_types import LOOKED_AT, media_type


def zipped() -> bytes:
    """Make an archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", "b")
    return archive.getvalue()


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\x00", "image/png"),
        (b"GIF89a\x01", "image/gif"),
        (b"%PDF-1.7", "application/pdf"),
        (zipped(), "application/zip"),
        (gzip.compress(b"x", mtime=0), "application/gzip"),
        (b' {"a": 1}', "application/json"),
        (b"[1, 2]", "application/json"),
        ("a line\n\u00e9".encode(), "text/plain; charset=utf-8"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"text\x00", "application/octet-stream"),
        (b"\xff\xfe", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_first_octets_give_the_media_type(octets: bytes, found: str) -> None:
    assert media_type(octets) == found


def test_a_character_cut_in_two_is_still_text() -> None:
    """Only the first octets are examined, wherever they end."""
    assert media_type(("a" + "é" * LOOKED_AT).encode()[:LOOKED_AT]) == "text/plain; charset=utf-8"


def test_the_declared_type_precedes_a_guess_at_text() -> None:
    """With its parameters."""
    assert media_type(b"a,b", "Text/CSV; charset=latin-1") == "Text/CSV; charset=latin-1"


def test_a_signature_precedes_the_declared_type() -> None:
    assert media_type(b"\xff\xd8\xff", "text/plain") == "image/jpeg"


@pytest.mark.parametrize(
    "declared",
    [
        "application/x-www-form-urlencoded",
        "application/binary",
        "application/octet-stream",
        "nonsense",
        "a/b\r\nX: y",
        "text/" + "x" * 200,
    ],
)
def test_a_meaningless_declared_type_is_ignored(declared: str) -> None:
    """The first is curl's default for any content."""
    assert media_type(b"{}", declared) == "application/json"
