"""The settings: every section of the configuration with its fields, defaults and descriptions."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from span_events.config.fields import (
    Address,
    Buffer,
    Count,
    DownloadHost,
    DownloadPath,
    HostName,
    Octets,
    PoolPrefix,
    Port,
    Prefix,
    Rate,
    Seconds,
    secret_in,
    setting,
)

PREFIX: Final = "SPAN_EVENTS_"
"""Prefix of the environment variables that are settings."""


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class HttpConfig(Section):
    """REST, streams, console and metrics."""

    host: str = setting("127.0.0.1", "Address to bind; 0.0.0.0 or :: opens it to the network.")
    port: Port = setting(8080, "TCP port; 0 picks a free one.")
    allowed_origins: tuple[str, ...] = setting(
        ("null", "http://localhost:*", "http://127.0.0.1:*"),
        "Origins of web pages that may open a stream, besides the server's own; * matches any characters.",
    )
    max_body: Octets = setting(1_048_576, "Largest request body, octets.")
    shutdown_timeout: Seconds = setting(5.0, "Seconds that open requests have to finish at shutdown.")


class DatagramsConfig(Section):
    """Plain UDP and, on the same port, DTLS; one datagram is one upstream message."""

    enabled: bool = setting(True, "True starts the listener.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(1234, "UDP port; 0 picks a free one.")
    receive_buffer: Buffer = setting(8_388_608, "Kernel receive buffer to request, octets (SO_RCVBUF).")


class CoapConfig(Section):
    """CoAP over UDP (RFC 7252)."""

    enabled: bool = setting(True, "True starts the listener.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(5683, "UDP port; 0 picks a free one.")
    receive_buffer: Buffer = setting(8_388_608, "Kernel receive buffer to request, octets (SO_RCVBUF).")
    exchange_lifetime: Seconds = setting(
        247.0,
        "Seconds that a client's last request is kept to detect duplicates (EXCHANGE_LIFETIME, RFC 7252 4.8.2).",
    )
    remembered_exchanges: Count = setting(
        50_000, "Upper bound of remembered clients; beyond it, the oldest is evicted."
    )
    unfinished_uploads: Count = setting(
        1_000, "Upper bound of block-wise uploads under way; beyond it, the oldest is dropped."
    )
    upload_timeout: Seconds = setting(93.0, "Seconds that a block-wise upload may pause (MAX_TRANSMIT_WAIT).")


class CoapsConfig(Section):
    """CoAP over DTLS (RFC 7252 9); the other settings of CoAP are in [coap]."""

    enabled: bool = setting(True, "True starts the listener.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(5684, "UDP port; 0 picks a free one.")
    receive_buffer: Buffer = setting(8_388_608, "Kernel receive buffer to request, octets (SO_RCVBUF).")


class DtlsConfig(Section):
    """DTLS 1.2, on the ports of [datagrams] and [coaps]; limits hold for each of the two."""

    enabled: bool = setting(True, "True accepts DTLS on the port of [datagrams], besides plain datagrams.")
    handshake_timeout: Seconds = setting(30.0, "Longest duration of a handshake, seconds.")
    half_open: Count = setting(
        2_000, "Upper bound of handshakes under way; one more ends the one with the longest pause (serverBusy)."
    )
    half_open_per_prefix: Count = setting(
        100, "The same for one IPv4 /24 or IPv6 /56; a NAT with many devices behind it may need more."
    )
    sessions: Count = setting(20_000, "Upper bound of sessions; one more is refused (serverBusy).")
    failures_per_minute: Count = setting(
        50,
        "Failed handshakes of one address in a minute; beyond it, its handshakes get no answer until the minute ends.",
    )
    mtu: Annotated[int, Field(ge=256, le=16_384)] = setting(
        1_232, "Largest datagram of a handshake, octets; every IPv6 path carries 1232."
    )


class NasConfig(Section):
    """One NAS of the mobile core (PGW, GGSN, SMF), or several that share a secret."""

    name: Annotated[
        str, Field(min_length=1, description="Name of the NAS in events, log and metrics.", examples=["pgw1"])
    ]
    addresses: Annotated[
        tuple[Prefix, ...],
        Field(
            description="Source addresses and prefixes of its requests; the longest matching prefix wins.",
            examples=[("192.0.2.10", "2001:db8:1::/64")],
        ),
    ]
    secret_file: str = Field(
        default="",
        description="File that holds the shared secret; a newline at its end is ignored.",
        examples=["/etc/span-events/pgw1.secret"],
    )
    secret: SecretStr = setting(
        SecretStr(""), "The shared secret itself, in place of a file; at least 16 random characters are advised."
    )
    require_message_authenticator: bool = setting(
        True,
        "True drops an Access-Request without Message-Authenticator, its only proof. With false, anybody who can forge"
        " a source address attaches devices.",
    )
    accounting: bool = setting(
        True, "True if the NAS sends accounting; with false, a device counts as attached when it is accepted."
    )
    interim_interval: Annotated[int, Field(ge=0, le=86_400)] = setting(
        600, "Seconds between Interim-Updates that the server requests (Acct-Interim-Interval); 0 requests none."
    )

    @field_validator("addresses")
    @classmethod
    def _check_addresses(cls, addresses: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
        if not addresses:
            raise ValueError("is empty")
        return addresses

    @field_validator("secret_file")
    @classmethod
    def _check_secret_file(cls, path: str) -> str:
        if path and not secret_in(path):
            raise ValueError(f"{path} is empty")
        return path

    @field_validator("secret")
    @classmethod
    def _read_secret(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        path = info.data.get("secret_file")
        if path and secret.get_secret_value():
            raise ValueError("stands beside secret_file: one of them is enough")
        if path:
            return SecretStr(secret_in(path))
        if path == "" and not secret.get_secret_value():  # None: the fault of the file is reported already
            raise ValueError("is empty, and there is no secret_file")
        return secret


class RadiusConfig(Section):
    """RADIUS for attach requests and accounting of the mobile core; off without a table [[radius.nas]]."""

    host: str = setting("127.0.0.1", "Address to bind; preferably one that only the mobile core can reach.")
    port: Port = setting(1812, "UDP port of authentication; 0 picks a free one.")
    accounting_port: Port = setting(1813, "UDP port of accounting; 0 picks a free one.")
    receive_buffer: Buffer = setting(4_194_304, "Kernel receive buffer to request, octets (SO_RCVBUF); for each port.")
    dns: tuple[Address, ...] = setting(
        (), "DNS servers assigned to devices, preferred first; at most two of IPv4 and 15 of IPv6."
    )
    remember: Seconds = setting(
        30.0, "Seconds that an answered request is kept to answer retransmissions (RFC 5080 2.2.2)."
    )
    remembered_requests: Count = setting(
        50_000, "Upper bound of requests kept to answer retransmissions; beyond it, the oldest is evicted."
    )
    waiting_answers: Count = setting(
        10_000, "Answers that may wait for the registry; beyond it, a request gets no answer until the NAS repeats it."
    )
    nas: tuple[NasConfig, ...] = setting((), "NAS that may send requests, each in a table [[radius.nas]].")

    def interim_intervals(self) -> dict[str, float]:
        """Return the seconds between Interim-Updates by NAS name, for each NAS that is requested to send them."""
        return {each.name: each.interim_interval for each in self.nas if each.accounting and each.interim_interval}

    @field_validator("dns")
    @classmethod
    def _check_dns(cls, dns: tuple[Address, ...]) -> tuple[Address, ...]:
        for version, most in ((4, 2), (6, 15)):
            count = sum(each.version == version for each in dns)
            if count > most:
                raise ValueError(f"{count} servers of IPv{version}, wanted at most {most}")
        return dns

    @field_validator("nas")
    @classmethod
    def _check_nas(cls, entries: tuple[NasConfig, ...]) -> tuple[NasConfig, ...]:
        names: set[str] = set()
        owners: dict[Prefix, str] = {}
        for entry in entries:
            if entry.name in names:
                raise ValueError(f"two tables have the name {entry.name}")
            names.add(entry.name)
            for prefix in entry.addresses:
                if prefix in owners:
                    raise ValueError(f"{prefix} stands in two tables, those of {owners[prefix]} and {entry.name}")
                owners[prefix] = entry.name
        return entries

    @field_validator("nas", mode="before")
    @classmethod
    def _check_brackets(cls, entries: object) -> object:
        if isinstance(entries, dict):
            raise ValueError("is one table; write [[radius.nas]] with double brackets")
        return entries

    @field_validator("accounting_port")
    @classmethod
    def _check_ports(cls, port: int, info: ValidationInfo) -> int:
        if port and port == info.data.get("port"):
            raise ValueError(f"{port} is radius.port too: accounting needs a port of its own")
        return port


class CellularConfig(Section):
    """Attachments of devices to the mobile network and their addresses, as RADIUS reports them."""

    pool: tuple[PoolPrefix, ...] = setting(
        (), "IPv4 and IPv6 prefixes of addresses for devices; without it, devices have their own or the mobile core's."
    )
    reservation: Seconds = setting(120.0, "Seconds that an address is reserved for a device between Accept and Start.")
    quarantine: Annotated[float, Field(ge=0, allow_inf_nan=False)] = setting(
        600.0, "Seconds until a released address of the pool is assigned to another device."
    )
    on_mismatch: Literal["reject", "accept"] = setting(
        "reject", "Answer to a SIM in the wrong hardware: reject, or accept without attaching any configured device."
    )
    mismatch_window: Seconds = setting(
        3_600.0, "Seconds in which the same mismatch is published once; its repetitions become one event with a count."
    )
    silent_after: Seconds = setting(300.0, "Seconds without a message after an attach until clientSilent is published.")
    session_timeout: Seconds = setting(
        86_400.0, "Seconds without accounting until a session ends; three Interim-Updates if its NAS sends them."
    )
    sessions: Count = setting(
        200_000,
        "Upper bound of sessions and reservations; one more ends the one longest without accounting (tableFull).",
    )
    stops: Count = setting(
        10_000, "Upper bound of ended sessions in memory, so that late repeated records do not restart them."
    )
    subscribers: Count = setting(
        10_000,
        "Mismatches, and rejections of each reason, tracked at the same time; beyond it, they are only counted.",
    )
    rejections_per_second: Count = setting(
        10, "ciotRejected events of one reason in a second, for all subscribers; beyond it, they are only counted."
    )

    @field_validator("pool")
    @classmethod
    def _check_pool(cls, pool: tuple[PoolPrefix, ...]) -> tuple[PoolPrefix, ...]:
        networks = [ipaddress.ip_network(each) for each in pool]
        for one, other in itertools.combinations(networks, 2):
            if one.version == other.version and one.overlaps(other):
                raise ValueError(f"{one} and {other} overlap")
        return pool


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
    block_size: Literal[16, 32, 64, 128, 256, 512, 1024] = setting(
        512, "Block size for a device that requests none, octets."
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
    per_device: Count = setting(100, "Messages that may wait per device; as many sent ones are kept.")
    expiry: Seconds = setting(604_800.0, "Seconds that a message may wait; then it fails (expired).")


class RejectionsConfig(Section):
    """Limits of events for the faults of one sender; the rest is counted."""

    burst: Count = setting(10, "Rejections published one by one, per sender and reason, within a window.")
    window: Seconds = setting(
        60.0, "Seconds of a window; the rejections beyond the burst become one event with a count at its end."
    )
    senders: Count = setting(10_000, "Senders tracked at the same time; beyond it, rejections are only counted.")


class EventsConfig(Section):
    """Activity events."""

    profile: Literal["extended", "span"] = setting(
        "extended", "Profile of streams that request none: extended, or span for the 24 events of Span only."
    )
    history_per_collection: Count = setting(1_000, "Events that a collection keeps, in memory only.")
    history_total: Count = setting(50_000, "Events that all collections keep together.")


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


class RegistryConfig(Section):
    """Collections, devices, tokens and waiting downstream messages."""

    url: str = setting("", "SQLAlchemy URL; empty is SQLite in the data directory.")
    flush_interval: Seconds = setting(1.0, "Seconds between writes of the data that changes with each message.")
    watch_interval: Seconds = setting(0.4, "Seconds between checks for tokens that other processes made or deleted.")


class PkiConfig(Section):
    """Certificates that this server issues, and its own."""

    server_names: tuple[HostName, ...] = setting(
        (), "Host names and IP addresses in the server's certificate, besides localhost and this computer's name."
    )
    validity: Seconds = setting(1_209_600.0, "Validity of a certificate of a device or gateway, seconds.")
    server_validity: Seconds = setting(
        7_776_000.0, "Validity of the server's own certificates, seconds; they are renewed when a third of it is left."
    )
    backdate: Annotated[float, Field(ge=0)] = setting(
        3_600.0, "Seconds that a certificate's validity begins before its issue, for clients with a slow clock."
    )
    warn_before: Seconds = setting(
        259_200.0,
        "Seconds before its end from which the use of a certificate publishes certificateExpiring, once a day.",
    )
    keep_expired: Seconds = setting(
        2_592_000.0, "Seconds that expired certificates are kept, to name their owner in events."
    )
    per_device: Count = setting(
        100,
        "Upper bound of unexpired certificates of a device or gateway, revoked ones too; one more is refused with 429.",
    )


class LogConfig(Section):
    """Log lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Lowest level that is written.")
    style: Literal["console", "json"] = setting("console", "Format: console for people, json for collectors.")


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", validate_default=True
    )

    node: Annotated[int, Field(ge=0, le=1023)] = setting(
        0, "Number of this process among the processes that share a registry."
    )
    http: HttpConfig = HttpConfig()
    datagrams: DatagramsConfig = DatagramsConfig()
    coap: CoapConfig = CoapConfig()
    coaps: CoapsConfig = CoapsConfig()
    dtls: DtlsConfig = DtlsConfig()
    radius: RadiusConfig = RadiusConfig()
    cellular: CellularConfig = CellularConfig()
    gateways: GatewaysConfig = GatewaysConfig()
    firmware: FirmwareConfig = FirmwareConfig()
    blobs: BlobsConfig = BlobsConfig()
    messages: MessagesConfig = MessagesConfig()
    sessions: SessionsConfig = SessionsConfig()
    downstream: DownstreamConfig = DownstreamConfig()
    rejections: RejectionsConfig = RejectionsConfig()
    events: EventsConfig = EventsConfig()
    fanout: FanoutConfig = FanoutConfig()
    streams: StreamsConfig = StreamsConfig()
    registry: RegistryConfig = RegistryConfig()
    pki: PkiConfig = PkiConfig()
    log: LogConfig = LogConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment stands above the file, whose values come in as arguments."""
        return env_settings, init_settings


def sections() -> Iterable[tuple[str, type[Section]]]:
    """List the tables of the configuration file in their order."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation
