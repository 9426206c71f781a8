"""The parts that all MQTT clients share, and who may connect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from span_events import ids
from span_events.auth import access
from span_events.auth.access import Credentials
from span_events.auth.tokens import Tokens
from span_events.clock import Clock
from span_events.config import MqttConfig
from span_events.dialects.chirpstack.event import Facts
from span_events.events.filters import Scope
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Dialect
from span_events.registry.directory import Directory
from span_events.registry.model import Token
from span_events.web.mqtt.topics import Form
from span_events.web.streams.admission import Admission

EVERYTHING: Final = "*"
"""User name of a client that wants all that its token reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Settings and parts of the server."""

    config: MqttConfig
    send_buffer: int
    """Octets, see ``fanout.send_buffer``."""
    hub: Hub
    tokens: Tokens
    directory: Directory
    facts: Facts
    admission: Admission
    publications: Mapping[Form, Dialect]
    clock: Clock

    async def authorize(self, user: str, password: str) -> tuple[Scope, Token]:
        """
        Check user name and password; return what the client may see, and its token.

        Raises:
            RequestError: The token is unknown or does not reach the collection, or there is no such collection.
        """
        given = Credentials(password, in_query=False)
        if user == EVERYTHING:
            token = await access.authenticate(self.tokens, given)
            return access.scope_of(token), token
        collection_id = ids.parse(user, what="collection")
        token = await access.authorize(self.tokens, given, resource=access.resource_of(collection_id), write=False)
        self.directory.collection(collection_id)
        return Scope(collection_id), token
