"""The gateway of the tests, started by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench.peers import gateway_client


@pytest.mark.parametrize("arguments", [[], ["--help"], ["localhost:6674", "cert.crt"]])
def test_wrong_arguments_show_the_usage(arguments: list[str]) -> None:
    """The README names the program as an example."""
    done = subprocess.run(
        [sys.executable, gateway_client.__file__, *arguments], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == "usage: gateway_client.py HOST:PORT CERTIFICATE KEY [ROOTS]\n"
