"""
The client of the API, for scripts and test rigs.

    async for event in watch(token="…", collection="17dh0cf43jfgl8"):
        print(event.name, event.data, event.hint)

    await expect("clientConnected", "upstreamMessage", token="…", device="17kl14hm46h4c2", within=60)
"""

from span_events.client.watching import Event, Missed, NotSeen, expect, watch

__all__ = ["Event", "Missed", "NotSeen", "expect", "watch"]
