"""The image inside the body of an upload."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from span_events.errors import InvalidRequest
from span_events.web.rest.bodies import image
from tests.web.conftest import IN_MODULE, WebBench

PATH = "/span/collections/{}/firmware"


async def upload(api: WebBench, body: bytes) -> tuple[int, str]:
    """Send a body unchanged; return status and detail of the problem."""
    collection = await api.collection()
    return (await api.call("POST", PATH.format(collection), data=body)).problem


def decoded(text: str) -> bytes:
    """Decode an image slice by slice."""
    return b"".join(image._decode(text, start) for start in range(0, len(text), image._SLICE))


@pytest.mark.parametrize("text", ["+/+/", "\\u002B\\/\\u002b\\u002F", "\\u002b/+\\/"])
async def test_an_image_may_be_escaped(api: WebBench, text: str) -> None:
    """Some clients escape slashes and plus signs."""
    collection = await api.collection()
    reply = await api.call("POST", PATH.format(collection), data=f'{{"image": "{text}", "version": "1"}}'.encode())

    assert (reply.status, reply.body["length"]) == (200, 3)


@IN_MODULE
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
        ('{"image": "AAAå"}', "image: is not base64 at character 4: a character that is no digit of base64"),
        ('{"image": "AAAAA"}', "image: is not base64 at character 6: the end of a group of four is missing"),
        ('{"image": "A==="}', "image: is not base64 at character 4: too much padding"),
        ('{"image": "AA==AA=="}', "image: is not base64 at character 5: a character after the padding"),
        ('{"image": "AAAA', "The body is not JSON: unexpected end of data (line 1, column 16)"),
        ('[{"image": "AAAA"}]', 'The body is [{"image": "AAAA"}]; a JSON object is wanted'),
        ('"image"', 'The body is "image"; a JSON object is wanted'),
    ],
)
async def test_a_wrong_body_is_explained(shared_api: WebBench, body: str, detail: str) -> None:
    """The detail gives the place of the fault where the fault has one."""
    assert await upload(shared_api, body.encode()) == (400, detail)


@pytest.mark.parametrize("before", [0, 1, 5])
def test_padding_before_the_end_is_found_across_slices(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    """Each slice alone is base64; the text is not."""
    monkeypatch.setattr(image, "_SLICE", 4)
    with pytest.raises(InvalidRequest) as refused:
        decoded("AAAA" * before + "AA==" + "AAAA")

    assert refused.value.detail == f"image: is not base64 at character {before * 4 + 5}: a character after the padding"


@given(st.text("AZaz09+/=") | st.text() | st.binary().map(lambda octets: base64.b64encode(octets).decode()))
@example("=")
def test_any_text_is_decoded_or_refused_with_a_place_inside_it(text: str) -> None:
    """The strict decoder of the standard library and the search for the first fault agree."""
    try:
        octets = decoded(text)
    except InvalidRequest as exc:
        place = int(exc.detail.split("character ")[1].split(":")[0])
        assert 1 <= place <= len(text) + 1
    else:
        assert base64.b64decode(text, validate=True) == octets


async def test_the_other_fields_have_the_limit_of_other_bodies(api: WebBench) -> None:
    """http.max_body; the image does not count."""
    rest: dict[str, Any] = {"image": "AAAA", "version": "1", "x": "x" * 20_000}

    assert await upload(api, json.dumps(rest).encode()) == (
        413,
        "The body is over 20000 octets (http.max_body), the image not counted",
    )
