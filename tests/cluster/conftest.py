"""NATS and PostgreSQL for the nodes of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.bench import Cluster, cluster


@pytest.fixture(scope="module", name="cluster")
def started_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run NATS and PostgreSQL."""
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started
