"""Topic filters (4.7): their form, whatever topics a server has."""

from __future__ import annotations

from typing import Final

from span_events.wire.mqtt.reasons import PacketRefused, Reason

SINGLE: Final = "+"
"""Level that matches any one level."""
ALL: Final = "#"
"""Last level that matches any number of levels, also none."""
_LONGEST: Final = 500
"""Characters of a filter."""
_SHARED: Final = "$share/"


def levels_of(text: str) -> list[str]:
    """
    Split a topic filter into its levels.

    Raises:
        PacketRefused: It is not valid, or shared.
    """
    if not text or len(text) > _LONGEST:
        raise PacketRefused(Reason.TOPIC_FILTER_INVALID, f"a filter has {len(text)} characters; 1 to {_LONGEST}")
    if text.startswith(_SHARED):
        raise PacketRefused(Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, f"{text!r}: there are no shared subscriptions")
    levels = text.split("/")
    for number, level in enumerate(levels, start=1):
        if (SINGLE in level and level != SINGLE) or (ALL in level and (level != ALL or number != len(levels))):
            raise PacketRefused(
                Reason.TOPIC_FILTER_INVALID, f"{text!r}: + stands for a whole level, # for all levels at the end"
            )
    return levels
