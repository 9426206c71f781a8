"""Names of The Things Stack: the catalogue, and the resolution of filters."""

from __future__ import annotations

import re

import pytest

from span_events.dialects.things_stack.errors import StatusError
from span_events.dialects.things_stack.names import CATALOGUE, UPSTREAM, resolve
from span_events.dialects.things_stack.rules import NAMES, RULES, default_rule, rule_of
from span_events.events.activity import Event, Severity
from span_events.events.catalogue import CATALOGUE as EVENTS
from tests.dialects.things_stack.samples import events

GRAMMAR = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
CONSOLE = [
    *("/^as\\..*\\.drop$/", "/^as\\.down\\.data\\.receive$/", "/^as\\.up\\..*\\.forward$/"),
    *("/^js\\.join\\.(accept|reject)$/", "/^ns\\.up\\.data\\.process$/", "/^ns\\.up\\.join\\.process$/"),
    *("/^ns\\.down\\.data\\.schedule\\.attempt$/", "/^ns\\.mac\\..*\\.answer\\.reject$/", "/^.*\\.warning$/"),
    *("/^.*\\.fail$/", "/^end_device\\..*$/", "/^application\\..*$/", "/^gs\\.gateway\\.(connect|disconnect)$/"),
    *("/^gs\\.up\\.receive$/", "/^gs\\.down\\.send$/", "/^gs\\.down\\.schedule\\.fail$/", "/^gs\\.status\\.receive$/"),
    *("/^gs\\.down\\.tx\\.fail$/", "/^gcs\\.managed\\..*$/", "/^gateway\\..*$/"),
]
"""The filters of the original's Console."""


def test_the_original_has_248_names() -> None:
    assert len(UPSTREAM) == 248
    assert all(GRAMMAR.fullmatch(each) for each in UPSTREAM)


def test_our_additional_names_follow_the_grammar() -> None:
    extensions = NAMES - UPSTREAM

    assert all(GRAMMAR.fullmatch(each) for each in extensions)
    assert all(each.split(".")[0] in ("as", "gs", "ns") for each in extensions)


def test_every_event_has_a_name() -> None:
    assert set(RULES) == set(EVENTS.values())
    assert {rule_of(each).name for each in events()} == NAMES | {"events.stream.drop"}


def test_an_event_without_a_rule_gets_a_name_made_of_its_own() -> None:
    """A new event must not fail in the hot path because nobody has thought of its name."""

    class SomethingNew(Event):
        name = "somethingNew"
        severity = Severity.WARNING

    rule = default_rule(SomethingNew)

    assert (rule.name, rule.code) == ("as.end_device.something_new.warning", None)


def test_every_terminal_failure_has_a_code() -> None:
    """The original's habit: drop, fail and reject carry an error."""
    rules = [rule for each in RULES.values() for rule in each]

    assert [
        each.name for each in rules if each.name.endswith((".drop", ".fail", ".reject")) and each.code is None
    ] == []


@pytest.mark.parametrize("pattern", CONSOLE)
def test_every_filter_of_the_console_has_a_hit(pattern: str) -> None:
    assert resolve(pattern)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("gs.up.receive", {"gs.up.receive"}),
        ("/^gs\\.up\\.(drop|receive)$/", {"gs.up.drop", "gs.up.receive"}),
        ("///gs.up.rec//", {"gs.up.receive"}),
    ],
)
def test_a_pattern_is_a_name_or_an_expression(pattern: str, names: set[str]) -> None:
    assert resolve(pattern) == names


@pytest.mark.parametrize("pattern", ["/", "//", "/./"])
def test_an_empty_expression_matches_every_name(pattern: str) -> None:
    assert resolve(pattern) == set(CATALOGUE)


@pytest.mark.parametrize(
    ("pattern", "name", "message", "attributes"),
    [
        ("gs.up", "unknown_event_name", "(unknown event `gs.up`)", {"name": "gs.up"}),
        (
            "events.stream.start",
            "unknown_event_name",
            "(unknown event `events.stream.start`)",
            {"name": "events.stream.start"},
        ),
        ("/GS/", "no_matching_events", "(no matching events for regexp `GS`)", {"regexp": "GS"}),
        ("/(/", "invalid_regexp", "(invalid regexp)", {"regexp": "(", "reason": "missing ): ("}),
        (
            "/(?=x)/",
            "invalid_regexp",
            "(invalid regexp)",
            {"regexp": "(?=x)", "reason": "invalid perl operator: (?="},
        ),
        (
            f"/{'x' * 2000}/",
            "invalid_regexp",
            "(invalid regexp)",
            {"regexp": "x" * 256, "reason": "over 256 characters"},
        ),
    ],
)
def test_a_filter_without_a_hit_is_refused(pattern: str, name: str, message: str, attributes: dict[str, str]) -> None:
    with pytest.raises(StatusError) as refused:
        resolve(pattern)
    details = refused.value.details

    assert str(refused.value) == f"error:pkg/events:{name} {message}"
    assert (details.code, details.attributes) == (3, attributes)
