"""
The stage of the fault tests: a real server, a device of it, and a subscriber who sees only events.

A file whose fault needs other settings has a fixture ``server`` of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.bench.live import LiveServer
from tests.faults.firmware import FirmwareScene, open_firmware_scene
from tests.faults.gateway_scene import GatewayScene, open_gateway_scene
from tests.faults.mobile import SETTINGS, MobileScene, open_mobile_scene
from tests.faults.scene import Scene, open_scene
from tests.faults.secure import SecureScene, open_secure_scene


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with default settings, which these tests share."""
    with LiveServer(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
async def scene(server: LiveServer) -> AsyncIterator[Scene]:
    """A new collection with one device and one subscriber."""
    async with open_scene(server) as opened:
        yield opened


@pytest.fixture
async def firmware(scene: Scene) -> AsyncIterator[FirmwareScene]:
    """The same with an image that the device should run."""
    async with open_firmware_scene(scene) as opened:
        yield opened


@pytest.fixture
async def secure(scene: Scene) -> AsyncIterator[SecureScene]:
    """The same with a certificate for the device; its clients speak DTLS."""
    async with open_secure_scene(scene) as opened:
        yield opened


@pytest.fixture
async def gate(scene: Scene, tmp_path: Path) -> AsyncIterator[GatewayScene]:
    """The same with the device behind a gateway that has a certificate."""
    async with open_gateway_scene(scene, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="package")
def mobile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that a mobile core may ask."""
    with LiveServer(tmp_path_factory.mktemp("mobile"), SETTINGS) as started:
        yield started


@pytest.fixture
async def mobile(mobile_server: LiveServer) -> AsyncIterator[MobileScene]:
    """A new collection with one device that has a SIM."""
    async with open_mobile_scene(mobile_server) as opened:
        yield opened
