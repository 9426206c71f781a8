"""Regular expressions over names: what they find, and that a large one is refused."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest

from span_events.dialects.things_stack.names import CATALOGUE
from span_events.errors import InvalidRequest
from span_events.events.expressions import LONGEST, names_matching
from span_events.events.filters import parse_filter

LARGE = [
    "(?i)" + "(.?){100}" * 20,
    "(\\pL|.)*" * 32,
    "(.{0,100}){0,8}a",
    "\\pN?\\pL?" * 32,
    "(x|a{0,1000})?.",
    "[^a]?" * 50,
]
"""Expressions that made RE2 take up to 0.2 s each for the longest list of names."""


def test_an_expression_is_found_anywhere_in_a_name() -> None:
    assert names_matching("b+", ("abba", "aa", "cb")) == {"abba", "cb"}


@pytest.mark.parametrize("expression", ["(", "(?=x)", "\\1", "x" * (LONGEST + 1)])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("is no regular expression: ")):
        names_matching(expression, ("a",))


@pytest.mark.parametrize("expression", LARGE, ids=range(len(LARGE)))
def test_a_large_expression_takes_milliseconds_or_is_refused(expression: str) -> None:
    """The limit is generous: tests share the processor."""
    began = time.process_time()
    with suppress(InvalidRequest):
        names_matching(expression, CATALOGUE)

    assert time.process_time() - began < 0.05


def test_all_expressions_of_a_request_have_a_limit_together() -> None:
    with pytest.raises(InvalidRequest, match="all expressions together have over 2048 characters"):
        parse_filter(events=[f"/{number}{'a?' * 100}/" for number in range(15)])
