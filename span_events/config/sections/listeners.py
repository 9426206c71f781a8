"""Settings of the listeners: HTTP, datagrams, CoAP and DTLS."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from span_events.config.fields import (
    Buffer,
    Count,
    Octets,
    Origin,
    Port,
    Prefix,
    Rate,
    Seconds,
    setting,
)
from span_events.config.sections.base import Section


class MonitoringConfig(Section):
    """A port with nothing but /healthz, /readyz and /metrics, beside [http], which has them, too."""

    enabled: bool = setting(False, "True opens the port; processes that share [http] need one each.")
    host: str = setting("127.0.0.1", "Address to bind; 0.0.0.0 or :: opens it to the network.")
    port: Port = setting(
        8090, "TCP port; 0 picks a free one. With workers: that of the device process, and worker 1 has the next one."
    )


class HttpConfig(Section):
    """REST, streams, console and metrics."""

    host: str = setting("127.0.0.1", "Address to bind; 0.0.0.0 or :: opens it to the network.")
    port: Port = setting(8080, "TCP port; 0 picks a free one.")
    tls: Literal["off", "files", "own"] = setting(
        "off", "TLS: off, with a certificate from files, or with the server's own certificate (clients need its root)."
    )
    certificate: str = setting(
        "", "PEM file of the certificate and its intermediates, with tls = files; read again when it changes."
    )
    key: str = setting("", "PEM file of its private key; empty if the certificate's file holds it.")
    allowed_origins: tuple[Origin, ...] = setting(
        (
            "null",
            *("http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"),
            *("https://localhost:*", "https://127.0.0.1:*", "https://[::1]:*"),
        ),
        "Origins of web pages that may use streams and the API, besides the server's own; * matches any characters.",
    )
    proxies: tuple[Prefix, ...] = setting(
        (), "Addresses and prefixes of the proxies in front, whose X-Forwarded-For is believed; of others, it is not."
    )
    max_body: Octets = setting(1_048_576, "Largest request body, octets.")
    connections: Count = setting(
        1_000, "Upper bound of connections without a stream; one more ends the oldest without a complete request."
    )
    header_timeout: Seconds = setting(10.0, "Seconds that a client has for the head of its request.")
    idle_timeout: Seconds = setting(300.0, "Seconds that a connection may wait for its next request.")
    min_rate: Rate = setting(
        1_000.0,
        "Least octets per second of a request's body or a reply, averaged over rate_window; a slower client is cut.",
    )
    rate_window: Seconds = setting(
        30.0, "Seconds over which min_rate is averaged: the longest pause of a body or a reply."
    )
    shutdown_timeout: Seconds = setting(5.0, "Seconds that open requests have to finish at shutdown.")

    @model_validator(mode="after")
    def _names_its_files(self) -> Self:
        if (self.tls == "files") is not bool(self.certificate):
            raise ValueError('certificate: tls = "files" needs it, and no other value of tls uses it')
        return self


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
        50_000, "Upper bound of remembered clients, with up to three requests each; beyond it, the oldest is evicted."
    )
    unfinished_uploads: Count = setting(
        1_000, "Upper bound of block-wise uploads under way, at most 8 of a device; beyond it, the oldest is dropped."
    )
    upload_timeout: Seconds = setting(93.0, "Seconds that a block-wise upload may pause (MAX_TRANSMIT_WAIT).")
    strangers_per_minute: Count = setting(
        120, "Answers a minute (4.01) to requests from addresses of no device, for one IPv4 /24 or IPv6 /56."
    )


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
    sessions_per_device: Count = setting(
        100,
        "The same for one device, at each listener; one more ends the session that was silent the longest (replaced).",
    )
    failures_per_minute: Count = setting(
        50,
        "Failed handshakes of one address in a minute; beyond it, its handshakes get no answer until the minute ends.",
    )
    mtu: Annotated[int, Field(ge=256, le=16_384)] = setting(
        1_232, "Largest datagram of a handshake, octets; every IPv6 path carries 1232."
    )
