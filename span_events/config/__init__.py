"""
Settings, from a TOML file and from environment variables above it.

``SPAN_EVENTS_COAP__PORT=5700`` is ``port`` in the table ``[coap]``.
"""

from span_events.config.loading import load
from span_events.config.reference import every_setting, render_file, render_guide
from span_events.config.sections.cellular import CellularConfig, NasConfig, RadiusConfig
from span_events.config.sections.chirpstack import BrokerConfig, ChirpstackConfig
from span_events.config.sections.config import Config
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
from span_events.config.sections.service import BusConfig, LoginsConfig, PkiConfig, RegistryConfig
from span_events.config.sections.streams import (
    EventsConfig,
    FanoutConfig,
    MqttConfig,
    StreamsConfig,
    ThingsStackConfig,
)

__all__ = [
    "BlobsConfig",
    "BrokerConfig",
    "BusConfig",
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
    "FilesConfig",
    "FirmwareConfig",
    "GatewaysConfig",
    "HttpConfig",
    "LoginsConfig",
    "MessagesConfig",
    "MonitoringConfig",
    "MqttConfig",
    "NasConfig",
    "OutputsConfig",
    "PkiConfig",
    "RadiusConfig",
    "RegistryConfig",
    "RejectionsConfig",
    "SessionsConfig",
    "StreamsConfig",
    "ThingsStackConfig",
    "every_setting",
    "load",
    "render_file",
    "render_guide",
]
