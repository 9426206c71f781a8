"""The whole configuration: every section by its name."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self, get_origin

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from span_events.config.fields import setting
from span_events.config.sections.base import Section, is_list_of_tables, number_or_other
from span_events.config.sections.cellular import CellularConfig, RadiusConfig
from span_events.config.sections.chirpstack import ChirpstackConfig
from span_events.config.sections.devices import (
    BlobsConfig,
    DownstreamConfig,
    FirmwareConfig,
    GatewaysConfig,
    MessagesConfig,
    RejectionsConfig,
    SessionsConfig,
)
from span_events.config.sections.files import FilesConfig
from span_events.config.sections.listeners import (
    CoapConfig,
    CoapsConfig,
    DatagramsConfig,
    DtlsConfig,
    HttpConfig,
    MonitoringConfig,
)
from span_events.config.sections.outputs import OutputsConfig
from span_events.config.sections.service import BusConfig, LogConfig, LoginsConfig, PkiConfig, RegistryConfig
from span_events.config.sections.streams import (
    EventsConfig,
    FanoutConfig,
    MqttConfig,
    StreamsConfig,
    ThingsStackConfig,
)

PREFIX: Final = "SPAN_EVENTS_"
"""Prefix of the environment variables that are settings."""
_BUS_ALONE: Final = (
    "bus.url: servers with a common bus share a registry, too, or they would give the same ids twice: set registry.url"
    " (postgresql+asyncpg://…), or remove bus.url; the guide scaling has the steps"
)


def _overlap(one: str, other: str) -> bool:
    """Return whether two hosts to bind have an address in common; ``::`` serves IPv4, too."""
    hosts = {one, other}
    return len(hosts) == 1 or "::" in hosts or ("0.0.0.0" in hosts and ":" not in one + other)  # noqa: S104  # compared


class _Environment(EnvSettingsSource):
    """The environment variables; a list is JSON or, unless it is one of tables, texts with commas between them."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read a list or table; what is neither is left to the checks of the setting, which name it."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            if get_origin(field.annotation) is not tuple or is_list_of_tables(field):
                return value
            return [each.strip() for each in str(value).split(",") if each.strip()]


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", validate_default=True
    )

    node: Annotated[int, Field(ge=0, le=1023)] = setting(
        0, "Number of a single process in its ids; nodes that share a registry lease theirs."
    )
    role: Literal["all", "devices", "web"] = setting(
        "all", "Part of this process in a server of several: listeners of devices, or API and streams, or both (all)."
    )
    workers: Annotated[int, Field(ge=0, le=64)] = setting(
        0, "Processes that share the ports of API and streams, started and watched by this one; 0 is none but itself."
    )
    shared_ports: bool = setting(
        False, "True lets other processes of this machine bind the same ports of HTTP, MQTT and gRPC; workers set it."
    )
    monitoring: MonitoringConfig = MonitoringConfig()
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
    things_stack: ThingsStackConfig = ThingsStackConfig()
    chirpstack: ChirpstackConfig = ChirpstackConfig()
    outputs: OutputsConfig = OutputsConfig()
    mqtt: MqttConfig = MqttConfig()
    registry: RegistryConfig = RegistryConfig()
    files: FilesConfig = FilesConfig()
    bus: BusConfig = BusConfig()
    logins: LoginsConfig = LoginsConfig()
    pki: PkiConfig = PkiConfig()
    log: LogConfig = LogConfig()

    @property
    def is_cluster(self) -> bool:
        """Whether several processes may be one server: they share a registry and a bus."""
        return bool(self.bus.url) and self.registry.url.startswith("postgresql")

    def fault_of_parts(self) -> str:
        """Return why this process cannot be a part of a server of several; empty if it can, or is alone."""
        if self.role == "devices" and self.workers:
            return "workers: a process of role devices has none"
        if self.is_cluster:
            return ""
        if self.role == "all" and not self.workers:
            return _BUS_ALONE if self.bus.url else ""
        asks = f"workers: {self.workers}" if self.workers else f"role: {self.role}"
        missing = [] if self.registry.url.startswith("postgresql") else ["registry.url (postgresql+asyncpg://…)"]
        missing += [] if self.bus.url else ["bus.url (nats://…)"]
        return f"{asks} is for several processes, which need {' and '.join(missing)}; the guide scaling has the steps"

    @field_validator("node", "workers", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        return number_or_other(value, cls.model_fields[str(info.field_name)])

    @model_validator(mode="after")
    def _may_be_a_part(self) -> Self:
        if fault := self.fault_of_parts() or self._fault_of_ports():
            raise ValueError(fault)
        return self

    def _fault_of_ports(self) -> str:
        """Return which two listeners of this process have the same port; empty if each has its own."""
        listening = [each for each in self._ports() if each[2]]
        for (one, host, port, transport), (other, its_host, *its_port) in itertools.combinations(listening, 2):
            if [port, transport] == its_port and _overlap(host, its_host):
                return f"{other}: {port}/{transport} is {one}, too; each listener needs a port of its own"
        return ""

    def _ports(self) -> Iterable[tuple[str, str, int, str]]:
        """List the ports that this process binds: setting, host, number, transport."""
        yield "http.port", self.http.host, self.http.port, "tcp"
        if self.monitoring.enabled:
            yield "monitoring.port", self.monitoring.host, self.monitoring.port, "tcp"
        if self.role != "web":
            for name in ("datagrams", "coap", "coaps"):
                section = getattr(self, name)
                if section.enabled:
                    yield f"{name}.port", section.host, section.port, "udp"
            if self.radius.nas:
                yield "radius.port", self.radius.host, self.radius.port, "udp"
                yield "radius.accounting_port", self.radius.host, self.radius.accounting_port, "udp"
            if self.gateways.enabled:
                yield "gateways.port", self.gateways.host, self.gateways.port, "tcp"
            if self.blobs.enabled:
                yield "blobs.port", self.blobs.host, self.blobs.port, "tcp"
                yield "blobs.tls_port", self.blobs.host, self.blobs.tls_port, "tcp"
        if self.role != "devices":
            if self.mqtt.enabled:
                yield "mqtt.port", self.mqtt.host, self.mqtt.port, "tcp"
            if self.things_stack.grpc:
                yield "things_stack.grpc_port", self.things_stack.grpc_host, self.things_stack.grpc_port, "tcp"

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
        return _Environment(settings_cls), init_settings


def sections() -> Iterable[tuple[str, type[Section]]]:
    """List the tables of the configuration file in their order."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation
