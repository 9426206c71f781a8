"""Admission of streams: the room that is left for one more, in all and for each token and address."""

from __future__ import annotations

from collections import Counter
from typing import Any, Self, TypeVar

from aiohttp import web

from span_events.accepting import RefusedAccepts, is_last
from span_events.config import StreamsConfig
from span_events.errors import LimitReached, Unavailable
from span_events.fanout.hub import Hub
from span_events.metrics import Metric
from span_events.registry.addresses import prefix_of
from span_events.registry.model import Token
from span_events.web.proxies import Proxies

K = TypeVar("K")


class Admission:
    """
    Checks every kind of stream over HTTP before its reply begins, and counts those over gRPC and the clients of MQTT.

    Args:
        proxies: Tell the address of a client behind them.
        refused: Counts what was refused for want of descriptors.
    """

    def __init__(self, config: StreamsConfig, proxies: Proxies, hub: Hub, refused: RefusedAccepts) -> None:
        self._config = config
        self._proxies = proxies
        self._hub = hub
        self._refused = refused
        self._by_token = Counter[int]()
        self._by_address = Counter[str]()

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "streams_of_one",
                "Open streams over HTTP, gRPC and MQTT of the token and of the address that have most; at most"
                " streams.per_token and streams.per_address.",
                "gauge",
                lambda: {"token": _most(self._by_token), "address": _most(self._by_address)},
                label="of",
            )
        ]

    def check(self, request: web.Request) -> None:
        """
        Make sure that there is room for one more stream, and leave the last descriptors to short requests.

        Raises:
            Unavailable: A bound is reached, or the server shuts down.
        """
        self._hub.check_room()
        connection = None if request.transport is None else request.transport.get_extra_info("socket")
        if connection is not None and is_last(connection.fileno()):
            self._refused.few_left("http")
            raise Unavailable(
                "The server has no descriptors left for another stream",
                hint="Close streams that nobody reads, or raise the server's limit of open files.",
            )

    def client_of(self, request: web.Request) -> str | None:
        """Return the address of a client, behind proxies too."""
        return self._proxies.client_of(request)

    def hold(self, request: web.Request, token: Token | None, weight: int = 1) -> Place:
        """
        Hold a stream's place among those of its client's address and of its token, unless the token comes later.

        Args:
            weight: The number of streams as which it counts.

        Raises:
            LimitReached: The address or the token has as many streams as it may have.
        """
        place = self.hold_address(self.client_of(request) or "", weight)
        if token is not None:
            try:
                place.beside = self.hold_token(token, weight)
            except LimitReached:
                place.release()
                raise
        return place

    def hold_address(self, address: str, weight: int = 1) -> Place:
        """
        Hold a place among the streams of a client's address.

        Raises:
            LimitReached: The address has as many streams as it may have.
        """
        client = _neighbourhood(address)
        hint = "Close streams that nobody reads, or raise streams.per_address; http.proxies names proxies in front."
        return Place(self._by_address, client, self._config.per_address, client, "streams.per_address", hint, weight)

    def hold_token(self, token: Token, weight: int = 1) -> Place:
        """
        Hold a place among the streams of a token.

        Raises:
            LimitReached: The token has as many streams as it may have.
        """
        hint = "Close streams that nobody reads, use a token for each program, or raise streams.per_token."
        return Place(self._by_token, token.id, self._config.per_token, "this token", "streams.per_token", hint, weight)


class Place:
    """A place among the streams of one owner, until its release; a class of its own, since every idle stream has it."""

    __slots__ = ("_counts", "_key", "_weight", "beside")

    def __init__(
        self, counts: Counter[Any], key: object, most: int, owner: str, setting: str, hint: str, weight: int
    ) -> None:
        if counts[key] >= most:
            raise LimitReached(f"There are {most} streams of {owner}, as many as {setting} allows", hint=hint)
        if counts[key] + weight > most:
            taken = f"{counts[key]} of the {most} streams of {owner} that {setting} allows are taken"
            raise LimitReached(f"{taken}, and this one counts as {weight} for its many entities", hint=hint)
        counts[key] += weight
        self._counts: Counter[Any] | None = counts
        self._key = key
        self._weight = weight
        self.beside: Place | None = None
        """Another place that is released with this one."""

    def release(self) -> None:
        """Give the place up; twice does no harm."""
        counts, self._counts = self._counts, None
        if counts is None:
            return
        counts[self._key] -= self._weight
        if not counts[self._key]:
            del counts[self._key]
        if self.beside is not None:
            self.beside.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()


def _most(counts: Counter[K]) -> int:
    return max(counts.values(), default=0)


def _neighbourhood(address: str) -> str:
    """Return an IPv4 address itself, and the /64 of an IPv6 address, all of which one client may have."""
    return prefix_of(address.partition("%")[0]) if ":" in address else address
