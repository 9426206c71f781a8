"""Settings of events and streams."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from span_events.config.fields import (
    Buffer,
    Count,
    Octets,
    Port,
    Rate,
    Seconds,
    setting,
)
from span_events.config.sections.base import Section


class EventsConfig(Section):
    """Activity events."""

    profile: Literal["extended", "span"] = setting(
        "extended", "Profile of streams that request none: extended, or span for the 24 events of Span only."
    )
    history_per_collection: Count = setting(
        1_000, "Events that a collection keeps, in memory only; besides, a quarter as many warnings and errors."
    )
    history_total: Count = setting(
        50_000, "Events that all collections keep together; besides, a quarter as many warnings and errors."
    )
    history_octets: Octets = setting(67_108_864, "Octets of memory that they may take, roughly; besides, a quarter.")
    history_age: Seconds = setting(86_400.0, "Seconds that an event is kept.")


class FanoutConfig(Section):
    """Delivery of events to subscribers."""

    subscribers: Count = setting(10_000, "Upper bound of subscribers; one more is refused with 503.")
    subscriber_buffer: Octets = setting(
        262_144, "Octets that may wait for one subscriber; beyond it, events are dropped."
    )
    total_buffer: Octets = setting(268_435_456, "Octets that may wait for all subscribers together.")
    send_buffer: Buffer = setting(65_536, "Kernel send buffer of a subscriber, octets (SO_SNDBUF).")
    stalled_after: Seconds = setting(30.0, "Seconds over its buffer after which a subscriber is closed (1013).")
    max_write: Octets = setting(65_536, "Largest write, octets.")
    max_linger_ms: Annotated[float, Field(ge=0, le=1000)] = setting(
        5.0, "Milliseconds that events may wait under load to share a write; 0 never waits."
    )
    slice: Count = setting(256, "Subscribers that are written to before other tasks run.")


class StreamsConfig(Section):
    """WebSocket streams."""

    ping_interval: Seconds = setting(30.0, "Seconds between pings; a client without an answer in this time is closed.")
    keepalive_from: Seconds = setting(30.0, "Seconds of silence until a keepalive object on /from.")
    keepalive_activity: Seconds = setting(
        15.0, "Seconds of silence until a keepalive object on extended activity streams."
    )
    max_tail: Count = setting(1_000, "Largest value of tail= of a stream.")
    client_frames: Rate = setting(
        50.0, "Frames per second that a client of a stream may send, twice as many at once; beyond it, close 1008."
    )
    client_octets: Rate = setting(32_768.0, "Octets per second that it may send, twice as many at once.")
    token_timeout: Seconds = setting(
        10.0, "Seconds that a client without a token has for its first message, which must bring one; then close 1008."
    )
    per_token: Count = setting(
        2_000,
        "Upper bound of open streams over HTTP, gRPC and MQTT with one token or login; one more is refused with 429.",
    )
    per_address: Count = setting(
        2_000,
        "Upper bound of those from an IPv4 address or IPv6 /64; one more is refused with 429 (see http.proxies).",
    )
    without_token: Count = setting(100, "Upper bound of clients that have yet to send it; one more gets 503.")


class ThingsStackConfig(Section):
    """The Things Stack's API of events, for its own clients; over HTTP it is on the port of [http]."""

    max_request: Octets = setting(262_144, "Largest request body or message of a client, octets.")
    console_connections: Count = setting(
        1_000,
        "Upper bound of the Console's WebSockets, with up to 100 subscriptions each; one more is refused with 503.",
    )
    grpc: bool = setting(True, "True serves gRPC, which ttn-lw-cli uses.")
    grpc_host: str = setting("127.0.0.1", "Address to bind for gRPC.")
    grpc_port: Port = setting(1884, "TCP port for gRPC; 0 picks a free one.")
    grpc_tls: bool = setting(False, "True serves gRPC with TLS and the server's certificate, False without TLS.")
    grpc_connections: Count = setting(1_000, "Upper bound of gRPC connections; one more displaces a silent one.")


class MqttConfig(Section):
    """MQTT 3.1.1 and 5 for subscribers, over TCP here and over WebSocket at /mqtt of [http]."""

    enabled: bool = setting(True, "True starts the listener, and serves /mqtt.")
    host: str = setting("127.0.0.1", "Address to bind; 0.0.0.0 or :: opens it to the network.")
    port: Port = setting(1883, "TCP port; 0 picks a free one.")
    tls: bool = setting(False, "True serves MQTT with TLS and the server's certificate, False without TLS.")
    chirpstack: Literal["json", "protobuf"] = setting(
        "json", "Payload at application/COLLECTION/device/DEVEUI/event/TYPE: json or protobuf."
    )
    connections: Count = setting(
        1_000, "Upper bound of connections without a subscription; one more displaces the oldest."
    )
    connect_timeout: Seconds = setting(10.0, "Seconds that a client has until its CONNECT packet.")
    subscriptions: Count = setting(100, "Upper bound of a client's topic filters.")
    client_packets: Rate = setting(
        50.0, "Packets per second that a client may send, twice as many at once; beyond it, it is disconnected (0x96)."
    )
    client_octets: Rate = setting(32_768.0, "Octets per second that it may send, twice as many at once.")
