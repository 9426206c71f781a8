"""Settings of the intake of ChirpStack's events."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from span_events import ids
from span_events.config.fields import Count, Octets, Rate, Seconds, secret_in, setting
from span_events.config.sections.base import Section
from span_events.errors import InvalidRequest
from span_events.net import broker_of

_TOPICS = ("application/+/device/+/event/+",)


def _check_url(url: str) -> str:
    try:
        broker_of(url)
    except ValueError:
        raise ValueError(f"{url!r} is no broker: mqtt://HOST:1883, or mqtts://HOST:8883 for TLS") from None
    return url


def _check_collection(text: str) -> str:
    try:
        ids.parse(text)
    except InvalidRequest:
        raise ValueError(f"{text!r} is no id of a collection; `span-events collection list` shows them") from None
    return text


def _check_topic(topic: str) -> str:
    levels = topic.split("/")
    if (
        not topic
        or not topic.isprintable()
        or any(each != "#" and "#" in each for each in levels)
        or "#" in levels[:-1]
    ):
        raise ValueError(f"{topic!r} is no topic filter of MQTT")
    if any(each != "+" and "+" in each for each in levels):
        raise ValueError(f"{topic!r} is no topic filter of MQTT: + stands for a whole level")
    return topic


class BrokerConfig(Section):
    """An MQTT broker to which a ChirpStack server publishes."""

    name: Annotated[
        str, Field(min_length=1, description="Name of the broker in log and metrics.", examples=["lorawan"])
    ]
    url: Annotated[
        str,
        AfterValidator(_check_url),
        Field(
            description="Its address: mqtt://HOST:1883, or mqtts://HOST:8883 for TLS.",
            examples=["mqtts://broker.example.com:8883"],
        ),
    ]
    collection: Annotated[
        str,
        AfterValidator(_check_collection),
        Field(description="Id of the collection whose devices get the events.", examples=["17dj5j4ce8bkci"]),
    ]
    topics: tuple[Annotated[str, AfterValidator(_check_topic)], ...] = setting(
        _TOPICS, "Topic filters; one application is application/ID/device/+/event/+."
    )
    username: str = Field(default="", description="User name at the broker.", examples=["span-events"])
    password_file: str = Field(
        default="",
        description="File that holds the password; a newline at its end is ignored.",
        examples=["/etc/span-events/broker.secret"],
    )
    password: SecretStr = setting(SecretStr(""), "The password itself, in place of a file.")
    client_id: str = setting(
        "",
        "With a client id, the broker keeps what ChirpStack publishes with QoS 1 while this server is away; it must be"
        " the only client with this id.",
    )
    ca: str = setting(
        "", "PEM file of the authorities that the broker's certificate is checked by; empty: the system's."
    )
    certificate: str = setting("", "PEM file of a client certificate, for a broker that asks for one.")
    key: str = setting("", "PEM file of its private key; empty if the certificate's file holds it.")

    @field_validator("topics")
    @classmethod
    def _has_topics(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        if not topics:
            raise ValueError("is empty")
        return topics

    @field_validator("password_file")
    @classmethod
    def _check_password_file(cls, path: str) -> str:
        if path:
            secret_in(path)
        return path

    @field_validator("password")
    @classmethod
    def _read_password(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        path = info.data.get("password_file")
        if path and password.get_secret_value():
            raise ValueError("stands beside password_file: one of them is enough")
        return SecretStr(secret_in(path)) if path else password

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.password.get_secret_value() and not self.username:
            raise ValueError("username: is missing; MQTT 3.1.1 has no password without a user name")
        if not broker_of(self.url).tls and (self.ca or self.certificate):
            raise ValueError("url: has no TLS, so ca and certificate mean nothing; write mqtts://")
        return self


class ChirpstackConfig(Section):
    """Events of ChirpStack servers, which become events of the devices with the same EUI-64 (tag devEui)."""

    create_devices: bool = setting(True, "True creates a device for an unknown EUI-64; False refuses its events.")
    max_devices: Count = setting(10_000, "Devices of a collection beyond which no more are created.")
    duplicates: Count = setting(20_000, "Events in memory, so that one that comes again is no second event.")
    duplicates_age: Seconds = setting(600.0, "Seconds that they are kept.")
    trust_span_tags: bool = setting(
        False, "True restores our own events, from tags that another server of ours wrote (format=chirpstack)."
    )
    integration_events: bool = setting(
        False,
        "True writes our events without a counterpart in LoRaWAN as integration (ChirpStack up to 4.14), False as log.",
    )
    max_event: Octets = setting(1_048_576, "Largest event of a broker, octets; a larger one is dropped.")
    broker_rate: Rate = setting(500.0, "Events per second that are read from one broker; others wait there.")
    keep_alive: Seconds = setting(30.0, "Seconds without a sign of life until a connection to a broker is given up.")
    first_pause: Seconds = setting(
        1.0, "Seconds until a broker is tried again; twice as long after each further failure, with jitter."
    )
    longest_pause: Seconds = setting(60.0, "Upper bound of that pause, seconds.")
    brokers: tuple[BrokerConfig, ...] = setting(
        (), "MQTT brokers to which ChirpStack publishes, each in a table [[chirpstack.brokers]]."
    )

    @field_validator("brokers")
    @classmethod
    def _check_brokers(cls, entries: tuple[BrokerConfig, ...]) -> tuple[BrokerConfig, ...]:
        names = [each.name for each in entries]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tables have the name {name}")
        return entries
