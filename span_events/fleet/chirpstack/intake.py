"""
Intake: accepts the events of ChirpStack servers, as messages and events of the devices with their EUI-64.

ChirpStack sends each event once, and reads no reply: what cannot be accepted is told by an event of ours.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from enum import StrEnum
from hashlib import sha256
from typing import Final

from span_events import ids
from span_events.bounded.expiring import ExpiringMap
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import ChirpstackConfig, RejectionsConfig
from span_events.dialects.chirpstack.identity import EUI_TAG, real_eui
from span_events.dialects.chirpstack.reading import Fields, read
from span_events.dialects.chirpstack.rules import Kind
from span_events.dialects.chirpstack.translation import event_of, restored, uplink_of
from span_events.errors import Conflict, InvalidRequest, NotFound
from span_events.events.activity import Origin
from span_events.events.catalogue import MessageRejected
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.chirpstack.index import EuiIndex
from span_events.fleet.devices.devices import DeviceChange, Devices
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.summaries import Summaries
from span_events.metrics import Metric
from span_events.net import Remote, render_remote
from span_events.registry.limits import MAX_VALUE, control_in
from span_events.registry.model import Collection, Device
from span_events.registry.registry import Registry

_NAME: Final = "name"


class Outcome(StrEnum):
    """Outcomes of an event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    """Its kind is unknown."""
    REJECTED = "rejected"
    """Its device may not send now, or the message is too large; an event says so."""


class Intake:
    """Accepts the events of ChirpStack servers."""

    def __init__(
        self,
        config: ChirpstackConfig,
        rejections: RejectionsConfig,
        *,
        bus: Bus,
        registry: Registry,
        devices: Devices,
        reception: Reception,
        clock: Clock,
    ) -> None:
        self._config = config
        self._bus = bus
        self._directory = registry.directory
        self._questions = registry.questions
        self._devices = devices
        self._reception = reception
        self._clock = clock
        self.index = EuiIndex()
        self._seen: ExpiringMap[Hashable, bool] = ExpiringMap(limit=config.duplicates, lifetime=config.duplicates_age)
        self._creating = asyncio.Lock()
        self._unknown = Summaries(bus=bus, clock=clock, burst=1, window=rejections.window, senders=rejections.senders)
        self._counts = Counter[str]()

    def metrics(self) -> list[Metric]:
        """Return the metrics."""
        return [
            Metric(
                "chirpstack_events",
                "Events of ChirpStack servers, by what became of them.",
                "counter",
                lambda: dict(self._counts),
                label="outcome",
            ),
            Metric(
                "chirpstack_remembered",
                "Events in memory that would be duplicates; at most chirpstack.duplicates.",
                "gauge",
                lambda: len(self._seen),
            ),
        ]

    def sweep(self) -> None:
        """Publish the summaries of expired windows; called about once a second."""
        self._unknown.sweep()

    async def take(
        self,
        collection: Collection,
        kind: str,
        octets: bytes,
        *,
        content_type: str,
        remote: Remote,
        cause: int,
        eui: str = "",
    ) -> Outcome:
        """
        Take an event.

        Args:
            kind: Type of the event, as topic or query has it.
            content_type: Media type of the body, if the transport has one.
            remote: Address of the ChirpStack server or its broker.
            eui: EUI-64 in the topic, which a body without one may rely on, and none may contradict.

        Raises:
            InvalidRequest: The body is not well-formed, or names no device.
            NotFound: The device is unknown and may not be created; an event says so. Or the collection was removed.
        """
        try:
            outcome = await self._take(collection, kind, octets, content_type, remote, cause, eui)
        except InvalidRequest:
            self._counts["malformed"] += 1
            raise
        except NotFound:
            self._counts["unknownDevice"] += 1
            raise
        self._counts[outcome.value] += 1
        return outcome

    async def _take(
        self,
        collection: Collection,
        name: str,
        octets: bytes,
        content_type: str,
        remote: Remote,
        cause: int,
        topic: str,
    ) -> Outcome:
        try:
            kind = Kind(name)
        except ValueError:
            return Outcome.IGNORED
        fields = read(kind, octets, content_type=content_type)
        info = fields.inside("deviceInfo")
        named, expected = real_eui(info.text("devEui")), real_eui(topic)
        if named and expected and named != expected:
            raise InvalidRequest(
                f"deviceInfo.devEui: {named} is not {expected}, that of the topic", field="deviceInfo.devEui"
            )
        eui = named or expected
        if not eui:
            raise InvalidRequest(
                "deviceInfo.devEui: is not 16 hexadecimal digits",
                hint="Post the body as ChirpStack writes it.",
                field="deviceInfo.devEui",
            )
        if self._is_own(collection, info):
            return Outcome.DUPLICATE
        uplink = uplink_of(fields) if kind is Kind.UP else None  # a fault is found before a device is created
        device = self._ours(collection, info) or self.index.find(collection.id, eui)
        if device is None:
            device = await self._create(collection, eui, info, remote, len(octets), cause)
        key = _identity(kind, device, fields, octets)
        now = self._clock.monotonic()
        if self._seen.get(key, now):
            return Outcome.DUPLICATE
        self._seen.put(key, True, now)
        if self._reception.admit(device, remote, transport=Transport.GATEWAY, size=len(octets)) is not None:
            return Outcome.REJECTED
        if uplink is not None:
            accepted = self._reception.received_from_network(
                device,
                uplink.payload,
                remote=remote,
                metadata=uplink.metadata,
                radio=uplink.radio,
                network_time=uplink.network_time,
            )
            return Outcome.REJECTED if accepted is None else Outcome.ACCEPTED
        again = None
        if self._config.trust_span_tags:
            again = restored(info.texts("tags").get("span_event", ""), fields, device.origin, cause)
        if again is None:
            self._bus.publish(event_of(kind, fields, device.origin, cause))
        else:
            happened = fields.time("time")
            self._bus.publish(again, time_ns=None if happened is None else happened * 1_000_000)
        return Outcome.ACCEPTED

    def _is_own(self, collection: Collection, info: Fields) -> bool:
        """Return whether an event came from this very collection: an output and the intake share a broker, say."""
        own = info.texts("tags").get("span_collection_id") == ids.render(collection.id)
        return own and not self._config.trust_span_tags

    def _ours(self, collection: Collection, info: Fields) -> Device | None:
        """Return the device that an event of another server of ours names, if such tags are trusted."""
        if not self._config.trust_span_tags:
            return None
        try:
            device_id = ids.parse(info.texts("tags").get("span_device_id", ""))
            return self._directory.device(collection.id, device_id)
        except (InvalidRequest, NotFound):
            return None

    async def _create(
        self, collection: Collection, eui: str, info: Fields, remote: Remote, size: int, cause: int
    ) -> Device:
        """Create a device with an EUI-64; of events that come at once, to any node, the first does."""
        await self._questions.ask(remote[0])

        def forbid_twins() -> None:
            if self.index.find(collection.id, eui) is not None:
                raise Conflict(f"devEui: another node has created the device {eui}")

        async with self._creating:
            device = self.index.find(collection.id, eui)
            if device is not None:
                return device
            self._directory.collection(collection.id)
            full = self._directory.device_count(collection.id) >= self._config.max_devices
            if not self._config.create_devices or full:
                raise self._refused(collection, eui, remote, size, full=full)
            tags = {EUI_TAG: eui}
            name = info.text("deviceName")[:MAX_VALUE]
            if name and not control_in({_NAME: name}):
                tags[_NAME] = name
            try:
                return await self._devices.create(collection, DeviceChange(tags=tags), cause=cause, guard=forbid_twins)
            except Conflict:
                device = self.index.find(collection.id, eui)
                if device is None:
                    raise
                return device

    def _refused(self, collection: Collection, eui: str, remote: Remote, size: int, *, full: bool) -> NotFound:
        """Publish that a device is unknown, once a window, and return the refusal."""
        detail = f"devEui {eui}"
        if full and self._config.create_devices:
            detail += f"; the collection has {self._config.max_devices} devices (chirpstack.max_devices)"
        event = MessageRejected(
            origin=Origin(collection.id),
            reason=MessageRejectedReason.UNKNOWN_EUI,
            remote_address=render_remote(remote),
            transport=Transport.GATEWAY,
            bytes=size,
            detail=detail,
        )
        self._unknown.publish(event, collection.id, MessageRejectedReason.UNKNOWN_EUI.value, eui)
        return NotFound(
            f"No device of the collection has the tag {EUI_TAG} {eui}",
            hint=MessageRejectedReason.UNKNOWN_EUI.hint,
            field="deviceInfo.devEui",
        )


def _identity(kind: Kind, device: Device, fields: Fields, octets: bytes) -> Hashable:
    """Return the identity of an event: its id is shared by other kinds, and absent in some."""
    given = fields.text("deduplicationId")
    if not given and (item := fields.text("queueItemId")):
        given = f"{item} {fields.flag('acknowledged')}"
    return (kind, device.id, given[:64] if given else sha256(octets).digest())
