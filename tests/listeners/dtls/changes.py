"""Changes of the registry that refuse a device, or end its sessions."""

from __future__ import annotations

from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Certificate, Psk
from tests.bench.fleets import CAUSE
from tests.listeners.dtls.bench import DtlsBench


async def remove(bench: DtlsBench) -> None:
    await bench.fleet.devices.remove(bench.device, cause=CAUSE)


async def revoke(bench: DtlsBench) -> None:
    await bench.fleet.certificates.revoke(bench.device.collection, bench.holder.certificate.serial_number)


async def disable(bench: DtlsBench) -> None:
    await bench.fleet.devices.update(bench.device, DeviceChange(enabled=False), cause=CAUSE)


async def disable_collection(bench: DtlsBench) -> None:
    await bench.fleet.collections.update(bench.device.collection, CollectionChange(enabled=False), cause=CAUSE)


async def give_to_gateway(bench: DtlsBench) -> None:
    record = bench.fleet.directory.certificates[bench.holder.certificate.serial_number]
    bench.fleet.directory.certificates[record.serial] = Certificate(
        record.serial, record.collection_id, None, 99, record.not_before_ms, record.not_after_ms
    )


async def change_psk(bench: DtlsBench) -> None:
    await bench.fleet.psks.put(bench.device, Psk(b"device-1", b"another key, 16+"), cause=CAUSE)
