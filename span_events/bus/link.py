"""
The connection to NATS: connects, again for ever, and tells when the connection begins and ends.

nats-py reconnects by itself only where its own state allows that, and waits for a server that stopped reading. So each
connection here is a new client, and its losses are known when it ends.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, NoRespondersError, SlowConsumerError

from span_events import __version__
from span_events.bounded.quiet import OncePerMinute
from span_events.bus.base import NoAnswer, NobodyServes
from span_events.clock import Clock
from span_events.config import BusConfig
from span_events.config.fields import secret_in
from span_events.errors import ConfigurationError
from span_events.log import get_logger

log = get_logger("bus")

_PAUSE: Final = 0.25
"""Seconds until the next attempt to connect, twice as many after each failure …"""
_LONGEST_PAUSE: Final = 2.0
"""… up to these."""
_CONNECT: Final = 2.0
"""Seconds for one attempt: TCP, TLS, and the login."""
_PROBE: Final = 1.0
"""Seconds between round trips while something is sent; they show whether NATS has read it."""
_IDLE_PROBES: Final = 5
"""While nothing is sent, one of so many round trips is made."""
_ANSWER: Final = 4.0
"""Seconds that a round trip may take; then the connection is dead."""
_CLOSE: Final = 2.0
"""Seconds to part from a server in order."""
_HINT: Final = "Check that NATS runs at bus.url and takes the login in bus.credentials_file; this server tries again."
_PATIENCE: Final = 0.1
"""Seconds for a task to end after it was cancelled."""
_REFUSAL: Final = "permissions violation"
"""NATS writes this if the login may not publish or subscribe to a subject; the connection goes on."""
_OWNER: Final = re.compile(r'(span\.\w+)\.[^."]+')
"""The begin of a subject with the id of a collection, which health and log do not show."""
_REFUSAL_HINT: Final = (
    "Let the login in bus.credentials_file publish and subscribe to span.> and _INBOX.>, publish to $JS.API.> and "
    "$JS.FC.>, and subscribe to $JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.>."
)

Receive = Callable[[Msg], Awaitable[None]]


class State(StrEnum):
    """States of the connection."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    AWAY = "away"


class Link:
    """
    Keeps one connection to NATS at a time.

    Args:
        on_up: Called with each new connection; it subscribes there. Its failure ends the connection.
        on_down: Called after a connection has ended, or an attempt, which may have failed during `on_up`.
        work: Run as long as a connection, which they get; the failure of one ends the connection.
        on_slow: Called with a subscription when nats-py discarded a message of it because this process fell behind.
        on_defect: Called after an exception that is a defect of ours, which ends at most the connection.
    """

    def __init__(
        self,
        config: BusConfig,
        clock: Clock,
        *,
        on_up: Callable[[Client], Awaitable[None]],
        on_down: Callable[[], None],
        work: Sequence[Callable[[Client], Coroutine[Any, Any, None]]],
        on_slow: Callable[[Subscription], None],
        on_defect: Callable[[], None],
    ) -> None:
        self._config = config
        self._clock = clock
        self._on_up, self._on_down, self._work = on_up, on_down, work
        self._on_slow, self._on_defect = on_slow, on_defect
        self._options = _options_of(config)
        self._client: Client | None = None
        self._tried = asyncio.Event()
        self.state = State.CONNECTING
        self.connections = 0
        """Number of connections so far."""
        self.fault = "the first attempt has not ended"
        """Cause of the last failure."""
        self.refusal = ""
        """The last refusal to publish or subscribe on this connection; empty if there was none."""
        self.refused = 0
        """Number of such refusals on this connection."""
        self._refusals = OncePerMinute(keys=16)
        self.handed = 0
        """Events given to nats-py."""
        self._confirmed = 0
        self.unconfirmed = 0
        """Events that ended connections had not confirmed: NATS has some of them, perhaps."""

    @property
    def client(self) -> Client | None:
        """The connection; None while there is none."""
        return self._client if self.state is State.CONNECTED else None

    async def first_attempt(self) -> None:
        """Wait until the first attempt to connect has succeeded or failed."""
        await self._tried.wait()

    async def run(self) -> None:
        """Connect, and connect again whenever the connection ends, until cancelled."""
        pause = _PAUSE
        while True:
            client = Client()
            ended = asyncio.Event()
            try:
                await self._connect(client, ended)
                pause, self.fault = _PAUSE, ""
                await self._hold(client, ended)
                self.fault = self.fault or "NATS closed the connection"
            except asyncio.CancelledError:
                self.fault = ""
                raise
            except (Error, OSError, TimeoutError, ssl.SSLError, ValueError) as exc:
                self.fault = str(exc) or type(exc).__name__
            except Exception as exc:
                log.exception("bus_failed")
                self.fault, pause = f"a defect of this server ({type(exc).__name__})", _LONGEST_PAUSE
                self._on_defect()
            finally:
                await self._end(client)
            self._tried.set()
            await self._clock.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def ask(self, subject: str, data: bytes, within: float) -> bytes:
        """
        Send a request to the node that serves a subject, and return its answer.

        Raises:
            NobodyServes: No node serves it.
            NoAnswer: The answer did not come in time, or NATS is away.
        """
        client = self.client
        if client is None:
            raise NoAnswer(f"NATS is away: {self.fault}")
        try:
            return (await client.request(subject, data, timeout=within)).data
        except NoRespondersError as exc:
            raise NobodyServes(f"no node serves {subject}") from exc
        except (Error, OSError, TimeoutError) as exc:
            raise NoAnswer(f"no answer from {subject} within {within:g} s") from exc

    async def subscribe(self, client: Client, subject: str, receive: Receive) -> Subscription:
        """Subscribe within the bounds of the configuration."""
        return await client.subscribe(
            subject,
            cb=receive,
            pending_msgs_limit=self._config.pending_messages,
            pending_bytes_limit=self._config.pending_octets,
        )

    # ---- one connection -----------------------------------------------------------------------

    async def _connect(self, client: Client, ended: asyncio.Event) -> None:
        self.refusal, self.refused = "", 0

        async def closed() -> None:
            ended.set()

        async def failed(exc: Exception) -> None:
            if isinstance(exc, SlowConsumerError):
                self._on_slow(exc.sub)
            elif isinstance(exc, Error) and _REFUSAL in str(exc):
                self._note_refusal(str(exc))
            elif self.state is State.CONNECTED and not isinstance(exc, (Error, OSError)):  # of a callback of ours
                log.error("bus_failed", exc_info=exc)
                self._on_defect()
            else:
                self.fault = str(exc) or type(exc).__name__

        servers = self._config.servers
        async with asyncio.timeout(_CONNECT * len(servers) + _CONNECT):
            await client.connect(
                servers=[*servers],
                name=f"span-events {__version__}",
                error_cb=failed,
                closed_cb=closed,
                allow_reconnect=False,
                connect_timeout=_CONNECT,  # type: ignore[arg-type]  # seconds, whole or not
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                flush_timeout=_ANSWER,
                no_echo=True,
                **self._options,
            )

    def _note_refusal(self, text: str) -> None:
        self.refusal = _OWNER.sub(r"\1.*", text.removeprefix("nats: "))
        self.refused += 1
        if count := self._refusals.admits(self.refusal, self._clock.monotonic()):
            log.warning("bus_refused", why=self.refusal, count=count, hint=_REFUSAL_HINT)

    async def _hold(self, client: Client, ended: asyncio.Event) -> None:
        """Call ``on_up``, then run ``work`` and round trips until the connection ends or one of them does."""
        self._client = client
        self._confirmed = self.handed
        await self._on_up(client)
        self.state = State.CONNECTED
        self.connections += 1
        log.info("bus_connected", server=_server_of(client), connections=self.connections)
        self._tried.set()
        running: list[Coroutine[Any, Any, object]] = [ended.wait(), self._probe(client)]
        running += [work(client) for work in self._work]
        tasks = [asyncio.create_task(each) for each in running]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._client = None
            running_on = set(tasks)
            while running_on:  # again and again: nats-py swallows a cancellation while it flushes
                for task in running_on:
                    task.cancel()
                _, running_on = await asyncio.wait(running_on, timeout=_PATIENCE)
            await asyncio.gather(*tasks, return_exceptions=True)  # one of them was the cause; the others follow from it

    async def _probe(self, client: Client) -> None:
        """Let NATS confirm the events that it has read; a server that does not answer is away."""
        idle = 0
        while True:
            await self._clock.sleep(_PROBE)
            handed = self.handed
            idle = 0 if handed != self._confirmed else idle + 1
            if idle % _IDLE_PROBES == 0:
                await settle(client)
                self._confirmed = handed

    async def _end(self, client: Client) -> None:
        was_connected, self.state = self.state is State.CONNECTED, State.AWAY
        self._client = None
        with suppress(Exception):  # it is gone in any case
            async with asyncio.timeout(_CLOSE):
                if was_connected and not self.fault:
                    await settle(client)
                    self._confirmed = self.handed
        _abort(client)
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE):
                await client.close()
        self.unconfirmed += self.handed - self._confirmed
        self._confirmed = self.handed
        self._on_down()
        if self.fault and (was_connected or not self._tried.is_set()):  # once, not with each attempt
            log.warning("bus_away", why=self.fault, hint=_HINT)


async def settle(client: Client) -> None:
    """
    Wait until NATS has read everything that was sent.

    Raises:
        TimeoutError: It has not within four seconds.
    """
    async with asyncio.timeout(_ANSWER):
        for _ in range(
            2
        ):  # nats-py's first PING overtakes the data that its flusher holds back; by its reply, none is left
            await client.flush(timeout=_ANSWER)  # type: ignore[arg-type]  # seconds, whole or not


def _abort(client: Client) -> None:
    """Close the socket at once: nats-py waits until the server has read everything, and a stopped one never does."""
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


def _server_of(client: Client) -> str:
    url = client.connected_url
    return url.netloc.rpartition("@")[2] if url is not None else ""


def _options_of(config: BusConfig) -> dict[str, Any]:
    """
    Return credentials and TLS as nats-py takes them.

    Raises:
        ConfigurationError: A file cannot be read.
    """
    options: dict[str, Any] = {}
    try:
        if config.ca_file:
            options["tls"] = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigurationError([f"bus.ca_file: {config.ca_file} cannot be read: {exc}"]) from exc
    if not config.credentials_file:
        return options
    try:
        secret = secret_in(config.credentials_file)
    except ValueError as exc:
        raise ConfigurationError([f"bus.credentials_file: {exc}"]) from exc
    if "BEGIN NATS USER JWT" in secret:
        options["user_credentials"] = config.credentials_file  # read again at each login
    elif secret.startswith("SU") and ":" not in secret:
        options["nkeys_seed_str"] = secret
    else:
        options["user"], _, options["password"] = secret.partition(":")
    return options
