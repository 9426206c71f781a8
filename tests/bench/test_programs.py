"""A missing program fails its test with a sentence instead of a traceback or a wait, and no two get the same port."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from tests.bench.ports import free_port, free_ports
from tests.bench.programs import PACKAGES, find_program, run

OTHER_PROCESS: Final = "from tests.bench.ports import free_port; print(*(free_port() for _ in range(99)))"


@pytest.mark.parametrize("name", ["radclient", "coap-client-openssl"])
async def test_a_missing_program_is_named_with_its_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match=rf"^{name} is missing: install the Debian package \S") as failure:
        await run(name, "--help")

    assert str(failure.value).endswith(PACKAGES[name])


def test_a_program_of_another_source_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wscat comes from npm."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match=r"^wscat is missing: run scripts/test$"):
        find_program("wscat")


def test_a_free_port_is_given_to_one_process_only() -> None:
    """Even while nobody has bound it: the program that a test starts does that later, and again after a restart."""
    ours = {free_port() for _ in range(99)}
    printed = subprocess.run([sys.executable, "-c", OTHER_PROCESS], capture_output=True, text=True, check=True).stdout
    theirs = set(map(int, printed.split()))

    assert len(ours) == len(theirs) == 99
    assert not ours & theirs
    assert max(ours | theirs) < 32_768, "Linux gives the ports beyond to clients"


def test_free_ports_are_side_by_side() -> None:
    first, second = free_ports(60), free_ports(60)

    assert second >= first + 60
