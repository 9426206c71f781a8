"""NATS and PostgreSQL, and the nodes of one server: for all tests of this folder, as they take seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.bench import Cluster, cluster
from tests.cluster.site import Site, site_of


@pytest.fixture(scope="package", name="cluster")
def started_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run NATS and PostgreSQL."""
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="package")
def site(cluster: Cluster) -> Iterator[Site]:
    """Run four nodes."""
    with site_of(cluster) as started:
        yield started
