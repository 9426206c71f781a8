"""Reasons for which a subscriber misses events."""

from __future__ import annotations

from span_events.events.activity import Reason


class DroppedReason(Reason):
    """Reasons for which a subscriber misses events."""

    SLOW_SUBSCRIBER = (
        "slowSubscriber",
        "This client reads slower than events come: read faster, or filter by event or device.",
    )
    HISTORY_GAP = (
        "historyGap",
        "Events after your last one are no longer in memory: the server was restarted, or you were away too long.",
    )
    BUS_LOST = (
        "busLost",
        "The nodes of this server lost their connection: ask for events of other nodes with after= your last one.",
    )
