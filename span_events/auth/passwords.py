"""Passwords: argon2id hashes, in the PHC format."""

from __future__ import annotations

import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from span_events.errors import InvalidRequest

LENGTHS: Final = range(12, 201)
"""Characters of a password; the bound keeps the work of a check bounded."""
NOBODY: Final = "$argon2id$v=19$m=19456,t=2,p=1$c3Bhbi1ldmVudHMtbm9uZQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""Hash that no password has: it is checked for unknown users, so that they take as long as known ones."""

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""Takes 19 MiB and about 40 ms (OWASP's Password Storage Cheat Sheet, its least memory)."""


def hash_of(password: str) -> str:
    """
    Hash a new password; takes about 40 ms.

    Raises:
        InvalidRequest: It is too short or too long.
    """
    text = _normal(password)
    if len(text) not in LENGTHS:
        raise InvalidRequest(
            f"password: it has {len(text)} characters, not {LENGTHS[0]} to {LENGTHS[-1]}",
            hint="Take a few words, or let a password manager choose.",
            field="password",
        )
    return _HASHER.hash(text)


def is_right(password: str, hashed: str) -> bool:
    """Return whether a password has this hash; takes about 40 ms, and releases the GIL meanwhile."""
    text = _normal(password[: LENGTHS[-1]])
    try:
        return _HASHER.verify(hashed, text)
    except (Argon2Error, InvalidHashError):
        return False


def _normal(password: str) -> str:
    """Return the one form of a text that keyboards and systems encode differently (NIST SP 800-63B 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
