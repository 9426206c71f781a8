"""Regular expressions over names: what they find, and that a large one is refused."""

from __future__ import annotations

import re

import pytest

from span_events.errors import InvalidRequest
from span_events.events.expressions import LONGEST, compiled, names_matching
from span_events.events.filters import parse_filter

TOO_LARGE = ["(?i)" + "(.?){100}" * 20, "(.{0,100}){0,8}a", "\\pN?\\pL?" * 32]
LARGE = ["(\\pL|.)*" * 32, "(x|a{0,1000})?.", "[^a]?" * 50]
"""Expressions that made RE2 take up to 0.2 s each for the longest list of names, before its memory was bounded."""


def test_an_expression_is_found_anywhere_in_a_name() -> None:
    assert names_matching("b+", ("abba", "aa", "cb")) == {"abba", "cb"}


@pytest.mark.parametrize("expression", ["(", "(?=x)", "\\1", "x" * (LONGEST + 1)])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("is no regular expression: ")):
        names_matching(expression, ("a",))


@pytest.mark.parametrize("expression", TOO_LARGE, ids=range(len(TOO_LARGE)))
def test_an_expression_of_a_large_program_is_refused(expression: str) -> None:
    """They have 7,212 to 45,796 instructions."""
    with pytest.raises(InvalidRequest, match="is no regular expression: pattern too large"):
        names_matching(expression, ("a",))


@pytest.mark.parametrize("expression", LARGE, ids=range(len(LARGE)))
def test_a_large_expression_of_a_small_program_is_taken(expression: str) -> None:
    found = compiled(expression)

    assert found.programsize + found.reverseprogramsize < 2 * 2_730


def test_all_expressions_of_a_request_have_a_limit_together() -> None:
    with pytest.raises(InvalidRequest, match="all expressions together have over 2048 characters"):
        parse_filter(events=[f"/{number}{'a?' * 100}/" for number in range(15)])
