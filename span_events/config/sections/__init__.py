"""The settings: every section of the configuration with its fields, defaults and descriptions."""

from span_events.config.sections.base import Section
from span_events.config.sections.cellular import CellularConfig, NasConfig, RadiusConfig
from span_events.config.sections.config import PREFIX, Config, sections
from span_events.config.sections.devices import (
    BlobsConfig,
    DownstreamConfig,
    FirmwareConfig,
    GatewaysConfig,
    MessagesConfig,
    RejectionsConfig,
    SessionsConfig,
)
from span_events.config.sections.listeners import CoapConfig, CoapsConfig, DatagramsConfig, DtlsConfig, HttpConfig
from span_events.config.sections.outputs import OutputsConfig
from span_events.config.sections.service import LogConfig, LoginsConfig, PkiConfig, RegistryConfig
from span_events.config.sections.streams import (
    ChirpstackConfig,
    EventsConfig,
    FanoutConfig,
    MqttConfig,
    StreamsConfig,
    ThingsStackConfig,
)

__all__ = [
    "PREFIX",
    "BlobsConfig",
    "CellularConfig",
    "ChirpstackConfig",
    "CoapConfig",
    "CoapsConfig",
    "Config",
    "DatagramsConfig",
    "DownstreamConfig",
    "DtlsConfig",
    "EventsConfig",
    "FanoutConfig",
    "FirmwareConfig",
    "GatewaysConfig",
    "HttpConfig",
    "LogConfig",
    "LoginsConfig",
    "MessagesConfig",
    "MqttConfig",
    "NasConfig",
    "OutputsConfig",
    "PkiConfig",
    "RadiusConfig",
    "RegistryConfig",
    "RejectionsConfig",
    "Section",
    "SessionsConfig",
    "StreamsConfig",
    "ThingsStackConfig",
    "sections",
]
