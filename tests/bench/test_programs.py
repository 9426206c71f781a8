"""A missing program fails its test with a sentence instead of a traceback or a wait."""

from __future__ import annotations

import pytest

from tests.bench.programs import PACKAGES, find_program, run


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
