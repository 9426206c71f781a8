"""Base64 (RFC 4648 section 4) that comes in pieces: with padding, without line breaks."""

from __future__ import annotations

import binascii
import re
from typing import Final

from span_events.errors import MalformedMessage

_FORM: Final = re.compile(rb"([A-Za-z0-9+/]*)(=*)")
_MOST_PADDING: Final = 2


class Base64Decoder:
    """
    Decodes one text, piece by piece; what does not make three octets yet waits for the next piece.

    Raises (from both methods):
        MalformedMessage: The text is not base64; ``at`` is the character where it stops being so, from 0.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._rest = b""
        self._padding = 0

    def feed(self, text: bytes) -> bytes:
        """Decode a piece."""
        found = _FORM.match(b"" if self._padding and text[:1] != b"=" else text)
        assert found is not None, "it matches nothing, too"
        digits, padding = found.groups()
        self._padding += len(padding)
        self._seen += found.end()
        if self._padding > _MOST_PADDING:
            raise MalformedMessage("too much padding", at=self._seen - self._padding + _MOST_PADDING)
        if found.end() < len(text):
            detail = "a character after the padding" if self._padding else "a character that is no digit of base64"
            raise MalformedMessage(detail, at=self._seen)
        digits = self._rest + digits
        whole = len(digits) & ~3
        self._rest = digits[whole:]
        return binascii.a2b_base64(digits[:whole])

    def finish(self) -> bytes:
        """Decode what has waited; the text is over."""
        if (len(self._rest) + self._padding) % 4 or len(self._rest) == 1:
            raise MalformedMessage("the end of a group of four is missing", at=self._seen)
        return binascii.a2b_base64(self._rest + b"=" * self._padding)
