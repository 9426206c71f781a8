"""
Settings, from a TOML file and from environment variables above it.

``SPAN_EVENTS_COAP__PORT=5700`` is ``port`` in the table ``[coap]``.
"""

from span_events.config.loading import load
from span_events.config.reference import every_setting, render_file, render_guide
from span_events.config.sections import (
    BlobsConfig,
    CellularConfig,
    ChirpstackConfig,
    CoapConfig,
    CoapsConfig,
    Config,
    DatagramsConfig,
    DownstreamConfig,
    DtlsConfig,
    EventsConfig,
    FanoutConfig,
    FirmwareConfig,
    GatewaysConfig,
    HttpConfig,
    LoginsConfig,
    MessagesConfig,
    MqttConfig,
    NasConfig,
    OutputsConfig,
    PkiConfig,
    RadiusConfig,
    RegistryConfig,
    RejectionsConfig,
    SessionsConfig,
    StreamsConfig,
    ThingsStackConfig,
)

__all__ = [
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
    "LoginsConfig",
    "MessagesConfig",
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
