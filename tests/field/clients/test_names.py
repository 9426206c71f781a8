"""Names work wherever the command line takes an id of a collection, device or gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from span_events.cli.references import resolve
from span_events.errors import InvalidRequest
from tests.cli.bench import run
from tests.web.conftest import WebBench, web_bench

IMSI, IMEI, ADDRESS = "242016000000001", "357518080000128", "10.0.0.17"


@dataclass(frozen=True, slots=True)
class Lab:
    """A collection with two devices and a gateway."""

    api: WebBench
    collection: str
    device: str
    other: str
    gateway: str

    async def run(self, *arguments: str, token: str = "", env: dict[str, str] | None = None) -> Result:
        """Run a command against the server."""
        return await run("--endpoint", self.api.url, "--token", token or self.api.admin, *arguments, env=env)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A server with some resources."""
    async with web_bench(tmp_path) as api:
        collection = await api.collection(tags={"name": "lab"})
        await api.collection(tags={"name": "field"})
        identity = {"ciot": {"imsi": IMSI, "imei": IMEI}}
        device = await api.device(
            collection, tags={"name": "bench"}, config=identity, metadata={"ciot": {"allocatedIp": ADDRESS}}
        )
        other = await api.device(collection, tags={"name": "pump 3"}, metadata={"ciot": {"allocatedIp": "10.0.0.18"}})
        gateway = await api.gateway(collection, name="roof")
        yield Lab(api, collection, device, other, gateway)


@pytest.mark.parametrize("reference", ["bench", IMSI, IMEI, IMEI[:14], f"{IMEI[:14]}01", ADDRESS])
async def test_clients_08_a_device_is_found_by_name_sim_hardware_or_address(lab: Lab, reference: str) -> None:
    """`bench` is also a number in base 24: the name counts."""
    result = await lab.run("device", "get", "-c", "lab", reference)

    assert result.exit_code == 0, result.stderr
    assert lab.device in result.stdout
    assert lab.other not in result.stdout


async def test_clients_08_the_beginning_of_an_id_is_enough_if_it_fits_one(lab: Lab) -> None:
    shared = next(n for n in range(1, 14) if lab.device[:n] != lab.other[:n])
    result = await lab.run("device", "get", "-c", "lab", lab.device[: max(shared, 4)])

    assert result.exit_code == 0, result.stderr
    assert lab.device in result.stdout


async def test_clients_08_an_ambiguous_name_is_refused_with_the_candidates(lab: Lab) -> None:
    twin = await lab.api.device(lab.collection, tags={"name": "bench"})
    result = await lab.run("device", "delete", "-c", "lab", "bench", "--yes")

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: 'bench' fits 2 devices: {lab.device} (bench, {ADDRESS}), {twin} (bench)\nhint: Give the id of one.\n"
    )
    assert len(list(lab.api.fleet.directory.devices)) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            ["device", "get", "-c", "lab", "bensh"],
            "'bensh' fits no device: give an id, its beginning, a tag `name`, an IMSI, an IMEI, or an address",
            "device list",
        ),
        (["device", "list", "-c", "lap"], "'lap' fits no collection: give an id, its beginning", "collection list"),
        (["gateway", "get", "-c", "lab", "cellar"], "'cellar' fits no gateway: give an id", "gateway list"),
    ],
)
async def test_clients_08_an_unknown_name_is_refused_with_the_forms(
    lab: Lab, arguments: list[str], error: str, hint: str
) -> None:
    result = await lab.run(*arguments)

    assert f"error: {error}" in result.stderr
    assert f"hint: `span-events {hint}` shows the ids." in result.stderr


async def test_clients_08_names_work_in_every_command(lab: Lab) -> None:
    """In arguments, options, repeated options, and variables of the environment."""
    image = await lab.api.image(lab.collection)
    calls = [
        ("collection", "get", "lab"),
        ("gateway", "get", "-c", "lab", "roof"),
        ("gateway", "attach", "-c", "lab", "roof", "-d", "bench", "--param", "devEui=00"),
        ("gateway", "detach", "-c", "lab", "roof", "-d", "bench"),
        ("outbox", "add", "-c", "lab", "-d", "bench", "reboot"),
        ("cert", "list", "-c", "lab", "-d", "bench"),
        ("cert", "list", "-c", "lab", "--gateway", "roof"),
        ("firmware", "assign", "-c", "lab", image, "-d", "bench", "-d", ADDRESS.replace("17", "18")),
        ("device", "move", "-c", "lab", "pump 3", "field"),
    ]
    results = [await lab.run(*each) for each in calls]
    listed = await lab.run("outbox", "list", env={"SPAN_COLLECTION_ID": "lab", "SPAN_DEVICE_ID": "bench"})

    assert [(call, each.stderr) for call, each in zip(calls, results, strict=True) if each.exit_code] == []
    assert "pending" in listed.stdout


async def test_clients_08_a_token_of_one_device_takes_ids(lab: Lab) -> None:
    """It may not list; an id needs no list, and a name is refused with the cause."""
    token = await lab.api.token(f"/collections/{lab.collection}/devices/{lab.device}")
    by_id = await lab.run("device", "get", "-c", lab.collection, lab.device, token=token)
    by_name = await lab.run("device", "get", "-c", lab.collection, "pump 3", token=token)

    assert by_id.exit_code == 0
    assert "error: The token does not reach" in by_name.stderr


async def test_clients_08_a_device_without_a_collection_is_searched_in_all(lab: Lab) -> None:
    """As `tail -d` takes it; the same name in two collections is ambiguous."""
    documents: dict[str, Mapping[str, Any]] = {
        "/span/collections": (await lab.api.call("GET", "/span/collections")).body,
        f"/span/collections/{lab.collection}/devices": (
            await lab.api.call("GET", f"/span/collections/{lab.collection}/devices")
        ).body,
    }

    def fetch(path: str) -> Mapping[str, Any]:
        return documents.get(path, {"devices": [{"deviceId": "17kl14hm46h4c2", "tags": {"name": "pump 3"}}]})

    assert resolve(fetch, "device", "bench") == lab.device
    with pytest.raises(InvalidRequest, match="'pump 3' fits 2 devices: "):
        resolve(fetch, "device", "pump 3")
