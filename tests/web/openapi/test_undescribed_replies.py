"""Schemathesis finds no reply that ``/openapi.json`` does not describe."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.web.conftest import WebBench, web_bench

SCHEMATHESIS: Final = str(Path(sys.executable).with_name("schemathesis"))
CHECKS: Final = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)

TABLES: Final = Path(__file__).parents[3] / ".hypothesis"
"""File in which Hypothesis keeps its tables of characters; without it, making them takes two seconds."""
_METHODS: Final = ("--exclude-method", "--include-method")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


async def explore(api: WebBench, folder: Path, names: dict[str, str], *which: str) -> str:
    """Let schemathesis explore some operations with these parameters of paths; return its report, or nothing."""
    config = folder / f"{which[0].strip('-')}.toml"
    config.write_text("[parameters]\n" + "".join(f'"path.{name}" = "{text}"\n' for name, text in names.items()))
    process = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "--config-file", str(config), "run", f"{api.url}/openapi.json"),
        *("--header", f"X-API-Token: {api.admin}", "--checks", CHECKS, "--phases", "examples,fuzzing"),
        *("--max-examples", "3", "--seed", "1", "--no-shrink", "--no-color", "--suppress-health-check", "all"),
        *("--exclude-tag", "streams", "--exclude-tag", "things-stack", "--continue-on-failure", *which),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(TABLES)},
    )
    report, _ = await process.communicate()
    tested = re.search(rb"(\d+) generated, \1 passed", report)
    return "" if process.returncode == 0 and tested and int(tested[1]) > len(names) else report.decode()


async def resources(api: WebBench) -> dict[str, str]:
    """Make resources for the parameters of paths."""
    collection = await api.collection()
    return {
        "collection": collection,
        "device": await api.device(collection),
        "image": await api.image(collection),
        "gateway": await api.gateway(collection),
    }


async def test_schemathesis_finds_no_reply_that_is_not_described(api: WebBench, tmp_path: Path) -> None:
    """With the ids of resources that exist; removals have theirs, and meet some that do not exist any more."""
    found = [explore(api, tmp_path, await resources(api), each, "DELETE") for each in _METHODS]
    reports = await asyncio.gather(*found)

    assert reports == [""] * len(_METHODS)
