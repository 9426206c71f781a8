"""
Access control: the one place where REST and streams check a token.

A token reaches a resource and everything below it. A refusal names its cause: no token,
an empty token, an unknown token, a resource out of reach, a read-only token, or a writing token
in a URL, where logs and browser histories keep it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from span_events import ids
from span_events.auth.tokens import Tokens
from span_events.errors import AccessDenied, Unauthenticated
from span_events.events.filters import EVERYTHING, Scope
from span_events.registry.model import Token

_SCHEMES: Final = ("bearer", "token")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token's text as a request carried it."""

    text: str = field(repr=False)
    in_query: bool


def credentials(headers: Mapping[str, str], query: Mapping[str, str]) -> Credentials:
    """
    Take the credentials of a request: ``X-API-Token``, else ``Authorization: Bearer|Token``, else ``api_token=``.

    Args:
        headers: Case-insensitive.

    Raises:
        Unauthenticated: The request has no usable credentials; the message says why.
    """
    scheme, _, secret = headers.get("Authorization", "").strip().partition(" ")
    known = scheme.lower() in _SCHEMES
    found = headers.get("X-API-Token", "").strip() or (secret.strip() if known else "")
    if found:
        return Credentials(found, in_query=False)
    found = query.get("api_token", "").strip()
    if found:
        return Credentials(found, in_query=True)
    if scheme and not known:
        raise Unauthenticated(f"Authorization has the scheme {scheme[:20]!r}; Bearer and Token are understood")
    for name, present in (
        ("the header X-API-Token", "X-API-Token" in headers),
        ("the header Authorization", "Authorization" in headers),
        ("api_token in the query", "api_token" in query),
    ):
        if present:
            raise Unauthenticated(f"There is no token in the request: {name} is empty")
    raise Unauthenticated("There is no token in the request")


async def authenticate(tokens: Tokens, given: Credentials) -> Token:
    """
    Find the token of a request without a check of its resource.

    Raises:
        Unauthenticated: The token is unknown.
        AccessDenied: A writing token came in the query.
    """
    token = await tokens.find(given.text)
    if token is None and "." in given.text:
        raise Unauthenticated(
            "The login is not known: it expired, was ended, or belongs to another server", hint="Log in again."
        )
    if token is None and tokens.has_expired(given.text):
        raise Unauthenticated("The token has expired", hint="`span-events token create` makes another.")
    if token is None:
        raise Unauthenticated(
            "The token is not known: it was deleted, was copied incompletely, or belongs to another server",
            hint="`span-events token list` shows the tokens that are known, `span-events token create` makes one.",
        )
    if given.in_query and token.write:
        raise AccessDenied(
            "A token with write access is not accepted in the query, because URLs end up in logs and histories",
            hint="Send it as the header X-API-Token, or use a read-only token in api_token.",
            field="api_token",
        )
    return token


def check(token: Token, *, resource: str, write: bool) -> None:
    """
    Make sure that a token may do something.

    Args:
        resource: From `resource_of`.
        write: Whether something is to be changed.

    Raises:
        AccessDenied: It does not reach the resource, or may only read.
    """
    if not reaches(token, resource):
        raise AccessDenied(
            f"The token does not reach {resource}; it reaches {token.resource}",
            hint=f"Use a token for {resource} or for / (`span-events token create --resource …`).",
        )
    if write and not token.write:
        raise AccessDenied(
            f"The token may only read, and this changes {resource}",
            hint="Use a token that was created with --write.",
        )


async def authorize(tokens: Tokens, given: Credentials, *, resource: str, write: bool) -> Token:
    """
    Find the token of a request, and check that it permits an operation.

    Raises:
        Unauthenticated: The token is unknown.
        AccessDenied: The token does not permit this; the message says why.
    """
    token = await authenticate(tokens, given)
    check(token, resource=resource, write=write)
    return token


def resource_of(
    collection_id: int | None = None, *, device_id: int | None = None, gateway_id: int | None = None
) -> str:
    """Return the resource of a request; without a collection it is all collections (``/collections``)."""
    resource = "/collections" if collection_id is None else f"/collections/{ids.render(collection_id)}"
    if device_id is not None:
        return f"{resource}/devices/{ids.render(device_id)}"
    if gateway_id is not None:
        return f"{resource}/gateways/{ids.render(gateway_id)}"
    return resource


def reaches(token: Token, resource: str) -> bool:
    """Return whether a token's resource is this one or contains it."""
    return token.resource in ("/", resource) or resource.startswith(f"{token.resource}/")


def reaches_everything(token: Token) -> bool:
    """Return whether a token's resource is ``/``."""
    return token.resource == "/"


def is_for_one_device(token: Token) -> bool:
    """Return whether a token's resource is a device."""
    return "/devices/" in token.resource


def scope_of(token: Token) -> Scope:
    """Return the scope of streams that a token may read."""
    if token.resource == "/":
        return EVERYTHING
    _, _, collection, *part = token.resource.split("/")
    collection_id = ids.parse(collection)
    match part:
        case ["devices", device]:
            return Scope(collection_id, device_id=ids.parse(device))
        case ["gateways", gateway]:
            return Scope(collection_id, gateway_id=ids.parse(gateway))
        case _:
            return Scope(collection_id)
