"""Gateways, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.registry.model import GatewayStatus, GatewayType
from span_events.web.openapi.operations import EXTENDED, JSON, PAGE, Operation, json_of
from span_events.web.openapi.schemas import ID, TEXTS, TRUE_FALSE, Schema, digits, fields, list_of, one_of, ref, text
from span_events.web.rest.bodies.models import GatewayBody

SCHEMAS: Final[dict[str, Schema]] = {
    "Gateway": fields(
        "A gateway: one of the collection's own, or one that is built in.",
        {
            "gatewayId": ID,
            "collectionId": ID,
            "name": text(),
            "builtIn": TRUE_FALSE,
            "type": one_of(GatewayType),
            "config": fields(
                "Its settings, by kind.",
                {},
                {"ciot": TEXTS, "inet": TEXTS, "user": fields("Of a gateway of one's own.", {"params": TEXTS})},
            ),
            "tags": TEXTS,
            "status": one_of(GatewayStatus),
            "enabled": TRUE_FALSE,
        },
        {
            "metadata": fields(
                "What the gateway reported (extended).",
                {"lastUpdate": digits("Unix milliseconds"), "params": TEXTS},
            )
        },
    ),
}
_ALL: Final = "/span/collections/{collection}/gateways"
_ONE: Final = f"{_ALL}/{{gateway}}"
_EXAMPLE: Final = {"name": "roof", "type": "custom", "config": {"user": {"params": {"site": "lab"}}}}
OPERATIONS: Final = (
    Operation(
        method="get",
        path=_ALL,
        id="listGateways",
        summary="List the gateways of a collection, first those that are built in",
        query=(*PAGE, EXTENDED),
        content={JSON: fields("Gateways.", {"gateways": list_of(ref("Gateway"))})},
    ),
    Operation(
        method="post",
        path=_ALL,
        id="createGateway",
        summary="Create a gateway",
        query=(EXTENDED,),
        body=GatewayBody,
        example=_EXAMPLE,
        content=json_of("Gateway"),
        problems=(409,),
    ),
    Operation(
        method="get",
        path=_ONE,
        id="getGateway",
        summary="Show a gateway",
        query=(EXTENDED,),
        content=json_of("Gateway"),
    ),
    Operation(
        method="patch",
        path=_ONE,
        id="updateGateway",
        summary="Change a gateway, or move it to another collection",
        query=(EXTENDED,),
        body=GatewayBody,
        example={"tags": {"room": "lab"}},
        content=json_of("Gateway"),
        problems=(409,),
    ),
    Operation(
        method="delete",
        path=_ONE,
        id="deleteGateway",
        summary="Remove a gateway, and its settings of every device",
        query=(EXTENDED,),
        content=json_of("Gateway"),
        reply="Its last state.",
        problems=(409,),
    ),
    Operation(
        method="get",
        path=f"{_ONE}/stats",
        id="getGatewayStats",
        summary="Count the messages through a gateway since the server started",
        content=json_of("GatewayStats"),
    ),
)
