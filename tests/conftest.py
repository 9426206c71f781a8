"""Settings and fixtures of all tests."""

from __future__ import annotations

import gc
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog
from argon2 import PasswordHasher
from hypothesis import HealthCheck, settings

from span_events.auth import passwords
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer, postgresql_server

settings.register_profile("noisy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noisy machine")  # a test that had to wait for the processor is no failure

# A shell lets its background jobs ignore Ctrl-C, and nohup the end of the terminal; the programs that tests start would
# inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


_TESTS: Final = Path(__file__).parent
_FIRST: Final = ("e2e/test_documented_commands.py", "kit/test_cluster.py", "cluster/")
"""The longest test, and those that share a cluster, which each worker that takes some of them would start anew."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first: at the end, workers would have nothing to do meanwhile, or take over parts of a module."""

    def position(item: pytest.Item) -> int:
        path = item.path.relative_to(_TESTS).as_posix()
        return next((number for number, first in enumerate(_FIRST) if path.startswith(first)), len(_FIRST))

    items.sort(key=position)


gc.disable()  # until all tests are collected: they stay, so each collection would look at all of them in vain


def pytest_collection_finish() -> None:
    """Collect garbage from now on, without a look at what stays."""
    gc.freeze()
    gc.enable()


def configure_logging() -> None:
    """Log to standard output, with tracebacks as Python writes them; those with variables take seconds to render."""
    structlog.reset_defaults()
    *processors, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors, renderer])


configure_logging()


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Reset the logging that a test configured, as the next one may run in the same process."""
    yield
    configure_logging()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """Run one PostgreSQL server for all tests of this process; each test creates a database of its own."""
    with postgresql_server() as server:
        yield server


@pytest.fixture
async def shared_store(postgresql: PostgresqlServer) -> AsyncIterator[Store]:
    """Open an empty registry that several nodes may share."""
    opened = Store(await postgresql.new_schema(), shared=True)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hashes of passwords and their checks take less than 1 ms instead of 40, for known and unknown users."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", hasher)
    monkeypatch.setattr(passwords, "NOBODY", hasher.hash(secrets.token_hex()))
