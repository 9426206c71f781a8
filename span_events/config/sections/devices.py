"""Settings of devices: messages, sessions, rejections, gateways, firmware and blobs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from span_events.config.fields import (
    BlockSize,
    Buffer,
    Count,
    DownloadHost,
    DownloadPath,
    Octets,
    Port,
    Rate,
    Seconds,
    setting,
)
from span_events.config.sections.base import Section


class GatewaysConfig(Section):
    """Gateways' control streams: gRPC over TLS, with client certificates."""

    enabled: bool = setting(True, "True starts the listener.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(6674, "TCP port; 0 picks a free one.")
    connections: Count = setting(10_000, "Upper bound of connections; one more is refused (overload).")
    half_open: Count = setting(2_000, "Of these, connections without a stream; one more is refused (overload).")
    half_open_per_address: Count = setting(1_000, "The same for one address.")
    failures_per_minute: Count = setting(
        600, "Failed connections of one address in a minute; beyond it, refused until the minute ends (overload)."
    )
    handshake_timeout: Seconds = setting(5.0, "Longest duration of the TLS handshake, seconds (tlsTimeout).")
    stream_timeout: Seconds = setting(5.0, "Seconds after the handshake until the stream must be open (noStream).")
    max_message: Octets = setting(
        262_144, "Largest message from a gateway, octets; a larger one ends its stream (messageTooLarge)."
    )
    frames_per_second: Count = setting(
        1_000,
        "Frames and messages with little or no content that a gateway may send a second, on average over 10 s; "
        "beyond it, its connection ends (tooManyFrames).",
    )
    queue_messages: Count = setting(1_000, "Messages that may wait for one gateway.")
    queue_octets: Octets = setting(
        1_048_576, "Memory of the messages that wait for one gateway, octets; 640 for each message included."
    )
    stalled_after: Seconds = setting(30.0, "Seconds that a message may wait; then the stream ends (slowReader).")
    send_buffer: Buffer = setting(65_536, "Kernel send buffer of a connection, octets (SO_SNDBUF).")
    keepalive_interval: Seconds = setting(5.0, "Seconds of silence until the server sends a ping to a gateway.")
    keepalive_timeout: Seconds = setting(
        4.0, "Seconds that a gateway has to answer a ping; then the stream ends (keepaliveTimeout)."
    )
    tcp_timeout: Seconds = setting(30.0, "Seconds that TCP tries to deliver data (TCP_USER_TIMEOUT).")
    silent_after: Seconds = setting(
        130.0, "Seconds without a message from a gateway that answers pings, until applicationSilent is published."
    )
    linger: Seconds = setting(1.0, "Seconds that a gateway has to read the reason of its stream's end.")


class FirmwareConfig(Section):
    """Firmware images and their downloads."""

    coap_host: DownloadHost = setting(
        "",
        "Download host for devices of [coap] (cellular), at most 24 characters; empty: the one they reached.",
    )
    coap_port: Port = setting(0, "UDP port of that host; 0 is the port of [coap].")
    coaps_host: DownloadHost = setting(
        "",
        "Download host for devices of [coaps] (internet), at most 24 characters; empty: the one they reached.",
    )
    coaps_port: Port = setting(0, "UDP port of that host; 0 is the port of [coaps].")
    path: DownloadPath = setting("/fw", "Path of the download, at most 9 characters: devices have no room for more.")
    block_size: BlockSize = setting(
        256, "Block size for a device that requests none, octets; a device without room for one asks for it for ever."
    )
    stall_timeout: Seconds = setting(
        120.0, "Seconds after a block until a download without further blocks counts as stopped (TimedOut)."
    )
    update_timeout: Seconds = setting(
        1_800.0, "Seconds after a download until an update without a report counts as failed (TimedOut)."
    )

    max_image: Annotated[int, Field(ge=1, le=16_777_216)] = setting(
        16_777_216, "Largest image, octets; CoAP numbers 2^20 blocks, of 16 octets if a device requests that."
    )
    images_per_collection: Count = setting(
        100, "Upper bound of images of one collection; one more is refused with 429."
    )
    uploads: Count = setting(4, "Upper bound of concurrent uploads of images; one more is refused with 429.")
    upload_pause: Seconds = setting(30.0, "Seconds that the upload of an image may pause; then it ends with 408.")
    upload_timeout: Seconds = setting(
        900.0, "Longest duration of an upload of an image, seconds; then it ends with 408."
    )


class BlobsConfig(Section):
    """Blobs: files that devices upload, by HTTP on two ports of their own, or by CoAP to /blob."""

    enabled: bool = setting(True, "True accepts blobs, on both ports and by CoAP.")
    host: str = setting("127.0.0.1", "Address to bind, for both ports.")
    port: Port = setting(8081, "TCP port of HTTP, which identifies a device by its address; 0 picks a free one.")
    tls_port: Port = setting(
        8443, "TCP port of HTTPS, which identifies a device by its certificate; 0 picks a free one."
    )
    max_size: Octets = setting(16_777_216, "Largest blob, octets; a larger one is rejected (tooLarge).")
    per_collection: Count = setting(10_000, "Upper bound of blobs of a collection; one more is rejected (storageFull).")
    octets_per_collection: Octets = setting(
        1_073_741_824, "Total size of the blobs of a collection, octets (storageFull)."
    )
    total_octets: Octets = setting(17_179_869_184, "Total size of the blobs of all collections, octets (storageFull).")
    uploads: Count = setting(100, "Upper bound of uploads under way; one more is rejected (serverBusy).")
    uploads_per_device: Count = setting(4, "The same for one device.")
    connections: Count = setting(
        500, "Upper bound of HTTP connections of each port; one more ends the oldest without a complete request."
    )
    header_timeout: Seconds = setting(
        10.0, "Seconds that a client has for its TLS handshake, and again for the head of its request."
    )
    min_rate: Rate = setting(
        100.0,
        "Least octets per second of an HTTP upload, averaged over rate_window; a slower one is rejected (tooSlow).",
    )
    rate_window: Seconds = setting(30.0, "Seconds over which min_rate is averaged: the longest pause of an upload.")
    upload_timeout: Seconds = setting(3_600.0, "Longest duration of an HTTP upload, seconds.")


class MessagesConfig(Section):
    """Upstream messages."""

    max_payload: Octets = setting(16_384, "Largest upstream message, octets; a larger one is rejected (tooLarge).")
    rate: Rate = setting(100.0, "Messages per second of one device, sustained; more are rejected (rateLimited).")
    burst: Count = setting(500, "Messages of one device in a burst above that rate.")
    block_rate: Rate = setting(
        20_000.0, "Blocks of firmware or blobs per second of one device over CoAP; more count as messages."
    )
    inbox_per_collection: Count = setting(1_000, "Messages that the inbox of a collection keeps, in memory only.")
    inbox_octets: Octets = setting(67_108_864, "Payloads that all inboxes keep together, octets.")


class SessionsConfig(Section):
    """Sessions of devices, over any transport."""

    idle_timeout: Seconds = setting(
        900.0, "Seconds of silence after which a device counts as disconnected; a DTLS session is closed then."
    )


class DownstreamConfig(Section):
    """Messages to devices."""

    max_payload: Octets = setting(4_096, "Largest downstream message, octets.")
    plain_udp: bool = setting(
        True, "Whether messages are sent over plain UDP; false: they wait for CoAP, DTLS, CoAPS or a gateway."
    )
    require_coap_con: bool = setting(
        False, "Whether messages over plain CoAP are sent only in responses to confirmable requests, which repeat."
    )
    per_device: Count = setting(100, "Messages that may wait per device; as many sent ones are kept.")
    expiry: Seconds = setting(604_800.0, "Seconds that a message may wait; then it fails (expired).")


class RejectionsConfig(Section):
    """Limits of events for the faults of one sender; the rest is counted."""

    burst: Count = setting(10, "Rejections published one by one, per sender and reason, within a window.")
    window: Seconds = setting(
        60.0, "Seconds of a window; the rejections beyond the burst become one event with a count at its end."
    )
    senders: Count = setting(
        10_000, "Unknown senders tracked at the same time, and as many known; beyond it, rejections are only counted."
    )
