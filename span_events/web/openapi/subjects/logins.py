"""Login and logout, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.web.openapi.operations import JSON, Operation
from span_events.web.openapi.schemas import Schema, fields, one_of, text
from span_events.web.rest.bodies.models import LoginBody

SCHEMAS: Final[dict[str, Schema]] = {}
OPERATIONS: Final = (
    Operation(
        method="post",
        path="/dejavu/v1/login",
        id="login",
        summary="Log in with a password",
        body=LoginBody,
        example={"email": "alice@example.com", "password": "correct horse battery", "passcode": ""},
        content={
            JSON: fields(
                "The result of a login.",
                {
                    "result": one_of(("RESULT_SUCCESS", "RESULT_INVALID")),
                    "credentials": text("A JWT for the header Authorization; empty if the login failed."),
                },
            )
        },
        reply="The password is right, or wrong.",
        problems=(429,),
        needs_token=False,
    ),
    Operation(
        method="post",
        path="/dejavu/v1/logout",
        id="logout",
        summary="End the login whose JWT the request carries, and its streams",
        content={JSON: {"type": "object"}},
    ),
)
