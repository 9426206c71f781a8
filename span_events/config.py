"""
Every setting, its default and its meaning: the only place where they stand.

Settings come from a TOML file, and from environment variables above it
(``SPAN_EVENTS_COAP__PORT=5700`` is ``port`` in the table ``[coap]``). ``config/span-events.toml`` and
the README's table are rendered from here and compared by a test. Loading reports every fault at once.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from span_events.errors import ConfigurationError

PREFIX: Final = "SPAN_EVENTS_"
"""Environment variables that are settings begin with this."""

T = TypeVar("T")
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Octets = Annotated[int, Field(ge=1)]
Buffer = Annotated[int, Field(ge=1, le=(1 << 31) - 1)]
"""Octets, as far as the kernel can count them."""
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}$)(\*\.)?({_LABEL}\.)*{_LABEL}")


def _host_name(text: str) -> str:
    """Take an IP address, or a host name as certificates spell it (RFC 5890: lower case, ASCII)."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        lower = text.lower()
        if not _DNS_NAME.fullmatch(lower):
            raise ValueError(f"{text!r} is neither an IP address nor a host name") from None
        return lower


HostName = Annotated[str, AfterValidator(_host_name)]


def setting(default: T, meaning: str) -> T:
    """Declare a setting; ``meaning`` ends up as the comment in the configuration file."""
    field: T = Field(default=default, description=meaning)
    return field


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
        247.0, "Seconds that a message ID is remembered (EXCHANGE_LIFETIME, RFC 7252 4.8.2)."
    )
    remembered_exchanges: Count = setting(
        50_000, "Exchanges remembered at most to answer duplicates; the oldest is forgotten first."
    )
    unfinished_uploads: Count = setting(1_000, "Block-wise uploads under way at most; the oldest is dropped first.")
    upload_timeout: Seconds = setting(93.0, "Seconds that a block-wise upload may pause (MAX_TRANSMIT_WAIT).")


class CoapsConfig(Section):
    """CoAP over DTLS (RFC 7252 9); what else CoAP needs is in [coap]."""

    enabled: bool = setting(True, "Whether to listen.")
    host: str = setting("127.0.0.1", "Address to bind.")
    port: Port = setting(5684, "UDP port; 0 picks a free one.")
    receive_buffer: Octets = setting(8_388_608, "Kernel receive buffer asked for, octets (SO_RCVBUF).")


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


class RadiusConfig(Section):
    """The mobile core's RADIUS; not part of this release, the address is reserved."""

    host: str = setting("127.0.0.1", "Reserved: address to bind.")
    port: Port = setting(1812, "Reserved: UDP port of authentication.")
    accounting_port: Port = setting(1813, "Reserved: UDP port of accounting.")


class GatewaysConfig(Section):
    """Gateways' control streams; not part of this release, the address is reserved."""

    host: str = setting("127.0.0.1", "Reserved: address to bind.")
    port: Port = setting(6674, "Reserved: TCP port.")


class BlobsConfig(Section):
    """Blob uploads; not part of this release, the address is reserved."""

    host: str = setting("127.0.0.1", "Reserved: address to bind.")
    port: Port = setting(8081, "Reserved: TCP port.")
    tls_port: Port = setting(8443, "Reserved: TCP port for clients with a certificate.")


class MessagesConfig(Section):
    """Upstream messages."""

    max_payload: Octets = setting(16_384, "Largest upstream message, octets; a larger one is rejected (tooLarge).")
    rate: Seconds = setting(
        100.0, "Messages a second that one device may send for long; more is rejected (rateLimited)."
    )
    burst: Count = setting(500, "Messages that one device may send at once above that rate.")
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
        100, "Unexpired certificates that one device may have, revoked ones too; one more is refused with 429."
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
    gateways: GatewaysConfig = GatewaysConfig()
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


def load(path: Path | None = None) -> Config:
    """
    Read the configuration from a file (if one is given) and the environment.

    Raises:
        ConfigurationError: The file cannot be read, or settings are wrong; all of them are named.
    """
    values = {} if path is None else _read(path)
    faults = [*_unknown_tables()]
    try:
        found = Config(**values)
    except ValidationError as exc:
        raise ConfigurationError(faults + [_fault(each) for each in exc.errors()]) from exc
    except Exception as exc:  # pydantic-settings: an environment variable is not what it should be
        raise ConfigurationError([*faults, f"environment: {exc}"]) from exc
    if faults:
        raise ConfigurationError(faults)
    return found


def sections() -> Iterable[tuple[str, type[Section]]]:
    """List the tables of the configuration file in their order."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


def render_file() -> str:
    """Write the configuration file: every setting with its meaning and default."""
    lines = [
        "# span-events: every setting, with its default.",
        "# An environment variable wins over this file: SPAN_EVENTS_COAP__PORT is port in [coap].",
        "",
        f"# {Config.model_fields['node'].description}",
        f"node = {_toml(Config.model_fields['node'].default)}",
    ]
    for name, section in sections():
        lines += ["", f"# {(section.__doc__ or '').strip()}", f"[{name}]"]
        for key, field in section.model_fields.items():
            lines += [f"# {field.description}", f"{key} = {_toml(field.default)}"]
    return "\n".join(lines) + "\n"


def render_table() -> str:
    """Write the README's table of settings."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    node = Config.model_fields["node"]
    rows.append(f"| `node` | `{_toml(node.default)}` | {node.description} |")
    for name, section in sections():
        for key, field in section.model_fields.items():
            rows.append(f"| `{name}.{key}` | `{_toml(field.default)}` | {field.description} |")
    return "\n".join(rows) + "\n"


def _unknown_tables() -> Iterable[str]:
    """
    Name the variables that set something in a table that is not there; pydantic-settings overlooks them.

    Variables without a table may be others' (Kubernetes sets some for each service).
    """
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX):
            table, *path = variable.lower().removeprefix(PREFIX.lower()).split("__")
            if path and table not in Config.model_fields:
                yield f"{'.'.join((table, *path))}: there is no such setting (from {variable})"
            meant = None if path else _with_both_underscores(table)
            if meant:
                yield f"{variable}: there is no such variable; two underscores stand after the table: {meant}"


def _with_both_underscores(words: str) -> str | None:
    """Find the variable that somebody meant who wrote ``COAP_PORT``."""
    for name, section in sections():
        if words.removeprefix(f"{name}_") in section.model_fields and words.startswith(f"{name}_"):
            return f"{PREFIX}{name}__{words.removeprefix(f'{name}_')}".upper()
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigurationError([f"{path}: cannot be read: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError([f"{path}: is not UTF-8 (octet {exc.start})"]) from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError([f"{path}: is not TOML: {exc}"]) from exc


_WORDS: Final[Mapping[str, str]] = {
    "less_than_equal": "{input!r} is above {le}",
    "greater_than_equal": "{input!r} is below {ge}",
    "greater_than": "{input!r} is not above {gt}",
    "extra_forbidden": "there is no such setting",
    "literal_error": "{input!r} is not {expected}",
    "int_parsing": "{input!r} is not a whole number",
    "int_type": "{input!r} is not a whole number",
    "float_parsing": "{input!r} is not a number",
    "finite_number": "{input!r} is not a finite number",
    "float_type": "{input!r} is not a number",
    "bool_parsing": "{input!r} is not true or false",
    "string_type": "{input!r} is not text",
    "model_type": "{input!r} is not a table",
    "value_error": "{error}",
}


def _fault(error: Any) -> str:
    location = [str(each) for each in error["loc"]]
    path = ".".join(location)
    words = _WORDS.get(error["type"])
    text = words.format(input=error["input"], **error.get("ctx", {})) if words else error["msg"]
    variable = PREFIX + "__".join(location).upper()
    return f"{path}: {text}" + (f" (from {variable})" if variable in os.environ else "")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return str(value)
