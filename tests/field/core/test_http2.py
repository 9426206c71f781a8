"""HTTP/2 of the ports of gateways and of The Things Stack's API, judged by h2spec."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE

H2SPEC: Final = shutil.which(str(Path(__file__).parents[3] / ".cache/go/h2spec"))
"""`scripts/test` installs it where Go is there."""


@pytest.mark.skipif(H2SPEC is None, reason="h2spec is not installed; tests/wire/grpc has the octets of its hard cases")
@pytest.mark.parametrize(("listener", "tls"), [("gateways", ("-t", "-k")), ("things_stack", ())])
async def test_core_16_h2spec_finds_no_fault(tmp_path: Path, listener: str, tls: tuple[str, ...]) -> None:
    """
    All of its cases, on every port that speaks HTTP/2.

    Its case of wrong trailers fails where the server answers between its two frames: it has three tries.
    """
    with LiveServer(tmp_path) as server:
        reports = [await h2spec(server.addresses[listener], *tls)]
        while b" 0 skipped, 0 failed" not in reports[-1] and len(reports) < 3:
            reports.append(await h2spec(server.addresses[listener], *tls))

    assert b" 0 skipped, 0 failed" in reports[-1], reports[-1].decode()


async def h2spec(address: str, *tls: str) -> bytes:
    """Run h2spec on a port, and return its report."""
    assert H2SPEC is not None
    host, _, port = address.rpartition(":")
    process = await asyncio.create_subprocess_exec(
        *(H2SPEC, "-h", host, "-p", port, *tls, "-o", "5"), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    return output
