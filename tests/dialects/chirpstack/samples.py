"""An event of each kind as a ChirpStack server writes it; some fields are absent, as in its older versions."""

from __future__ import annotations

import json
from typing import Any, Final

EUI: Final = "70b3d57ed0001a2b"

_INFO: Final = {
    "tenantId": "b1a9a0a4-2f0e-4a53-9a53-5c0d53f5a001",
    "tenantName": "harbour",
    "applicationId": "b1a9a0a4-2f0e-4a53-9a53-5c0d53f5a002",
    "applicationName": "gauges",
    "deviceProfileId": "b1a9a0a4-2f0e-4a53-9a53-5c0d53f5a003",
    "deviceProfileName": "gauge",
    "deviceName": "gauge 3",
    "devEui": EUI,
    "deviceClassEnabled": "CLASS_A",
    "tags": {"pier": "4"},
}
_TIME: Final = "2026-03-02T07:15:04.123456789+00:00"
_MODULATION: Final = {"lora": {"bandwidth": 125000, "spreadingFactor": 10, "codeRate": "CR_4_5"}}

SAMPLES: Final[dict[str, dict[str, Any]]] = {
    "up": {
        "deduplicationId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d001",
        "time": _TIME,
        "deviceInfo": _INFO,
        "devAddr": "0118a7c2",
        "adr": True,
        "dr": 2,
        "fCnt": 41,
        "fPort": 7,
        "confirmed": False,
        "data": "AP9o",
        "object": {"level": 1.82, "wet": True},
        "rxInfo": [
            {"gatewayId": "70b3d5fffe000001", "uplinkId": 4012, "rssi": -97, "snr": 3.5, "crcStatus": "CRC_OK"},
            {"gatewayId": "70b3d5fffe000002", "uplinkId": 811, "rssi": -61, "snr": 9.25, "location": {}},
        ],
        "txInfo": {"frequency": 868300000, "modulation": _MODULATION},
        "regionConfigId": "eu868",
    },
    "join": {
        "deduplicationId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d002",
        "time": _TIME,
        "deviceInfo": _INFO,
        "devAddr": "0118a7c2",
        "regionConfigId": "eu868",
    },
    "ack": {
        "deduplicationId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d003",
        "time": _TIME,
        "deviceInfo": _INFO,
        "queueItemId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1e001",
        "acknowledged": True,
        "fCntDown": 6,
    },
    "txack": {
        "downlinkId": 3461958127,
        "time": _TIME,
        "deviceInfo": _INFO,
        "queueItemId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1e001",
        "fCntDown": 6,
        "gatewayId": "70b3d5fffe000001",
        "txInfo": {
            "frequency": 868300000,
            "power": 14,
            "modulation": _MODULATION,
            "timing": {"delay": {"delay": "1s"}},
        },
    },
    "log": {
        "time": _TIME,
        "deviceInfo": _INFO,
        "level": "ERROR",
        "code": "UPLINK_MIC",
        "description": "the check of the join-request failed",
        "context": {"deduplication_id": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d005"},
    },
    "status": {
        "deduplicationId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d006",
        "time": _TIME,
        "deviceInfo": _INFO,
        "margin": -3,
        "externalPowerSource": False,
        "batteryLevelUnavailable": False,
        "batteryLevel": 41.5,
    },
    "location": {
        "deduplicationId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d007",
        "time": _TIME,
        "deviceInfo": _INFO,
        "location": {"latitude": 63.438217, "longitude": -8.5, "altitude": 2.0, "source": "GEO_RESOLVER_WIFI"},
    },
    "integration": {
        "deduplicationId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d008",
        "time": _TIME,
        "deviceInfo": _INFO,
        "integrationName": "resolver",
        "eventType": "modem_report",
        "object": {"voltage": 3.04, "pending": None},
    },
}


def body(kind: str, **changes: Any) -> bytes:
    """Write a sample as JSON, with some fields changed; None removes one."""
    fields = SAMPLES[kind] | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
