"""Reasons for which an output does not deliver."""

from __future__ import annotations

from span_events.events.activity import Reason


class OutputReason(Reason):
    """Reasons for which an output does not deliver."""

    NOT_RESOLVED = (
        "notResolved",
        "The name of the target has no address: check its spelling, and the name server of this computer.",
    )
    PRIVATE_TARGET = (
        "privateTarget",
        "The target is a private, loopback or reserved address: set outputs.allow_private if it is meant.",
    )
    UNREACHABLE = (
        "unreachable",
        "No connection to the target, see 'detail': is it running, and does a firewall let this server out?",
    )
    TIMEOUT = (
        "timeout",
        "The target did not answer within outputs.timeout: it must answer first and work afterwards.",
    )
    TLS_FAILED = (
        "tlsFailed",
        "The TLS handshake failed, see 'detail': renew the target's certificate, or set disableCertCheck to test.",
    )
    REFUSED = (
        "refused",
        "The target refused the request, see 'status' and 'answer': check URL, credentials and custom header.",
    )
    REDIRECTED = "redirected", "The target answered with a redirect, which is not followed: set the final URL."
    TARGET_FAILED = (
        "targetFailed",
        "The target answered with an error of its own, see 'status', 'answer' or 'detail': look into its log.",
    )
    TOO_LARGE = "tooLarge", "The message does not fit a datagram: send less, or use a webhook."
    QUEUE_FULL = (
        "queueFull",
        "Messages come faster than the target takes them, and the oldest are dropped: make the target faster.",
    )
    DEFECT = "defect", "This server failed to send, see its log: report it."
