"""Request bodies of outputs."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr

from span_events.fleet.outputs.outputs import OutputChange
from span_events.registry.outputs import OutputType
from span_events.web.rest.bodies.fields import Labels, seen
from span_events.web.rest.bodies.models import Body

_MAX_TEXT: Final = 4096


def _text(value: str) -> str:
    if len(value) > _MAX_TEXT:
        raise ValueError(f"has {len(value)} characters, at most {_MAX_TEXT}")
    return value


def _base64(value: str) -> str:
    try:
        b64decode(value, validate=True)
    except ValueError as exc:
        raise ValueError(f"{seen(value)} is not base64 (RFC 4648 section 4)") from exc
    return value


def _output_type(value: object) -> OutputType | None:
    """Read the type of an output; None, "" and ``undefined`` keep the present type."""
    if value is None or value in ("", OutputType.UNDEFINED):
        return None
    try:
        return OutputType(str(value))
    except ValueError:
        raise ValueError(f"{seen(value)} is not one of {', '.join(OutputType)}") from None


Text = Annotated[StrictStr, AfterValidator(_text)]
Template = Annotated[Text, AfterValidator(_base64)]
Port = Annotated[int, Field(ge=0, le=65535)]


class OutputConfigBody(Body):
    """``config`` of an output; an empty text clears a setting."""

    url: Text | None = None
    basic_auth_user: Text | None = Field(default=None, alias="basicAuthUser")
    basic_auth_pass: Text | None = Field(default=None, alias="basicAuthPass")
    custom_header_name: Text | None = Field(default=None, alias="customHeaderName")
    custom_header_value: Text | None = Field(default=None, alias="customHeaderValue")
    host: Text | None = None
    port: Port | None = None
    key: Text | None = None
    event_name: Text | None = Field(default=None, alias="eventName")
    as_is_payload: StrictBool | None = Field(default=None, alias="asIsPayload")
    endpoint: Text | None = None
    disable_cert_check: StrictBool | None = Field(default=None, alias="disableCertCheck")
    username: Text | None = None
    password: Text | None = None
    client_id: Text | None = Field(default=None, alias="clientId")
    topic_name: Text | None = Field(default=None, alias="topicName")
    topic_template: Template | None = Field(default=None, alias="topicTemplate")
    payload_format: Text | None = Field(default=None, alias="payloadFormat")
    payload_template: Template | None = Field(default=None, alias="payloadTemplate")
    content: Text | None = None
    format: Text | None = None
    signing_secret: Text | None = Field(default=None, alias="signingSecret")


class OutputBody(Body):
    """An output to be made or changed."""

    READ_ONLY = frozenset({"outputId"})

    type: Annotated[OutputType | None, BeforeValidator(_output_type)] = None
    config: OutputConfigBody | None = None
    enabled: StrictBool | None = None
    tags: Labels | None = None
    collection_id: Text | None = Field(default=None, alias="collectionId")
    """Span moves an output to this collection; here it may only be the present one."""

    def change(self) -> OutputChange:
        """Return the change that the body requests."""
        asked = {name: getattr(self.config, name, None) for name in OutputConfigBody.model_fields}
        config = {name: value for name, value in asked.items() if value is not None}
        return OutputChange(type=self.type, config=config, tags=self.tags, enabled=self.enabled)
