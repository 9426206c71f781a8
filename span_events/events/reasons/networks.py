"""Reasons and states that another network server reports: log codes of ChirpStack, and the fate of a downlink."""

from __future__ import annotations

from typing import Final

from span_events.events.activity import Reason, Severity


class NetworkLogReason(Reason):
    """Causes of what a LoRaWAN network server logs about a device."""

    UPLINK_MIC = (
        "uplinkMic",
        "The device joins with another key than the network server has: compare AppKey (LoRaWAN 1.1: NwkKey) in both.",
        Severity.ERROR,
    )
    OTAA = (
        "otaa",
        "The device joined with a DevNonce that it used before: let it store its nonces, or flush them on the server.",
        Severity.ERROR,
    )
    UPLINK_F_CNT_RESET = (
        "uplinkFrameCounterReset",
        "The device's frame counter went back, and its uplinks are lost: let it join again, or store its counter.",
        Severity.WARNING,
    )
    UPLINK_F_CNT_RETRANSMISSION = (
        "uplinkRetransmission",
        "The device sent the same frame counter again: it misses acknowledgements, so look at its downlink coverage.",
        Severity.WARNING,
    )
    UPLINK_CODEC = (
        "uplinkCodec",
        "The decoder script of the device profile failed, see 'description'; the payload itself arrived.",
        Severity.ERROR,
    )
    DOWNLINK_CODEC = (
        "downlinkCodec",
        "The encoder script of the device profile failed, see 'description': the downlink was not sent.",
        Severity.ERROR,
    )
    DOWNLINK_PAYLOAD_SIZE = (
        "downlinkPayloadSize",
        "The downlink is too long for the data rate, see 'context', and was dropped: send less at once.",
        Severity.ERROR,
    )
    DOWNLINK_GATEWAY = (
        "downlinkGateway",
        "A gateway refused the downlink for 'description': TOO_LATE is a slow backhaul, TX_FREQ a wrong region.",
        Severity.ERROR,
    )
    RELAY_NEW_END_DEVICE = (
        "relayNewEndDevice",
        "A relay hears a device that it does not know: add the device to the relay if it is yours.",
        Severity.INFO,
    )
    F_CNT_DOWN = (
        "downlinkFrameCounter",
        "A downlink, encrypted beforehand, has an old frame counter and was dropped: encrypt and queue it again.",
        Severity.ERROR,
    )
    EXPIRED = (
        "downlinkExpired",
        "The downlink waited past its expiry: does the device send at all? Queue it again.",
        Severity.ERROR,
    )
    INTEGRATION = (
        "integration",
        "An integration of the network server reports, see 'description'; nothing to do.",
        Severity.INFO,
    )
    OTHER_ERROR = (
        "otherError",
        "The network server logged an error without a code that we know: read 'description' and its own log.",
        Severity.ERROR,
    )
    OTHER_WARNING = (
        "otherWarning",
        "The network server logged a warning without a code that we know: read 'description'.",
        Severity.WARNING,
    )
    OTHER = "other", "The network server logged 'description'; nothing to do.", Severity.INFO

    @property
    def code(self) -> str:
        """ChirpStack's code."""
        return self.name if self not in _WITHOUT_CODE else "UNKNOWN"


_WITHOUT_CODE: Final = frozenset(
    {
        NetworkLogReason.INTEGRATION,
        NetworkLogReason.OTHER_ERROR,
        NetworkLogReason.OTHER_WARNING,
        NetworkLogReason.OTHER,
    }
)


class DownlinkState(Reason):
    """States of a downlink at another network server."""

    TRANSMITTED = (
        "transmitted",
        "A gateway took the downlink for transmission; nothing proves that the device received it.",
    )
    ACKNOWLEDGED = "acknowledged", "The device confirmed the downlink; nothing to do."
    NOT_ACKNOWLEDGED = (
        "notAcknowledged",
        "The device did not confirm the downlink in time: look at its downlink coverage, and queue it again.",
        Severity.WARNING,
    )
