"""Senders: which class delivers for which type of output."""

from __future__ import annotations

from span_events.clock import Clock
from span_events.config import OutputsConfig
from span_events.outputs.base import Sender
from span_events.outputs.content import Content
from span_events.outputs.ifttt import Ifttt
from span_events.outputs.mqtt import Mqtt
from span_events.outputs.targets import Targets
from span_events.outputs.udp import Udp
from span_events.outputs.webhook import Webhook
from span_events.registry.outputs import Output, OutputType


def sender_of(output: Output, config: OutputsConfig, content: Content, targets: Targets, clock: Clock) -> Sender:
    """Make the sender of an output, whose settings have been checked."""
    if output.type is OutputType.UDP:
        return Udp(output.config, content, targets)
    if output.type is OutputType.MQTT:
        return Mqtt(output.config, content, targets)
    if output.type is OutputType.IFTTT:
        return Ifttt(output.config, content, targets)
    return Webhook(output.config, content, targets, clock, batch=config.batch)
