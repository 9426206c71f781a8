"""Settings of outputs."""

from __future__ import annotations

from span_events.config.fields import Count, Octets, Seconds, setting
from span_events.config.sections.base import Section


class OutputsConfig(Section):
    """Outputs: webhooks and other targets to which messages and events go."""

    allow_private: bool = setting(
        False, "True lets outputs reach private, loopback and reserved addresses, False only public ones."
    )
    per_collection: Count = setting(100, "Upper bound of outputs of a collection; one more is refused with 429.")
    queue: Count = setting(1_000, "Messages or events that may wait for one output; beyond it, the oldest is dropped.")
    queue_octets: Octets = setting(4_194_304, "Octets of payload that may wait for one output, likewise.")
    batch: Count = setting(100, "Upper bound of messages or events in one request of a webhook.")
    timeout: Seconds = setting(10.0, "Seconds that a target may take for one delivery, from look-up to answer.")
    first_pause: Seconds = setting(
        0.5, "Seconds until a failed delivery is tried again; twice as long after each further failure, with jitter."
    )
    longest_pause: Seconds = setting(60.0, "Upper bound of that pause, seconds.")
    attempts: Count = setting(
        5, "Attempts at a delivery that the target answers with an error; while it cannot be reached, attempts go on."
    )
    log: Count = setting(50, "Entries of an output's error log, in memory.")
