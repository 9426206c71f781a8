"""Node: the parts that every server has, whatever its role."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

from span_events.accepting import RefusedAccepts
from span_events.app.bus import make_bus, start_bus
from span_events.app.engines import Engines
from span_events.app.keys import open_keys
from span_events.app.outputs import start_outputs
from span_events.app.shutdown import Started
from span_events.app.supervisor import Supervisor
from span_events.app.wall_clock import LOOK, ClocksDiffer, WallClockWatch, compare
from span_events.auth.logins import Logins
from span_events.auth.tokens import Tokens
from span_events.clock import Clock
from span_events.config import Config
from span_events.errors import DatabaseUnavailable
from span_events.events.history import History
from span_events.fanout.hub import Hub
from span_events.fleet.fleet import Fleet
from span_events.ids import IdGenerator
from span_events.metrics import Measure
from span_events.pki import dates
from span_events.registry import location
from span_events.registry.shared.nodes import RENEWAL
from span_events.registry.store import Store

_SWEEP: Final = 1.0
"""Seconds between sweeps of the fleet: idle sessions, expired messages."""
_MINUTE: Final = 60.0
"""Seconds between sweeps of the history."""
_FILES: Final = 2.0
"""Seconds between checks of the place of images and blobs; it is used again so long after its return."""
_PROBE: Final = 10.0
"""Seconds between writes that only show whether the registry can be written."""
RECONNECT: Final = 0.5
"""Seconds until the next attempt to follow the changes of other nodes, or to lead them."""
_HOUR: Final = 3_600.0
"""Seconds between looks for expired certificates of devices and gateways."""
_DAY: Final = 86_400.0
"""Seconds between looks at the server's certificates, at most."""
_LOOKS: Final = 12
"""Least number of checks in the life of the server's certificate; its last third is for renewal."""


class Node:
    """
    Registry, tokens, bus, history, hub, fleet and authority of one process.

    The parts exist from `open` on; `run` starts their repeated work. `shut_down` ends both, by `started`.
    """

    def __init__(self, config: Config, *, data_dir: Path, clock: Clock) -> None:
        self.config = config
        self.data_dir = data_dir
        self.clock = clock
        self.supervisor = Supervisor(clock, common=(DatabaseUnavailable, ClocksDiffer) if config.is_cluster else ())
        self.started = Started(self.supervisor)
        self.refused = RefusedAccepts(clock)
        self.addresses: dict[str, str] = {}
        """Bound addresses: listener name to ``host:port``."""
        self.identifiers = IdGenerator(config.node)
        self._wall_clock = WallClockWatch(clock)

    async def open(self) -> None:
        """
        Open the registry, and make the parts that work on it.

        Raises:
            SpanEventsError: A part cannot start; `started` names those to stop.
        """
        config, clock = self.config, self.clock
        if not location.authority_exists(self.data_dir):
            dates.require_plausible(clock)  # before anything is written
        location.prepare(self.data_dir)
        location.warn_if_open(self.data_dir)
        self.started.folder_lock = location.lock(self.data_dir, shared=config.is_cluster)
        self.store = Store(location.database_url(config.registry, self.data_dir), shared=config.is_cluster)
        await self.store.open()
        self.started.store = self.store
        if self.store.is_shared:
            self.identifiers.node = await self.store.number.lease()
        await self.store.lock()
        contents = await self.store.load()

        self.authority, key = await open_keys(config.pki, self.store, self.data_dir, clock)
        self.engines = Engines(self.authority, clock)
        self.logins = Logins(self.store.accounts, config.logins, key=key, identifiers=self.identifiers, clock=clock)
        self.tokens = Tokens(self.store, self.identifiers, clock, logins=self.logins)
        await self.tokens.load()
        self.history = History(
            per_collection=config.events.history_per_collection,
            total=config.events.history_total,
            octets=config.events.history_octets,
            age=config.events.history_age,
            born=self.identifiers.next(clock.time_ns()),
        )
        self.bus = self.started.bus = make_bus(config, clock, self.identifiers, self.history, self.authority.root_pem)
        self.hub = Hub(config.fanout, clock, self.identifiers, self.bus)
        self.bus.listen(activities=self.hub.show, messages=self.hub.show_message, everywhere=True)
        await start_bus(self.bus, self.hub, self.supervisor, clock)
        self.fleet = Fleet(
            config,
            folder=self.data_dir,
            bus=self.bus,
            store=self.store,
            authority=self.authority,
            clock=clock,
        )
        self.started.fleet = self.fleet
        await self.fleet.fill(contents)
        if self.store.is_shared:
            self.fleet.others.serve()
        self.started.outputs = start_outputs(config.outputs, self.fleet, self.bus, clock)

    def run(self) -> None:
        """Repeat sweeps, writes to the registry, and renewals, until the shutdown."""
        config, every = self.config, self.supervisor.every
        every(_SWEEP, "sweep", self.fleet.sweep)
        every(_MINUTE, "history", lambda: self.history.sweep(self.clock.time_ns()))
        every(config.registry.flush_interval, "registry", self.fleet.flush)
        every(_PROBE, "registry_write", lambda: self.store.probe())  # noqa: PLW0108
        every(_PROBE, "files", lambda: asyncio.to_thread(location.probe, self.data_dir))
        if config.files.url:  # else "files" looks at them, in the data directory
            every(_FILES, "file_store", self.fleet.check_files)
        every(config.registry.flush_interval, "token_uses", self.tokens.flush)
        every(LOOK, "clock", self._watch_clock)
        if self.store.is_shared:
            every(RENEWAL, "node_number", self._renew_number)
            every(_SWEEP, "timers", self.fleet.lead)
            every(_PROBE, "clocks", self._compare_clocks)
            self.supervisor.keep(RECONNECT, "registry_changes", self.fleet.registry.follow)
            self.supervisor.keep(RECONNECT, "leader", self.store.leader.campaign)
            every(RECONNECT, "intermediates", self.authority.refresh)
        every(min(_DAY, config.pki.server_validity / _LOOKS), "certificates", self.reload)
        every(_HOUR, "expired_certificates", self.fleet.certificates.prune)

    async def _renew_number(self) -> None:
        self.identifiers.node = await self.store.number.renew()

    async def _compare_clocks(self) -> None:
        before = self.clock.time_ns() / 1e9
        with suppress(DatabaseUnavailable):  # of which other parts tell
            theirs = await self.store.now()
            compare(before, theirs, self.clock.time_ns() / 1e9)

    async def reload(self) -> bool:
        """
        Read the server's certificates again, and renew them if it is time; true if they changed.

        Raises:
            StorageUnavailable: The certificates cannot be read or written; the old ones stay.
        """
        changed = await self.authority.renew()
        if changed:
            self.engines.renewed()
        return changed

    async def _watch_clock(self) -> None:
        """Renew the server's certificates after a step of the clock; expired ones stay, as it may be undone."""
        if self._wall_clock.stepped() or self.authority.fault():
            await self.reload()

    def health(self) -> dict[str, str]:
        """Return the health of each part: ``ok``, or a sentence that names the failure."""
        return {
            "registry": self.store.health(),
            "files": "ok",
            **self.fleet.files_health(),
            "bus": self.bus.health(),
            **({"server": "stops now"} if self.started.is_stopping else {}),
            "certificates": self.authority.fault() or "ok",
            **dict.fromkeys(self.addresses, "ok"),
            **self.refused.health(),
            **self.supervisor.failing,
        }

    def metrics(self) -> list[Measure]:
        """List the metrics."""
        return [
            *self.store.metrics(),
            *self.bus.metrics(),
            *self.hub.metrics(),
            *self.logins.metrics(),
            *self.history.metrics(),
            *self.fleet.metrics(),
            *self.authority.metrics(),
            *self._wall_clock.metrics(),
            *self.refused.metrics(),
        ]
