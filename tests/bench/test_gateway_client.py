"""The gateway of the tests, as somebody starts it by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench import gateway_client


@pytest.mark.parametrize("arguments", [[], ["--help"], ["localhost:6674", "cert.crt"]])
def test_whoever_starts_it_wrongly_is_told_how(arguments: list[str]) -> None:
    """The README names it as an example, so people try it."""
    done = subprocess.run(
        [sys.executable, gateway_client.__file__, *arguments], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == "usage: gateway_client.py HOST:PORT CERTIFICATE KEY [ROOTS]\n"
