"""
Activity of devices and gateways in a shared registry: what changes with each message, and not by the API.

A node writes only these columns, without the lock of the registry, and an older value never replaces a newer one. The
JSON columns ``firmware`` and ``ciot`` hold one value of the configuration each, which stays. Other nodes learn the ids
by notifications, and read the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import JSON, LargeBinary, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.registry import tables
from span_events.registry.database import execute_many
from span_events.registry.shared import notices
from span_events.registry.tables import Row


def _firmware_ms(row: str) -> str:
    """Return the SQL of the time of a device's last firmware activity, Unix milliseconds."""
    times = (f"({row}.firmware->>'{name}')::bigint" for name in ("state_ms", "reported_ms", "download_ms"))
    return f"GREATEST({', '.join(times)}, 0)"


def _updated(row: str, column: str) -> str:
    return f"COALESCE(({row}.{column}->>'last_update')::bigint, 0)"


def _newer(new: str, old: str) -> dict[str, str]:
    """Return, for each column of activity, the condition under which the new row replaces the old value."""
    received = f"{new}.last_received_ns >= {old}.last_received_ns"
    return {
        "firmware": f"{_firmware_ms(new)} >= {_firmware_ms(old)}",
        "ciot": f"{_updated(new, 'ciot')} >= {_updated(old, 'ciot')}",
        "inet": f"{_updated(new, 'inet')} >= {_updated(old, 'inet')}",
        **dict.fromkeys(("last_gateway_id", "last_transport", "last_received_ns", "last_payload"), received),
    }


_CONFIGURED: Final = {"firmware": "target_firmware_id", "ciot": "static_ip"}
"""The value of the configuration in a JSON column."""


def _keeping(column: str, value: str, source: str) -> str:
    """Return the SQL of a value with the configuration of another row."""
    name = _CONFIGURED.get(column)
    if name is None:
        return value
    return f"({value}::jsonb || jsonb_build_object('{name}', {source}.{column}->'{name}'))::json"


_COLUMNS: Final = [each.name for each in tables.devices.columns]
_ACTIVITY: Final = list(_newer("", ""))
_PARAMETERS: Final = [
    bindparam(each.name, type_=each.type)
    for each in tables.devices.columns
    if isinstance(each.type, JSON | LargeBinary)
]

_UPDATE: Final = text(
    "UPDATE devices AS old SET "  # noqa: S608  # names of ours
    + ", ".join(
        f"{column} = CASE WHEN {newer} THEN {_keeping(column, f'new.{column}', 'old')} ELSE old.{column} END"
        for column, newer in _newer("new", "old").items()
    )
    + " FROM (SELECT "
    + ", ".join(
        f"CAST(:{each} AS {kind}) AS {each}"
        for each, kind in {
            **dict.fromkeys(("firmware", "ciot", "inet"), "json"),
            **dict.fromkeys(("last_gateway_id", "last_received_ns"), "bigint"),
            "last_transport": "varchar",
            "last_payload": "bytea",
        }.items()
    )
    + ") AS new WHERE old.id = :id"
).bindparams(*(each for each in _PARAMETERS if each.key in _ACTIVITY))

_UPSERT: Final = text(
    f"INSERT INTO devices AS old ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{each}' for each in _COLUMNS)})"  # noqa: S608
    " ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{each} = excluded.{each}" for each in _COLUMNS if each not in ("id", *_ACTIVITY))
    + "".join(
        f", {column} = CASE WHEN {newer} THEN excluded.{column}"
        f" ELSE {_keeping(column, f'old.{column}', 'excluded')} END"
        for column, newer in _newer("excluded", "old").items()
    )
).bindparams(*_PARAMETERS)

_REPORTS: Final = text(
    "INSERT INTO gateway_metadata AS old (device_id, gateway_id, last_update, params)"
    " SELECT devices.id, :gateway_id, :last_update, :params FROM devices WHERE devices.id = :device_id"  # may be gone
    " ON CONFLICT (device_id) DO UPDATE SET gateway_id = excluded.gateway_id, last_update = excluded.last_update,"
    " params = excluded.params WHERE excluded.last_update >= old.last_update"
).bindparams(bindparam("params", type_=JSON))

_GATEWAYS: Final = text(
    "UPDATE gateways SET reported = :reported, reported_ms = :reported_ms"
    " WHERE id = :id AND reported_ms <= :reported_ms"
).bindparams(bindparam("reported", type_=JSON))


async def put_devices(connection: AsyncConnection, devices: Sequence[Row]) -> None:
    """Write the configuration of devices, new or changed, and their activity if it is newer."""
    await _execute(connection, _UPSERT, _clean(devices))


async def put_reports(connection: AsyncConnection, reports: Sequence[Row]) -> None:
    """Write newer reports of gateways about devices; those about removed devices are left out."""
    await _execute(connection, _REPORTS, reports)


async def put_activity(connection: AsyncConnection, node: str, devices: Sequence[Row], reports: Sequence[Row]) -> None:
    """Write the activity of devices, and notify other nodes."""
    await _execute(connection, _UPDATE, [{each: row[each] for each in ("id", *_ACTIVITY)} for row in _clean(devices)])
    await put_reports(connection, reports)
    await notices.notify(connection, node, "devices", [row["id"] for row in devices])


async def put_reported(
    connection: AsyncConnection, node: str, gateways: Sequence[Row], begun: Mapping[int, int]
) -> None:
    """Write the reports of gateways about themselves, and notify other nodes of them and of sessions that began."""
    names = ("id", "reported", "reported_ms")
    await _execute(connection, _GATEWAYS, [{each: row[each] for each in names} for row in gateways])
    await notices.notify(connection, node, "gateways", [row["id"] for row in gateways])
    await notices.notify(connection, node, "gateway_sessions", [f"{each} {begun[each]}" for each in begun])


def _clean(devices: Sequence[Row]) -> list[Row]:
    """Replace NUL, which a device may report but PostgreSQL's jsonb refuses."""
    return [
        row
        | {
            column: {
                key: each.replace("\0", "\ufffd") if isinstance(each, str) else each
                for key, each in row[column].items()
            }
            for column in _CONFIGURED
        }
        for row in devices
    ]


async def _execute(connection: AsyncConnection, statement: TextClause, rows: Sequence[Row]) -> None:
    """Execute a statement for each row, in the order of their ids: so two nodes never wait for each other."""
    ordered = sorted(rows, key=lambda row: row.get("id", 0) or row.get("device_id", 0))
    await execute_many(connection, statement, ordered)
