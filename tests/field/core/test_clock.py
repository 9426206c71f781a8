"""A machine whose clock is wrong at first, or is set while the server runs."""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from span_events.app import Server
from span_events.config import Config
from tests.bench.clock import ManualClock
from tests.bench.peers.faketime import FakeClock
from tests.bench.ports import FREE, FREE_VARIABLES
from tests.bench.programs import Program, run
from tests.bench.waiting import answered
from tests.field.serving import get, serve, until_ready

NOW = datetime.now(UTC)
YEAR = timedelta(days=365)


async def shown(address: str) -> x509.Certificate:
    """Return the certificate that a TLS port shows."""
    host, _, port = address.rpartition(":")
    return x509.load_pem_x509_certificate(
        (await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))).encode()
    )


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir()}


async def first_start(folder: Path, then: datetime) -> None:
    """Let a server make its files at some time, and stop."""
    async with Server(
        Config(**FREE), data_dir=folder / "data", clock=ManualClock(int(then.timestamp()) * 1_000_000_000)
    ):
        pass


async def health(address: str) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(await get(address, "/healthz"))["parts"]
    return parts


async def test_core_01_the_first_start_with_a_clock_at_1970_makes_no_keys(tmp_path: Path) -> None:
    """The first start after the clock is set makes everything, as if there had been none before."""
    wrong = await run("faketime", "1970-01-01", *serve(tmp_path), environment=FREE_VARIABLES)
    left = files_in(tmp_path)
    async with Program(*serve(tmp_path), environment=FREE_VARIABLES) as program:
        await until_ready(program, tmp_path)

    assert wrong.status == 4
    assert "error: The clock of this machine says 1970-01-01 00:" in wrong.complaints
    assert "before this release was made" in wrong.complaints
    assert "hint: Set the clock" in wrong.complaints
    assert "Traceback" not in wrong.complaints
    assert left == {}


@pytest.mark.parametrize("then", [NOW - 30 * YEAR, NOW + 30 * YEAR], ids=["behind", "ahead"])
async def test_core_01_an_authority_whose_dates_do_not_fit_is_refused_with_the_way_out(
    tmp_path: Path, then: datetime
) -> None:
    """Made while the clock was ahead, or used while it is behind; the files stay as they are."""
    await first_start(tmp_path, max(NOW, then))
    before = files_in(tmp_path / "data" / "pki")
    used = FakeClock(tmp_path, min(NOW, then))
    refused = await run("env", *serve(tmp_path), environment={**FREE_VARIABLES, **used.environment})

    assert refused.status == 4
    assert "root.pem: is valid from 20" in refused.complaints
    assert "Traceback" not in refused.complaints
    assert ("hint: Set the clock" if then < NOW else "data/pki away, and the next start makes") in refused.complaints
    assert files_in(tmp_path / "data" / "pki") == before


@pytest.mark.parametrize("years", [1, -1])
async def test_core_02_a_step_of_the_clock_by_a_year_is_followed_by_valid_certificates(
    tmp_path: Path, years: int
) -> None:
    """Within a minute: the step is in the log and in the metrics, health is well again."""
    first, then = (NOW + YEAR, NOW + 2 * YEAR) if years > 0 else (NOW + 2 * YEAR, NOW + YEAR)
    await first_start(tmp_path, NOW + YEAR)  # the authority is older than both
    clock = FakeClock(tmp_path, first)
    async with Program("env", *serve(tmp_path), environment={**FREE_VARIABLES, **clock.environment}) as program:
        addresses = await until_ready(program, tmp_path)
        old = await shown(addresses["blobs_tls"])
        clock.set(then)
        while "clock_stepped" not in await program.complaint():
            pass
        while "server_certificate_made" not in await program.complaint():
            pass  # RSA
        while "server_certificate_made" not in await program.complaint():
            pass  # EC
        new = await answered(lambda: shown(addresses["blobs_tls"]), lambda seen: seen != old)  # a moment later
        gateways = await shown(addresses["gateways"])
        parts = await health(addresses["http"])
        metrics = await get(addresses["http"], "/metrics")

    assert not old.not_valid_before_utc <= then <= old.not_valid_after_utc
    assert new.not_valid_before_utc <= then <= new.not_valid_after_utc
    assert gateways == new
    assert parts["certificates"] == "ok"
    assert "\nspan_events_clock_steps_total 1.0\n" in metrics


async def test_core_02_a_step_out_of_the_time_of_the_root_is_shown_in_health(tmp_path: Path) -> None:
    """No certificate can be made then; the way back is another step."""
    clock = FakeClock(tmp_path, NOW)
    async with Program("env", *serve(tmp_path), environment={**FREE_VARIABLES, **clock.environment}) as program:
        addresses = await until_ready(program, tmp_path)
        well = (await health(addresses["http"]))["certificates"]
        clock.set(NOW + 30 * YEAR)
        ill = await answered(lambda: health(addresses["http"]), lambda parts: parts["certificates"] != "ok")
        clock.set(NOW)
        await answered(lambda: health(addresses["http"]), lambda parts: parts["certificates"] == "ok")

    assert well == "ok"
    assert ill["certificates"].startswith("the root is valid from ")
