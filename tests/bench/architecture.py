"""Reads the sources of the checkout and the imports between them, for the rules of tests/test_architecture.py."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CODE: Final = ("span_events", "tests", "scripts")
"""Folders of the checkout that hold Python code."""

Sources = Mapping[str, str]
"""Text of each module by its dotted name."""
Graph = Mapping[str, Set[str]]
"""Imported names by importing module."""


def files() -> list[Path]:
    """Return every Python file of the checkout, relative to it; generated modules aside."""
    found = [path.relative_to(ROOT) for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not path.stem.endswith("_pb2")]


def sources(package: str = "") -> dict[str, str]:
    """Return the text of every module, or of those of one package."""
    return {name: text for name, text in _sources().items() if not package or within(name, package)}


@cache
def _sources() -> dict[str, str]:
    texts = {}
    for path in files():
        parts = path.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        texts[name] = (ROOT / path).read_text(encoding="utf-8")
    return texts


def imports(source: str, modules: Container[str] = ()) -> Iterator[str]:
    """Yield what is imported at any depth; ``from a import b`` is a.b where that is one of ``modules``."""
    for base, names in _statements(source):
        full = [f"{base}.{name}" for name in names]
        yield from (each for each in full if each in modules)
        if not names or not all(each in modules for each in full):
            yield base


@cache
def _statements(source: str) -> list[tuple[str, list[str]]]:
    """Return the import statements: a module, and the names that are imported from it."""
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(("." * node.level + (node.module or ""), [alias.name for alias in node.names]))
    return found


def graph_of(modules: Sources) -> dict[str, set[str]]:
    """Return the imports of each module."""
    return {name: set(imports(source, modules)) for name, source in modules.items()}


def within(module: str, package: str) -> bool:
    """Tell whether a module is a package or below it."""
    return module == package or module.startswith(f"{package}.")


def circles(graph: Graph) -> list[str]:
    """Return an import circle, if there are any."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"cycle: {' < '.join(error.args[1])}"]
    return []


def reached(graph: Graph, module: str) -> set[str]:
    """Return everything that a module imports, also through others."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for each in graph.get(waiting.pop(), ()):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


def calls_of(source: str, method: str) -> list[int]:
    """Return the lines that call a method of this name."""
    if f".{method}" not in source:  # most modules; to parse all takes more than a second
        return []
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
    ]


def folders_of(modules: Iterable[str]) -> set[str]:
    """Return the packages among modules."""
    return {name.rpartition(".")[0] for name in modules}
