"""Outputs in the registry: targets outside, to which messages or events of a collection go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class OutputType(StrEnum):
    """Kinds of outputs (Span's words)."""

    UNDEFINED = "undefined"
    WEBHOOK = "webhook"
    UDP = "udpout"
    MQTT = "mqttclient"
    IFTTT = "ifttt"
    BROKER = "mqttbroker"


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """Settings of an output; each type uses some. All but the last three are Span's."""

    url: str = ""
    basic_auth_user: str = ""
    basic_auth_pass: str = field(default="", repr=False)
    custom_header_name: str = ""
    custom_header_value: str = field(default="", repr=False)
    host: str = ""
    port: int = 0
    key: str = field(default="", repr=False)
    event_name: str = ""
    as_is_payload: bool = False
    endpoint: str = ""
    disable_cert_check: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""
    topic_name: str = ""
    topic_template: str = ""
    """Base64, like the other template."""
    payload_format: str = ""
    payload_template: str = ""
    content: str = ""
    """``messages`` or ``activity``; empty is ``messages``."""
    format: str = ""
    """Dialect of the events; empty is ``span``."""
    signing_secret: str = field(default="", repr=False)
    """Key of the signatures, ``whsec_`` and base64 (Standard Webhooks); empty signs nothing."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output: a target outside to which the messages or events of a collection go."""

    id: int
    collection_id: int
    type: OutputType
    config: OutputConfig = OutputConfig()
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
