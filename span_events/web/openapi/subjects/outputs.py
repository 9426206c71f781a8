"""Outputs, in the OpenAPI document."""

from __future__ import annotations

import dataclasses
from typing import Final

from span_events.registry.outputs import OutputConfig, OutputType
from span_events.web.openapi.operations import EXTENDED, JSON, PAGE, Operation, json_of
from span_events.web.openapi.schemas import (
    ID,
    NUMBER,
    TEXTS,
    TRUE_FALSE,
    Schema,
    digits,
    fields,
    list_of,
    one_of,
    ref,
    text,
)
from span_events.web.outputs import camel
from span_events.web.rest.bodies.outputs import OutputBody

_KINDS: Final[dict[type, Schema]] = {bool: TRUE_FALSE, int: NUMBER, str: text()}
SCHEMAS: Final[dict[str, Schema]] = {
    "Output": fields(
        "A target outside, to which the messages or events of a collection go.",
        {
            "outputId": ID,
            "collectionId": ID,
            "type": one_of(OutputType),
            "config": fields(
                "Its settings; passwords and keys are shown to tokens that may write.",
                {},
                {camel(each.name): _KINDS[type(each.default)] for each in dataclasses.fields(OutputConfig)},
            ),
            "enabled": TRUE_FALSE,
            "tags": TEXTS,
        },
    ),
    "OutputStats": fields(
        "Deliveries since the server started.",
        {
            "forwardErrors": NUMBER,
            "messagesForwarded": digits("Messages or events"),
            "bytesForwarded": digits("Octets"),
        },
    ),
    "OutputStatus": fields(
        "Counters since the server started.",
        {
            "collectionId": ID,
            "outputId": ID,
            "enabled": TRUE_FALSE,
            **dict.fromkeys(("errorCount", "forwarded", "received", "retransmits"), NUMBER),
        },
        {"waiting": NUMBER, "dropped": NUMBER, "failing": TRUE_FALSE},
    ),
    "OutputLog": fields(
        "The last errors, the oldest first.",
        {
            "logs": list_of(
                fields("An error.", {"time": digits("Unix milliseconds"), "message": text(), "repeated": NUMBER})
            )
        },
    ),
}
_ALL: Final = "/span/collections/{collection}/outputs"
_ONE: Final = f"{_ALL}/{{output}}"
_EXAMPLE: Final = {"type": "webhook", "config": {"url": "https://example.com/hook"}, "tags": {"name": "hook"}}
OPERATIONS: Final = (
    Operation(
        method="get",
        path=_ALL,
        id="listOutputs",
        summary="List the outputs of a collection",
        query=(*PAGE, EXTENDED),
        content={JSON: fields("Outputs.", {"collectionId": ID, "outputs": list_of(ref("Output"))})},
    ),
    Operation(
        method="post",
        path=_ALL,
        id="createOutput",
        summary="Create an output",
        query=(EXTENDED,),
        body=OutputBody,
        example=_EXAMPLE,
        content=json_of("Output"),
        problems=(409, 429),
    ),
    Operation(
        method="get",
        path=_ONE,
        id="getOutput",
        summary="Show an output",
        query=(EXTENDED,),
        content=json_of("Output"),
    ),
    Operation(
        method="patch",
        path=_ONE,
        id="updateOutput",
        summary="Change an output",
        query=(EXTENDED,),
        body=OutputBody,
        example={"enabled": False},
        content=json_of("Output"),
        problems=(409,),
    ),
    Operation(
        method="delete",
        path=_ONE,
        id="deleteOutput",
        summary="Remove an output",
        query=(EXTENDED,),
        content=json_of("Output"),
        reply="Its last state.",
    ),
    Operation(
        method="get",
        path=f"{_ONE}/logs",
        id="listOutputLogs",
        summary="Show the last errors of an output",
        content=json_of("OutputLog"),
    ),
    Operation(
        method="get",
        path=f"{_ONE}/stats",
        id="getOutputStats",
        summary="Count the deliveries of an output since the server started",
        content=json_of("OutputStats"),
    ),
    Operation(
        method="get",
        path=f"{_ONE}/status",
        id="getOutputStatus",
        summary="Show whether an output is enabled, and its counters",
        query=(EXTENDED,),
        content=json_of("OutputStatus"),
    ),
)
