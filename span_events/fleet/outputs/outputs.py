"""Outputs of the registry: creates, changes and removes them for the API."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from span_events.bus.base import Bus
from span_events.config import OutputsConfig
from span_events.errors import InvalidRequest, LimitReached
from span_events.net import broker_of
from span_events.registry.model import Collection
from span_events.registry.outputs import Output, OutputConfig, OutputType
from span_events.registry.registry import Registry

CONTENTS: Final = ("messages", "activity")
FORMATS: Final = ("span", "things-stack", "cloudevents", "chirpstack", "chirpstack-protobuf")
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # not a secret itself
_SECRET_OCTETS: Final = range(24, 65)
"""Length of a signing secret (Standard Webhooks, "Signature scheme")."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RESERVED_HEADERS: Final = frozenset(
    {
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection"),
        *("te", "trailer", "upgrade", "expect", "webhook-id", "webhook-timestamp", "webhook-signature"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputChange:
    """A requested change; None keeps the present value."""

    type: OutputType | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings to change, by the names of `OutputConfig`."""
    tags: Mapping[str, str] | None = None
    """Merged into the present tags."""
    enabled: bool | None = None

    def apply_to(self, output: Output) -> Output:
        """Return the output as it will be."""
        return dataclasses.replace(
            output,
            type=output.type if self.type is None else self.type,
            config=dataclasses.replace(output.config, **self.config),
            tags={**output.tags, **(self.tags or {})},
            enabled=output.enabled if self.enabled is None else self.enabled,
        )


class Outputs:
    """The outputs of all collections."""

    def __init__(self, config: OutputsConfig, *, bus: Bus, registry: Registry) -> None:
        self._config = config
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self.on_changed: list[Callable[[Output], None]] = []
        """Called with each output that was created or changed."""
        self.on_removed: list[Callable[[Output], None]] = []

    async def create(self, collection: Collection, change: OutputChange) -> Output:
        """
        Create an output.

        Raises:
            InvalidRequest: A setting that its type needs is missing or wrong.
            LimitReached: The collection has too many outputs.
            NotFound: The collection was removed.
        """
        output = change.apply_to(Output(self._bus.new_id(), collection.id, OutputType.UNDEFINED))
        check(output)
        async with self._registry.lock:
            self._directory.collection(collection.id)
            if self._directory.outputs.count(collection.id) >= self._config.per_collection:
                raise LimitReached(
                    f"The collection has {self._config.per_collection} outputs, "
                    "as many as outputs.per_collection allows",
                    hint="Delete one, or raise outputs.per_collection.",
                )
            await self._put(output)
        return output

    async def update(self, output: Output, change: OutputChange) -> Output:
        """
        Change an output.

        Raises:
            InvalidRequest: A setting that its type needs is missing or wrong.
            NotFound: The output was removed.
        """
        async with self._registry.lock:
            changed = change.apply_to(self._directory.outputs.find(output.collection_id, output.id))
            check(changed)
            await self._put(changed)
        return changed

    async def remove(self, output: Output) -> None:
        """
        Remove an output.

        Raises:
            NotFound: The output was removed already.
        """
        async with self._registry.lock:
            self._directory.outputs.find(output.collection_id, output.id)
            await self._registry.store.delete_output(output.id)
            self._directory.outputs.remove(output)
        self.removed(output)

    def changed(self, output: Output) -> None:
        """Have the parts react that run outputs."""
        for notify in self.on_changed:
            notify(output)

    def removed(self, output: Output) -> None:
        """Have the parts react that run outputs."""
        for notify in self.on_removed:
            notify(output)

    async def _put(self, output: Output) -> None:
        await self._registry.store.put_output(output)
        self._directory.outputs.put(output)
        self.changed(output)


# ---- checks ----------------------------------------------------------------------------------


def check(output: Output) -> None:
    """
    Check that an output has the settings that its type needs.

    Raises:
        InvalidRequest: A setting is missing or wrong.
    """
    config = output.config
    checks = _CHECKS.get(output.type)
    if checks is None:
        raise _wrong("type", f"{output.type.value!r} is not one of {', '.join(_CHECKS)}", _TYPE_HINTS.get(output.type))
    checks(config)
    if config.content not in ("", *CONTENTS):
        raise _wrong("config.content", f"{config.content[:40]!r} is not one of {', '.join(CONTENTS)}")
    if config.format not in ("", *FORMATS):
        raise _wrong("config.format", f"{config.format[:40]!r} is not one of {', '.join(FORMATS)}")
    if config.format not in ("", "span") and config.content != "activity":
        raise _wrong("config.format", f"{config.format} is a format of events", "Set content to activity, too.")
    if config.format == "chirpstack-protobuf" and output.type is OutputType.IFTTT:
        raise _wrong("config.format", "IFTTT takes text only")


def _check_webhook(config: OutputConfig) -> None:
    _check_url(config.url)
    if bool(config.custom_header_name) != bool(config.custom_header_value):
        raise _wrong("config.customHeaderName", "customHeaderName and customHeaderValue belong together")
    name = config.custom_header_name
    if name and (not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED_HEADERS):
        raise _wrong("config.customHeaderName", f"{name[:40]!r} is no name for a header of one's own")
    if not _is_field_value(config.custom_header_value):
        raise _wrong("config.customHeaderValue", "has characters that no header may have: printable ASCII is wanted")
    if ":" in config.basic_auth_user:
        raise _wrong("config.basicAuthUser", "has a colon, which ends the user name (RFC 7617 section 2)")
    if config.signing_secret:
        _check_secret(config.signing_secret)


def _check_secret(secret: str) -> None:
    try:
        if not secret.startswith(SECRET_PREFIX):
            raise binascii.Error
        octets = len(base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True))
    except ValueError:
        octets = 0
    if octets not in _SECRET_OCTETS:
        text = f"is not {SECRET_PREFIX} and {_SECRET_OCTETS[0]} to {_SECRET_OCTETS[-1]} octets in base64"
        raise _wrong("config.signingSecret", text, "Make one: echo whsec_$(openssl rand -base64 24)")


def _check_url(url: str) -> None:
    if not url:
        raise _wrong("config.url", "is missing")
    if not _is_http(url) or not url.isprintable() or " " in url:
        raise _wrong("config.url", f"{url[:80]!r} is not a URL with http or https and a host")
    if "@" in urlsplit(url).netloc:
        raise _wrong("config.url", "has a user name in it", "Use basicAuthUser and basicAuthPass.")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_udp(config: OutputConfig) -> None:
    if not config.host or not config.host.isprintable() or set(config.host) & set(" /@"):
        raise _wrong("config.host", f"{config.host[:80]!r} is not a host name or an IP address")
    if not 0 < config.port < 65536:
        raise _wrong("config.port", f"{config.port} is not a port, 1 to 65535")


def _check_ifttt(config: OutputConfig) -> None:
    for name, text in (("key", config.key), ("eventName", config.event_name)):
        if not text:
            raise _wrong(f"config.{name}", "is missing", "Both are on the page of IFTTT's Webhooks service.")


def _check_endpoint(endpoint: str) -> None:
    try:
        broker_of(endpoint)
    except ValueError:
        hint = "Write mqtt://HOST:1883, or mqtts://HOST:8883 for TLS; user and password have settings of their own."
        text = f"{endpoint[:80]!r} is no address of a broker" if endpoint else "is missing"
        raise _wrong("config.endpoint", text, hint) from None


def _check_mqtt(config: OutputConfig) -> None:
    _check_endpoint(config.endpoint)
    if config.password and not config.username:
        raise _wrong("config.username", "is missing: MQTT 3.1.1 has no password without a user name")
    for name, text in (("topicTemplate", config.topic_template), ("payloadTemplate", config.payload_template)):
        try:
            base64.b64decode(text, validate=True).decode()
        except ValueError:
            raise _wrong(f"config.{name}", "is not base64 of UTF-8") from None
    topic = base64.b64decode(config.topic_template).decode() or config.topic_name
    if set(topic) & set("+#\0"):
        raise _wrong("config.topicName", f"{topic[:80]!r} has a wildcard, which no publication may have")


_CHECKS: Final[Mapping[OutputType, Callable[[OutputConfig], None]]] = {
    OutputType.WEBHOOK: _check_webhook,
    OutputType.UDP: _check_udp,
    OutputType.IFTTT: _check_ifttt,
    OutputType.MQTT: _check_mqtt,
}
_TYPE_HINTS: Final[Mapping[OutputType, str]] = {
    OutputType.BROKER: "Subscribe to this server's own MQTT port instead: it shows the messages of every collection.",
}


def _is_field_value(text: str) -> bool:
    return text == text.strip() and all(" " <= each <= "~" for each in text)


def _wrong(name: str, text: str, hint: str | None = None) -> InvalidRequest:
    return InvalidRequest(f"{name}: {text}", hint=hint or "", field=name)
