"""Accepting of connections while descriptors run out."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing

import pytest
import structlog

from span_events import accepting
from span_events.accepting import Acceptor, RefusedAccepts, raise_descriptor_limit, warn_of_few_descriptors
from span_events.net import bind
from tests.bench.clock import ManualClock
from tests.bench.waiting import until


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Give back the limits of this process after the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Scene:
    """A listening socket, and whom it served."""

    def __init__(self, stack: ExitStack) -> None:
        self.clock = ManualClock()
        self.refused = RefusedAccepts(self.clock)
        self.served: list[socket.socket] = []
        self.is_behind = False
        self.acceptor = Acceptor(
            "http", self.refused, lambda accepted, _: self.served.append(accepted), is_behind=lambda: self.is_behind
        )
        bound = bind("http", "127.0.0.1", 0, socket.SOCK_STREAM)
        self.address = bound.getsockname()
        self._stack = stack
        self.acceptor.start(bound, 100)
        stack.callback(self.acceptor.stop)
        stack.callback(self.close_served)

    def connect(self) -> socket.socket:
        return self._stack.enter_context(closing(socket.create_connection(self.address)))

    def close_served(self) -> None:
        while self.served:
            self.served.pop().close()

    @property
    def counted(self) -> Mapping[str, float]:
        (counted,) = [each.value() for each in self.refused.metrics() if each.name == "accepts_refused"]
        assert isinstance(counted, Mapping)
        return counted


async def test_a_connection_beyond_the_limit_is_closed_counted_and_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Health is degraded for a minute; those that are there stay, and new ones are served when there is room."""
    with ExitStack() as stack:
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        highest = lowest + 12
        monkeypatch.setattr(accepting, "descriptor_limit", lambda: highest * 8 // 7)
        monkeypatch.setattr(accepting, "kept_back", lambda limit: limit - highest)
        with structlog.testing.capture_logs() as log:
            scene = Scene(stack)
            clients: list[socket.socket] = []
            first = dict(scene.counted)
            while scene.counted != {"http": 2}:
                clients.append(scene.connect())
                await until(lambda: len(scene.served) + sum(scene.counted.values()) == len(clients))
            served = len(scene.served)
            ends = [each.recv(1) for each in clients[-2:]]
            ill = dict(scene.refused.health())
            scene.close_served()
            for each in clients:
                each.close()
            scene.connect()
            await until(lambda: len(scene.served) == 1)
            scene.clock.shift(60)
            well = dict(scene.refused.health())

    assert first == {"http": 0}, "an alert on the increase would miss the first"
    assert served == len(clients) - 2 > 0
    assert ends == [b"", b""]
    assert list(ill) == ["http"]
    assert "no descriptors left" in ill["http"]
    assert well == {}
    (line,) = [each for each in log if each["event"] == "accept_refused"]
    assert (line["listener"], line["count"]) == ("http", 1)
    assert "LimitNOFILE" in line["hint"]


async def test_a_failing_accept_is_repeated_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection waits in the kernel meanwhile; the event loop does not spin."""
    monkeypatch.setattr(accepting, "_PAUSE", 0.01)
    failures = 0

    class Failing(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            nonlocal failures
            failures += 1
            if failures <= 2:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    with ExitStack() as stack:
        scene = Scene(stack)
        failing = stack.enter_context(Failing())
        failing.bind(("127.0.0.1", 0))
        failing.setblocking(False)
        scene.acceptor.stop()
        scene.acceptor.start(failing, 10)
        scene.address = failing.getsockname()
        scene.connect()
        await until(lambda: len(scene.served) == 1)

        assert scene.counted == {"http": 2}


async def test_connections_wait_in_the_kernel_while_requests_wait_for_their_turns() -> None:
    """A burst that is accepted faster than it is answered would displace its own first clients."""
    with ExitStack() as stack:
        scene = Scene(stack)
        for _ in range(20):
            scene.connect()
        found = []
        for scene.is_behind in (True, True, False):
            scene.acceptor._accept()
            found.append(len(scene.served))

    assert found == [1, 2, 20]


async def test_a_lost_listening_socket_is_an_error() -> None:
    with ExitStack() as stack:
        scene = Scene(stack)
        bad = stack.enter_context(socket.socket())
        bad.setblocking(False)
        scene.acceptor.stop()
        bad.bind(("127.0.0.1", 0))
        scene.acceptor.start(bad, 1)
        address = bad.getsockname()
        bad.shutdown(socket.SHUT_RD)  # it listens no longer: accept() is EINVAL
        with closing(socket.socket()) as late:
            late.connect_ex(address)
            with pytest.raises(OSError, match="Invalid"):
                await asyncio.wait_for(scene.acceptor.lost, 60)
        scene.acceptor.stop()


def test_the_soft_limit_is_raised_to_the_hard_one(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    with structlog.testing.capture_logs() as log:
        raise_descriptor_limit()
        raise_descriptor_limit()

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    assert [(each["event"], each["was"], each["limit"]) for each in log] == [("descriptor_limit_raised", 256, hard)]


@pytest.mark.parametrize(("needed", "warned"), [(100, False), (1_000, True)])
def test_bounds_beyond_the_limit_are_warned_of(limits: tuple[int, int], needed: int, warned: bool) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    with structlog.testing.capture_logs() as log:
        warn_of_few_descriptors(needed)

    assert [each["event"] for each in log] == ["descriptors_too_few"] * warned
