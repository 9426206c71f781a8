"""Nodes of two releases: a node whose release has another schema than the registry is refused, and the others go on."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import make_url

from span_events.registry.tables import SCHEMA
from tests.cluster.bench import Cluster
from tests.cluster.site import Site, activity, arrives, new_device


async def set_schema(cluster: Cluster, number: int) -> None:
    """Let the registry look as one that a release with this schema wrote."""
    table = f"{make_url(cluster.registry_url).username}.about"
    await cluster.database.execute(f"DELETE FROM {table}", f"INSERT INTO {table} (schema) VALUES ({number})")


@pytest.mark.parametrize(
    ("schema", "why"),
    [(SCHEMA - 1, "servers of that release use it"), (SCHEMA + 1, "a newer release wrote it")],
    ids=["older", "newer"],
)
async def test_a_node_of_another_release_is_refused(cluster: Cluster, site: Site, schema: int, why: str) -> None:
    """A newer one would change the tables under the others; an older one does not know them."""
    device = await new_device(site.web)
    await set_schema(cluster, schema)
    status, log = await asyncio.to_thread(cluster.refused, f"schema-{schema}", {"role": "web"})
    await set_schema(cluster, SCHEMA)
    async with site.web.tail(activity(device)) as tail:
        await arrives(device, site.devices, tail)

    assert status == 4
    assert why in log
