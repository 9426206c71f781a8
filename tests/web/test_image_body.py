"""How an image is taken out of the body that it comes in."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import InvalidRequest, TooLarge
from span_events.web.rest.bodies import NewImageBody
from span_events.web.rest.image_body import ImageReader

TEXTS = st.text(max_size=8) | st.sampled_from(["image", '"image":"', "\\", '{"', "}", 'a"b', "å\\"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OTHERS = st.dictionaries(TEXTS.filter(lambda each: each not in {"image", "version", "filename", "tags"}), VALUES)


def read(body: bytes, cuts: list[int], *, limit: int = 10_000) -> tuple[bytes, NewImageBody]:
    """Read a body that comes in pieces; return the image and the rest."""
    reader = ImageReader(limit)
    edges = [0, *sorted(each % (len(body) + 1) for each in cuts), len(body)]
    image = b"".join(reader.feed(body[start:end]) for start, end in pairwise(edges))
    return image, reader.finish()


@given(
    image=st.binary(max_size=100),
    others=OTHERS,
    before=st.booleans(),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    cuts=st.lists(st.integers(0, 500), max_size=6),
)
def test_an_image_is_found_in_any_object(
    image: bytes, others: dict[str, Any], before: bool, ascii_only: bool, indent: int | None, cuts: list[int]
) -> None:
    """Whatever else the object holds, whichever order it has, and wherever it is cut."""
    fields = {"image": base64.b64encode(image).decode()}
    document = (fields | others if before else others | fields) | {"version": "1.0", "tags": {"image": "x"}}
    found, rest = read(json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(errors="replace"), cuts)

    assert found == image
    assert (rest.image, rest.version, rest.tags) == ("", "1.0", {"image": "x"})


@pytest.mark.parametrize("cuts", [[], list(range(200))])
@pytest.mark.parametrize("text", ["+/+/", "\\u002B\\/\\u002b\\u002F", "\\u002b/+\\/"])
def test_an_image_may_be_escaped(text: str, cuts: list[int]) -> None:
    """Some clients do so with slashes and plus signs."""
    found, _ = read(f'{{"image": "{text}", "version": "1"}}'.encode(), cuts)

    assert found == base64.b64decode("+/+/")


def test_the_name_of_the_field_may_be_escaped() -> None:
    found, _ = read(b'{"im\\u0061ge": "AAAA", "version": "1"}', [])

    assert found == b"\0\0\0"


@pytest.mark.parametrize("cuts", [[], list(range(200))])
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", "image: is missing; version: is missing"),
        ('{"image": "AAAA"}', "version: is missing"),
        ('{"image": null, "version": ""}', 'image: null is not text; version: "" has 0 octets, not 1 to 255'),
        ('{"image": {"image": "!"}, "version": "1"}', 'image: {"image": "!"} is not text'),
        (
            '{"image": "AAAAAAAAAAAAAAAA-AAA"}',
            "image: is not base64 at character 17: a character that is no digit of base64",
        ),
        ('{"image": "AAAA\\nAAAA"}', "image: is not base64 at character 5: a character that is no digit of base64"),
        ('{"image": "AAAA\\""}', "image: is not base64 at character 5: a character that is no digit of base64"),
        ('{"image": "AAAAA"}', "image: is not base64 at character 6: the end of a group of four is missing"),
        ('{"image": "AA==", "image": "AA=="}', "image: is given twice"),
        ('{"image": "AAAA', "The body is not JSON: unexpected end of data (line 1, column 12), the image not counted"),
        ('[{"image": "AAAA"}]', 'The body is [{"image": "AAAA"}]; a JSON object is wanted'),
        ('"image"', 'The body is "image"; a JSON object is wanted'),
    ],
)
def test_a_body_that_is_wrong_is_explained(body: str, detail: str, cuts: list[int]) -> None:
    """With the place, as far as there is one."""
    with pytest.raises(InvalidRequest) as refused:
        read(body.encode(), cuts)

    assert refused.value.detail == detail


@pytest.mark.parametrize(
    "body",
    ['{"image": "AAAA", "x": "%s"}' % ("x" * 100), '{"x": [%s]}' % ("[]," * 50), " " * 101, '{"%s' % ("i" * 100)],
)
def test_what_is_besides_the_image_has_a_limit(body: str) -> None:
    """The image has its own."""
    with pytest.raises(TooLarge, match=r"The body is over 100 octets \(http.max_body\), the image not counted"):
        read(body.encode(), [], limit=100)


def test_the_image_counts_for_nothing() -> None:
    image = bytes(300_000)
    found, _ = read(json.dumps({"image": base64.b64encode(image).decode(), "version": "1"}).encode(), [1000], limit=40)

    assert found == image
