"""Files in forms (multipart/form-data)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.http_form import FormReader, boundary_of

FILE = b'Content-Disposition: form-data; name="f"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
FIELD = b'Content-Disposition: form-data; name="unit"\r\n\r\ncelsius'
PHOTO = b"\xff\xd8\r\n--X\r\n-\r\n--B is missing here\xff\xd9\r\n"
UNPACKED = "unpacked from multipart/form-data"


def form(*parts: bytes) -> bytes:
    """Write a form with the boundary BOUND."""
    return b"".join(b"--BOUND\r\n" + part + b"\r\n" for part in parts) + b"--BOUND--\r\n"


def read(octets: bytes, size: int = 1000) -> tuple[bytes, FormReader]:
    """Read a form in pieces."""
    reader = FormReader(b"BOUND")
    found = b"".join(reader.feed(octets[at : at + size]) for at in range(0, len(octets), size))
    return found + reader.end(), reader


@pytest.mark.parametrize("size", [1, 3, 64, 1000])
@pytest.mark.parametrize("photo", [PHOTO, b"", b"\r\n", b"x--BOUND in the middle --BOUND", b"x" * 5_000])
@pytest.mark.parametrize(("before", "after"), [((), ()), ((FIELD,), ()), ((), (FIELD,)), ((FIELD, FIELD), (FIELD,))])
def test_the_file_is_taken_out(size: int, photo: bytes, before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
    """In any segmentation, with and without fields around it."""
    found, reader = read(form(*before, FILE + photo, *after), size)

    assert found == photo
    assert (reader.content_type, reader.note) == ("image/jpeg", UNPACKED)


def test_a_form_without_the_boundary_at_its_end_is_a_file_to_the_end() -> None:
    """Small devices write forms by hand."""
    found, reader = read(b"--BOUND\r\n" + FILE + b"photo")

    assert found == b"photo"
    assert reader.note.endswith("whose boundary after the file is missing")


@pytest.mark.parametrize(
    "octets", [b"", b"just octets", form(FIELD), b"--OTHER\r\n" + FILE + b"photo\r\n--OTHER--\r\n", b"--BOU"]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_other_content_stays_as_it_came(octets: bytes, size: int) -> None:
    found, reader = read(octets, size)

    assert found == octets
    assert reader.note.endswith("the blob holds the boundaries")


def test_a_file_after_too_many_octets_of_fields_stays_as_it_came() -> None:
    """The memory for what comes before the file is bounded."""
    octets = form(*[FIELD] * 200, FILE + b"photo")
    found, _ = read(octets, 100)

    assert found == octets


def test_a_second_file_is_refused() -> None:
    """One blob holds one file."""
    with pytest.raises(MalformedMessage, match="more than one file"):
        read(form(FILE + b"one", FILE + b"two"), 10)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=BOUND", b"BOUND"),
        ('multipart/form-data; boundary="a b"', b"a b"),
        ("Multipart/Form-Data;charset=utf-8;Boundary=x", b"x"),
        ("multipart/form-data", None),
        ("multipart/mixed; boundary=x", None),
        ("image/jpeg", None),
        ("multipart/form-data; boundary=" + "x" * 71, None),
    ],
)
def test_the_boundary_is_read_from_the_content_type(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


@given(st.binary(max_size=300), st.integers(1, 50))
def test_garbage_stays_as_it_came(octets: bytes, size: int) -> None:
    assert read(octets, size)[0] == octets
