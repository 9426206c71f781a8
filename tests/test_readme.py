"""README and guides: tables rendered from the code, links to files and headings, valid examples of settings."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Final

import pytest

from span_events import config
from span_events.events.catalogue import CATALOGUE
from span_events.events.reference import render_guide

ROOT: Final = Path(__file__).parent.parent
GUIDES: Final = {path.stem: path for path in sorted((ROOT / "span_events" / "guides").glob("*.md"))}
PAGES: Final = {"readme": ROOT / "README.md", **GUIDES}
OTHERS: Final = {"contributing": ROOT / ".github" / "CONTRIBUTING.md", "map": ROOT / "span_events" / "README.md"}
README: Final = PAGES["readme"].read_text()
LANGUAGES: Final = {"", "sh", "js", "toml", "ini", "c", "text", "python", "nginx", "haproxy", "json"}
"""Kinds of code blocks; of these, sh is run, toml is loaded as a configuration, and Python is compiled."""


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_guide_to_events_is_rendered_from_the_catalogue() -> None:
    """Name, meaning and keys cannot fall behind."""
    assert GUIDES["events"].read_text() == render_guide()


def test_the_readme_names_every_event() -> None:
    assert [name for name in CATALOGUE if f"`{name}`" not in README] == []


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("name", PAGES)
def test_every_code_block_names_its_language(name: str) -> None:
    assert set(re.findall(r"^```(\w*)$", PAGES[name].read_text(), re.MULTILINE)) <= LANGUAGES


@pytest.mark.parametrize("page", [*PAGES.values(), *OTHERS.values()], ids=lambda path: path.stem)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Links to other sites are not followed."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in {_anchor(each) for each in headings}, link


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_begins_with_a_heading_and_a_sentence(name: str) -> None:
    """`span-events guide` lists that sentence."""
    assert re.match(r"# .+\n\n[^\n#|`*].*?[.:]\s", GUIDES[name].read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "settings", [each for page in PAGES.values() for each in blocks(page.read_text(), "toml")], ids=lambda _: ""
)
def test_every_example_of_settings_is_a_valid_configuration(settings: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    path = tmp_path / "span-events.toml"
    path.write_text(re.sub(r"/etc/span-events/\w+\.secret", str(secret), settings))

    assert config.load(path) != config.load()


def _anchor(heading: str) -> str:
    """Return the anchor that web pages of repositories give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_python_in_the_guides_compiles_and_imports_what_exists(name: str) -> None:
    for block in blocks(PAGES[name].read_text(), "python"):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("span_events"):
                module = importlib.import_module(node.module or "")
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []
