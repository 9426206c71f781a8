"""Every setting, its default and its meaning: the only place where they stand."""

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
"""Environment variables that are settings begin with this."""


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class HttpConfig(Section):
    """REST, streams, console and metrics."""

    host: str = setting("127.0.0.1", "Address to bind; 0.0.0.0 or :: opens it to the network.")
    port: Port = setting(8080, "TCP port; 0 picks a free one.")
    allowed_origins: tuple[str, ...] = setting(
        ("null", "http://localhost:*", "http://127.0.0.1:*"),
        "Pages of which origins may open a stream, besides our own; * matches any run of characters.",
    )
    max_body: Octets = setting(1_048_576, "Largest request body, octets.")
    shutdown_timeout: Seconds = setting(5.0, "Seconds that open requests get to end at shutdown.")


class DatagramsConfig(Section):
    """Plain UDP and, on the same port, DTLS; one datagram is one upstream message."""

    enabled: bool = setting(True, "Whether to listen.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(1234, "UDP port; 0 picks a free one.")
    receive_buffer: Buffer = setting(8_388_608, "Kernel receive buffer asked for, octets (SO_RCVBUF).")


class CoapConfig(Section):
    """CoAP over UDP (RFC 7252)."""

    enabled: bool = setting(True, "Whether to listen.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(5683, "UDP port; 0 picks a free one.")
    receive_buffer: Buffer = setting(8_388_608, "Kernel receive buffer asked for, octets (SO_RCVBUF).")
    exchange_lifetime: Seconds = setting(
        247.0,
        "Seconds that a client's last request is remembered, to know it again (EXCHANGE_LIFETIME, RFC 7252 4.8.2).",
    )
    remembered_exchanges: Count = setting(
        50_000, "Clients of which that is remembered, at most; the one that came first is forgotten first."
    )
    unfinished_uploads: Count = setting(1_000, "Block-wise uploads under way at most; the oldest is dropped first.")
    upload_timeout: Seconds = setting(93.0, "Seconds that a block-wise upload may pause (MAX_TRANSMIT_WAIT).")


class CoapsConfig(Section):
    """CoAP over DTLS (RFC 7252 9); what else CoAP needs is in [coap]."""

    enabled: bool = setting(True, "Whether to listen.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(5684, "UDP port; 0 picks a free one.")
    receive_buffer: Buffer = setting(8_388_608, "Kernel receive buffer asked for, octets (SO_RCVBUF).")


class DtlsConfig(Section):
    """DTLS 1.2, on the ports of [datagrams] and [coaps]; limits hold for each of the two."""

    enabled: bool = setting(True, "Whether [datagrams] takes DTLS besides plain datagrams.")
    handshake_timeout: Seconds = setting(30.0, "Seconds that a handshake may take.")
    half_open: Count = setting(
        2_000, "Handshakes under way at most; one more ends the one that has paused longest (serverBusy)."
    )
    half_open_per_prefix: Count = setting(
        100, "The same for one IPv4 /24 or IPv6 /56; a NAT with many devices behind it may need more."
    )
    sessions: Count = setting(20_000, "Sessions at most; one more is refused (serverBusy).")
    failures_per_minute: Count = setting(
        50, "Failed handshakes of one address in a minute; beyond, its handshakes get no answer for the rest of it."
    )
    mtu: Annotated[int, Field(ge=256, le=16_384)] = setting(
        1_232, "Octets of a datagram of handshakes at most; IPv6 carries 1232 everywhere."
    )


class NasConfig(Section):
    """One NAS of the mobile core (PGW, GGSN, SMF), or several that share a secret."""

    name: Annotated[str, Field(min_length=1, description="What events, log and metrics call it.", examples=["pgw1"])]
    addresses: Annotated[
        tuple[Prefix, ...],
        Field(
            description="Addresses and prefixes that its requests come from; of several that fit, the longest counts.",
            examples=[("192.0.2.10", "2001:db8:1::/64")],
        ),
    ]
    secret_file: str = Field(
        default="",
        description="File that holds the shared secret; a newline at its end does not count.",
        examples=["/etc/span-events/pgw1.secret"],
    )
    secret: SecretStr = setting(
        SecretStr(""), "The shared secret itself, in place of a file; at least 16 random characters are advised."
    )
    require_message_authenticator: bool = setting(
        True,
        "Drop an Access-Request without Message-Authenticator. Nothing else proves it: with false, whoever can forge a"
        " source address attaches devices.",
    )
    accounting: bool = setting(True, "It sends accounting; with false, a device counts as attached when it is let in.")
    interim_interval: Annotated[int, Field(ge=0, le=86_400)] = setting(
        600, "Seconds between the Interim-Updates that it is asked for; 0 does not ask."
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
        if path == "" and not secret.get_secret_value():  # None: what is wrong with the file is told already
            raise ValueError("is empty, and there is no secret_file")
        return secret


class RadiusConfig(Section):
    """RADIUS, by which the mobile core asks and tells who attaches; off until there is a table [[radius.nas]]."""

    host: str = setting("127.0.0.1", "Address to bind; best one that only the mobile core can reach.")
    port: Port = setting(1812, "UDP port of authentication; 0 picks a free one.")
    accounting_port: Port = setting(1813, "UDP port of accounting; 0 picks a free one.")
    receive_buffer: Buffer = setting(4_194_304, "Kernel receive buffer asked for, octets (SO_RCVBUF); for each port.")
    dns: tuple[Address, ...] = setting(
        (), "DNS servers that devices are told, best first; two of IPv4 and 15 of IPv6 at most."
    )
    remember: Seconds = setting(30.0, "Seconds that an answered request is remembered (RFC 5080 2.2.2).")
    remembered_requests: Count = setting(
        50_000, "Requests remembered at most to answer duplicates; the oldest is forgotten first."
    )
    waiting_answers: Count = setting(
        10_000, "Answers that may wait for the registry; a request beyond gets none, and has to come again."
    )
    nas: tuple[NasConfig, ...] = setting((), "Who may ask, each in a table [[radius.nas]].")

    def interim_intervals(self) -> dict[str, float]:
        """Return the seconds between Interim-Updates, by the names of those NAS that are asked for them."""
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
    """Who is attached to the mobile network, and with which address; RADIUS tells it."""

    pool: tuple[PoolPrefix, ...] = setting(
        (), "IPv4 and IPv6 prefixes that devices get addresses of; without, they have their own or the mobile core's."
    )
    reservation: Seconds = setting(120.0, "Seconds that an address is kept for a device between Accept and Start.")
    quarantine: Annotated[float, Field(ge=0, allow_inf_nan=False)] = setting(
        600.0, "Seconds that a freed address of the pool is given to no other device."
    )
    on_mismatch: Literal["reject", "accept"] = setting(
        "reject", "Answer to a SIM and hardware that do not belong together; accept lets them in as nobody's device."
    )
    mismatch_window: Seconds = setting(
        3_600.0, "Seconds in which the same mismatch is told once; what repeats it is told as one event with a count."
    )
    silent_after: Seconds = setting(
        300.0, "Seconds after which a device that attached and has sent nothing is told (clientSilent)."
    )
    session_timeout: Seconds = setting(
        86_400.0, "Seconds without news of a session after which it ends; three Interim-Updates if its NAS sends them."
    )
    sessions: Count = setting(
        200_000, "Sessions and reservations at most; one more ends the one without news for longest (tableFull)."
    )
    stops: Count = setting(
        10_000, "Ended sessions in memory, so that what a NAS repeats late does not begin them again; the latest stay."
    )
    subscribers: Count = setting(
        10_000,
        "Mismatches, and rejections of each reason, watched at the same time; beyond that, they are only counted.",
    )
    rejections_per_second: Count = setting(
        10, "ciotRejected events of one reason in a second, whoever is rejected; beyond that, they are only counted."
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

    enabled: bool = setting(True, "Whether to listen.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(6674, "TCP port; 0 picks a free one.")
    connections: Count = setting(10_000, "Connections at most; one more is refused (overload).")
    half_open: Count = setting(2_000, "Of these, connections without a stream; one more is refused (overload).")
    half_open_per_address: Count = setting(1_000, "The same for one address.")
    failures_per_minute: Count = setting(
        600, "Failed connections of one address in a minute; beyond, it is refused for the rest of it (overload)."
    )
    handshake_timeout: Seconds = setting(5.0, "Seconds that the TLS handshake may take (tlsTimeout).")
    stream_timeout: Seconds = setting(5.0, "Seconds after it within which the stream must be opened (noStream).")
    max_message: Octets = setting(
        262_144, "Largest message from a gateway, octets; a larger one ends its stream (messageTooLarge)."
    )
    queue_messages: Count = setting(1_000, "Messages that may wait for one gateway.")
    queue_octets: Octets = setting(
        1_048_576, "Octets of memory that may wait for one gateway, 640 for each message included."
    )
    stalled_after: Seconds = setting(30.0, "Seconds that a message may wait; then the stream is ended (slowReader).")
    send_buffer: Buffer = setting(65_536, "Kernel send buffer of a connection, octets (SO_SNDBUF).")
    keepalive_interval: Seconds = setting(5.0, "Seconds of silence after which a gateway is asked whether it is there.")
    keepalive_timeout: Seconds = setting(
        4.0, "Seconds that it has for an answer; then the stream is ended (keepaliveTimeout)."
    )
    tcp_timeout: Seconds = setting(
        30.0, "Seconds that TCP tries to deliver something before it gives up (TCP_USER_TIMEOUT)."
    )
    silent_after: Seconds = setting(
        130.0, "Seconds without a message from a gateway that is there after which this is told (applicationSilent)."
    )
    linger: Seconds = setting(1.0, "Seconds that a gateway gets to read why its stream was ended.")


class FirmwareConfig(Section):
    """Firmware images, and how devices get them."""

    coap_host: DownloadHost = setting(
        "",
        "Host that devices of [coap] (cellular) download from, 24 characters at most; empty: the one they reached.",
    )
    coap_port: Port = setting(0, "UDP port for that; 0 is the port of [coap].")
    coaps_host: DownloadHost = setting(
        "",
        "Host that devices of [coaps] (internet) download from, 24 characters at most; empty: the one they reached.",
    )
    coaps_port: Port = setting(0, "UDP port for that; 0 is the port of [coaps].")
    path: DownloadPath = setting("/fw", "Path of the download, 9 characters at most: devices have no room for more.")
    block_size: Literal[16, 32, 64, 128, 256, 512, 1024] = setting(
        512, "Octets of a block for a device that does not say which it wants."
    )
    stall_timeout: Seconds = setting(
        120.0, "Seconds after a block without another one until a download counts as stopped (TimedOut)."
    )
    update_timeout: Seconds = setting(
        1_800.0, "Seconds after a download without a report until the update counts as failed (TimedOut)."
    )

    max_image: Annotated[int, Field(ge=1, le=16_777_216)] = setting(
        16_777_216, "Largest image, octets; CoAP counts 2^20 blocks, of 16 octets if a device asks for that."
    )
    images_per_collection: Count = setting(100, "Images that one collection may have; one more is refused with 429.")
    uploads: Count = setting(4, "Images that may be uploaded at the same time; one more is refused with 429.")
    upload_pause: Seconds = setting(30.0, "Seconds that the upload of an image may pause; then it ends with 408.")
    upload_timeout: Seconds = setting(900.0, "Seconds that it may take in all; then it ends with 408.")


class BlobsConfig(Section):
    """Blobs: large things that devices send, by HTTP on two ports of their own, or by CoAP to /blob."""

    enabled: bool = setting(True, "Whether blobs are taken, on both ports and by CoAP.")
    host: str = setting("127.0.0.1", "Address to bind, for both ports.")
    port: Port = setting(8081, "TCP port of HTTP, where a device is known by its address; 0 picks a free one.")
    tls_port: Port = setting(8443, "TCP port of HTTPS, where it is known by its certificate; 0 picks a free one.")
    max_size: Octets = setting(16_777_216, "Largest blob, octets; a larger one is rejected (tooLarge).")
    per_collection: Count = setting(10_000, "Blobs of a collection; one more is rejected (storageFull).")
    octets_per_collection: Octets = setting(1_073_741_824, "Octets that the blobs of a collection have together.")
    total_octets: Octets = setting(17_179_869_184, "Octets that the blobs of all collections have together.")
    uploads: Count = setting(100, "Uploads under way at most; one more is rejected (serverBusy).")
    uploads_per_device: Count = setting(4, "The same for one device.")
    connections: Count = setting(
        500, "HTTP connections at most, for each port; one more ends the oldest that has not sent its request yet."
    )
    header_timeout: Seconds = setting(
        10.0, "Seconds that a client has for its TLS handshake, and then for its request."
    )
    min_rate: Rate = setting(
        100.0, "Octets a second that an HTTP upload must bring, seen over rate_window; else it is rejected (tooSlow)."
    )
    rate_window: Seconds = setting(30.0, "Seconds over which min_rate is seen; so long may an upload pause.")
    upload_timeout: Seconds = setting(3_600.0, "Seconds that an HTTP upload may take in all.")


class MessagesConfig(Section):
    """Upstream messages."""

    max_payload: Octets = setting(16_384, "Largest upstream message, octets; a larger one is rejected (tooLarge).")
    rate: Rate = setting(100.0, "Messages a second that one device may send for long; more is rejected (rateLimited).")
    burst: Count = setting(500, "Messages that one device may send at once above that rate.")
    block_rate: Rate = setting(
        20_000.0, "Blocks of firmware or blobs that a device may transfer a second by CoAP; more count as messages."
    )
    inbox_per_collection: Count = setting(1_000, "Messages that the inbox remembers per collection, in memory only.")
    inbox_octets: Octets = setting(67_108_864, "Payload octets that all inboxes remember together.")


class SessionsConfig(Section):
    """Sessions of devices, over any transport."""

    idle_timeout: Seconds = setting(
        900.0, "Seconds of silence after which a device counts as disconnected; a DTLS session is closed then."
    )


class DownstreamConfig(Section):
    """Messages to devices."""

    max_payload: Octets = setting(4_096, "Largest downstream message, octets.")
    per_device: Count = setting(100, "Messages that may wait per device; as many sent ones are remembered.")
    expiry: Seconds = setting(604_800.0, "Seconds that a message may wait; then it fails (expired).")


class RejectionsConfig(Section):
    """How often a sender's faults become events; the rest is counted."""

    burst: Count = setting(10, "Rejections told one by one, per sender and reason, within a window.")
    window: Seconds = setting(60.0, "Seconds of a window; what was not told in it is told as one event with a count.")
    senders: Count = setting(10_000, "Senders watched at the same time; beyond that, rejections are only counted.")


class EventsConfig(Section):
    """Activity events."""

    profile: Literal["extended", "span"] = setting(
        "extended", "Events of streams that do not say: extended, or span for the 24 events of Span only."
    )
    history_per_collection: Count = setting(1_000, "Events that a collection remembers, in memory only.")
    history_total: Count = setting(50_000, "Events remembered in all.")


class FanoutConfig(Section):
    """How events reach subscribers."""

    subscribers: Count = setting(10_000, "Subscribers at the same time; one more is refused with 503.")
    subscriber_buffer: Octets = setting(262_144, "Octets that may wait for one subscriber; beyond, events are dropped.")
    total_buffer: Octets = setting(268_435_456, "Octets that may wait for all subscribers together.")
    send_buffer: Buffer = setting(65_536, "Kernel send buffer of a subscriber, octets (SO_SNDBUF).")
    stalled_after: Seconds = setting(30.0, "Seconds over its buffer after which a subscriber is closed (1013).")
    max_write: Octets = setting(65_536, "Octets joined into one write at most.")
    max_linger_ms: Annotated[float, Field(ge=0, le=1000)] = setting(
        5.0, "Milliseconds that events may wait for company under load; 0 never waits."
    )
    slice: Count = setting(256, "Subscribers written to before other work gets its turn.")


class StreamsConfig(Section):
    """WebSocket streams."""

    ping_interval: Seconds = setting(30.0, "Seconds between pings; a client that answers none in this time is closed.")
    keepalive_from: Seconds = setting(30.0, "Seconds of silence before a keepalive object on /from.")
    keepalive_activity: Seconds = setting(15.0, "Seconds of silence before one on extended activity streams.")
    max_tail: Count = setting(1_000, "Largest tail= that a stream may ask for.")


class RegistryConfig(Section):
    """Collections, devices, tokens and waiting downstream messages."""

    url: str = setting("", "SQLAlchemy URL; empty is SQLite in the data directory.")
    flush_interval: Seconds = setting(1.0, "Seconds between batches of what changes with each message.")
    watch_interval: Seconds = setting(0.4, "Seconds between looks for tokens made or deleted by other processes.")


class PkiConfig(Section):
    """Certificates that this server issues, and its own."""

    server_names: tuple[HostName, ...] = setting(
        (), "Host names and IP addresses that devices know the server by, besides localhost and this computer's name."
    )
    validity: Seconds = setting(1_209_600.0, "Seconds that a certificate of a device or gateway is valid.")
    server_validity: Seconds = setting(
        7_776_000.0, "Seconds that the server's own are valid; they are renewed when a third of it is left."
    )
    backdate: Annotated[float, Field(ge=0)] = setting(
        3_600.0, "Seconds that a certificate is valid before it is made, for clients whose clock is behind."
    )
    warn_before: Seconds = setting(
        259_200.0, "Seconds before its end from which a certificate that is used is told daily (certificateExpiring)."
    )
    keep_expired: Seconds = setting(
        2_592_000.0, "Seconds that expired certificates are remembered, to tell whose they were."
    )
    per_device: Count = setting(
        100, "Unexpired certificates that a device or gateway may have, revoked ones too; one more is refused with 429."
    )


class LogConfig(Section):
    """Log lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Least level that is written.")
    style: Literal["console", "json"] = setting("console", "For people, or for collectors.")


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", validate_default=True
    )

    node: Annotated[int, Field(ge=0, le=1023)] = setting(0, "Number of this process among those that share a registry.")
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
