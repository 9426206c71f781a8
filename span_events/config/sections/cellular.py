"""Settings of RADIUS and of the mobile network."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from span_events.config.fields import (
    Address,
    Buffer,
    Count,
    PoolPrefix,
    Port,
    Prefix,
    Seconds,
    secret_in,
    setting,
)
from span_events.config.sections.base import Section


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
    imsi_from_user_name: bool = setting(
        False,
        "True takes the IMSI from User-Name, digits or an NAI, if 3GPP-IMSI is missing. Only for a mobile core that"
        " writes User-Name itself: elsewhere the device chooses it.",
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

    tenants_set_addresses: bool = setting(
        False, "Whether tokens for a collection may set addresses of its devices; false: only tokens for / may."
    )
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
        60.0, "Seconds in which the same mismatch is published once; its repetitions become one event with a count."
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
