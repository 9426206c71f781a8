"""Settings of the server itself: registry, certificates, log."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from span_events.config.fields import (
    Count,
    HostName,
    Octets,
    Seconds,
    setting,
)
from span_events.config.sections.base import Section


def _nats_servers(text: str) -> str:
    """Take URLs of NATS servers with commas between them, or nothing."""
    for each in filter(None, map(str.strip, text.split(","))):
        url = urlsplit(each)
        try:
            is_right = url.scheme in {"nats", "tls"} and url.hostname and url.port != 0 and url.path in {"", "/"}
        except ValueError:  # a port that is none
            is_right = False
        if url.username or url.password:
            raise ValueError(f"the login for {url.hostname} belongs in the file that bus.credentials_file names")
        if not is_right:
            raise ValueError(f"{each!r} is not nats://HOST:PORT or tls://HOST:PORT")
    return text


_DATABASES: Final = ("sqlite+aiosqlite", "postgresql+asyncpg")


def _database(text: str) -> str:
    """Take the URL of a database with the driver that this server uses, or nothing; no fault shows the password."""
    scheme, separator, _ = text.partition("://")
    if not text or (separator and scheme in _DATABASES):
        return text
    seen = f"begins with {scheme}://" if separator else "is no URL"
    raise ValueError(f"{seen}, wanted postgresql+asyncpg://USER@HOST/DATABASE, or nothing for SQLite")


class RegistryConfig(Section):
    """Collections, devices, tokens and waiting downstream messages."""

    url: Annotated[str, AfterValidator(_database)] = setting(
        "", "postgresql+asyncpg://USER@HOST/DATABASE; empty is SQLite in the data directory."
    )
    flush_interval: Seconds = setting(1.0, "Seconds between writes of the data that changes with each message.")
    watch_interval: Seconds = setting(0.4, "Seconds between checks for tokens that other processes made or deleted.")


class BusConfig(Section):
    """NATS, which carries events between the nodes of one server; needs the extra `nats`."""

    url: Annotated[str, AfterValidator(_nats_servers)] = setting(
        "", "NATS server, nats://HOST:4222 or tls://HOST:4222, or several with commas; empty is a single node."
    )
    credentials_file: str = setting(
        "",
        "File with USER:PASSWORD, the seed of an nkey, or what `nsc` made (.creds); empty is no login.",
    )
    ca_file: str = setting("", "Certificates that sign those of the NATS servers; empty is those of the system.")
    history_copies: Annotated[int, Field(ge=1, le=5)] = setting(
        1, "Servers of a NATS cluster that hold the history, each all of it; with 3, it outlives any one of them."
    )
    linger_ms: Annotated[float, Field(ge=0, le=1000)] = setting(
        1.0, "Milliseconds that events wait for company under load; those of a quiet bus leave at once."
    )
    buffer: Octets = setting(
        16_777_216, "Octets that may wait for NATS, also while it is away; beyond it, events are lost to other nodes."
    )
    pending_messages: Count = setting(
        65_536, "NATS messages of a collection that may wait here; beyond it, they are lost, and subscribers are told."
    )
    pending_octets: Octets = setting(16_777_216, "Octets of those messages.")

    @property
    def servers(self) -> tuple[str, ...]:
        """The URLs of the NATS servers."""
        return tuple(each.strip() for each in self.url.split(",") if each.strip())


class LoginsConfig(Section):
    """Users who log in with a password (`span-events user add`)."""

    lifetime: Seconds = setting(86_400.0, "Seconds until a login ends by itself, and with it its streams.")
    per_user: Count = setting(20, "Upper bound of open logins of a user; one more ends the oldest.")
    failures_per_account: Count = setting(
        10, "Upper bound of failed logins to an account per minute; then 429. Addresses that it used have their own."
    )
    failures_per_address: Count = setting(
        10, "Upper bound of failed logins from an IPv4 address or IPv6 /64 per minute; then 429."
    )
    at_once: Count = setting(1, "Passwords that are checked at the same time; each takes 19 MiB and about 40 ms.")
    waiting: Count = setting(20, "Upper bound of logins that wait for the check of their password; one more gets 503.")


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
    secret_file: str = setting(
        "", "File with a secret that all nodes have; it encrypts the authority's keys in the registry that they share."
    )


class LogConfig(Section):
    """Log lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "Lowest level that is written.")
    style: Literal["console", "json"] = setting("console", "Format: console for people, json for collectors.")
