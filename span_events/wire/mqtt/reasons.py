"""Reason codes of MQTT 5 (2.4), and the return codes of MQTT 3.1.1 that say the same."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final

from span_events.errors import MalformedMessage


class Reason(IntEnum):
    """The reason codes of MQTT 5 that this server sends."""

    SUCCESS = 0x00
    NO_SUBSCRIPTION_EXISTED = 0x11
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_BUSY = 0x89
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1

    @property
    def word(self) -> str:
        """The reason in logs and metrics, such as ``not_authorized``."""
        return self.name.lower()


FAILURE: Final = 0x80
"""The one return code of a refused subscription in MQTT 3.1.1 (3.9.3)."""

CONNECT_CODES: Final = MappingProxyType(
    {
        Reason.SUCCESS: 0,
        Reason.UNSUPPORTED_VERSION: 1,
        Reason.CLIENT_IDENTIFIER_NOT_VALID: 2,
        Reason.SERVER_BUSY: 3,
        Reason.SERVER_SHUTTING_DOWN: 3,
        Reason.QUOTA_EXCEEDED: 3,
        Reason.BAD_USER_NAME_OR_PASSWORD: 4,
        Reason.NOT_AUTHORIZED: 5,
    }
)
"""Return codes of a CONNACK in MQTT 3.1.1 (3.2.2.3); for other reasons, the connection ends without one."""


class PacketRefused(MalformedMessage):
    """A packet breaks the protocol, or asks for what this server does not offer."""

    code = "packet_refused"

    def __init__(self, reason: Reason, detail: str, *, at: int = 0) -> None:
        super().__init__(detail, at=at)
        self.reason = reason
