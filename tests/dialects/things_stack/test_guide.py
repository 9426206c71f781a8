"""The guide to The Things Stack's clients: its table and its examples are those of the code."""

from __future__ import annotations

import json
import re

from span_events.cli.guide import read_guides
from span_events.dialects.things_stack.names import UPSTREAM
from span_events.dialects.things_stack.rules import RULES
from tests.dialects.things_stack.schemas import EVENT, check

GUIDE = read_guides()["the-things-stack"]


def test_the_table_has_the_names_of_every_event() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| (`.*`.*) \|$", GUIDE, re.MULTILINE))

    for event, rules in RULES.items():
        for rule in rules:
            marked = f"`{rule.name}`" + ("" if rule.name in UPSTREAM else " +")
            assert marked in rows[event.name], event.name
            assert all(right.removeprefix("RIGHT_") in rows[event.name] for right in rule.rights)


def test_the_examples_are_events() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    examples = [json.loads(line) for block in blocks for line in block.splitlines()]

    assert [each["name"] for each in examples] == [
        "ns.up.join.process",
        "as.end_device.connect",
        "as.up.data.forward",
        "as.down.data.forward",
        "js.join.reject",
    ]
    for each in examples:
        check(each, EVENT)
