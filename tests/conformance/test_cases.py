"""The cases are what the oracle shows, are named by their file, and cover the language."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.oracle import KINDS, observe_case
from tests.oracle.config import FAILURE_KINDS
from tests.oracle.fill import shows, written
from tests.oracle.language import ACTIONS
from tests.oracle.signature import SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.oracle.transport import Data

FILES = sorted(Path(__file__).parent.glob("*/*.json"))
CODES = """
not_a_term unknown_op arity sort_mismatch bad_number bad_count bad_rel undeclared_field field_sort
unknown_tier undeclared_param bad_name bad_scalar bad_action bad_recipe bad_chain unknown_custom too_deep
too_large
"""
DECIDING = ("pred", "xform", "failplan", "policy")


@cache
def cases() -> list[Data]:
    return [json.loads(path.read_text("utf-8")) for path in FILES]


def ops_in(value: Data) -> Iterator[str]:
    if isinstance(value, list):
        if value and isinstance(value[0], str):
            yield value[0]
        for each in value:
            yield from ops_in(each)


def is_refused(case: Data) -> bool:
    return "refusal" in case["expect"]


@pytest.mark.parametrize("group", sorted({path.parent.name for path in FILES}))
def test_the_oracle_shows_what_the_cases_expect(group: str) -> None:
    own = [case for path, case in zip(FILES, cases(), strict=True) if path.parent.name == group]
    differing = [case["name"] for case in own if not shows(observe_case(case), case["expect"])]
    assert differing == []


def test_a_case_is_named_by_its_file_and_no_other() -> None:
    names = [case["name"] for case in cases()]
    assert names == [path.stem for path in FILES]
    assert sorted(set(names)) == sorted(names)


def test_a_case_has_a_known_kind_and_makes_a_claim() -> None:
    for case in cases():
        assert case["kind"] in KINDS
        assert case["about"].endswith(".")


def test_the_files_are_written_as_the_filling_tool_writes_them() -> None:
    differing = [
        path.name
        for path, case in zip(FILES, cases(), strict=True)
        if path.read_text("utf-8") != written(case)
    ]
    assert differing == []


def test_every_op_is_accepted_and_refused_and_decides() -> None:
    of_terms = [case for case in cases() if "term" in case]
    accepted = {op for case in of_terms if not is_refused(case) for op in ops_in(case["term"])}
    deciding = [case for case in of_terms if case["kind"] in DECIDING and not is_refused(case)]
    decides = {op for case in deciding for op in ops_in(case["term"])}
    refused = {
        case["term"][0]
        for case in of_terms
        if is_refused(case) and isinstance(case["term"], list) and case["term"][:1] != []
        if isinstance(case["term"][0], str)
    }
    for seen in (accepted, refused, decides):
        assert set(SIGNATURE) - seen == set()


def test_every_refusal_code_occurs() -> None:
    seen = {case["expect"]["refusal"]["code"] for case in cases() if "term" in case and is_refused(case)}
    assert seen == set(CODES.split())


def test_every_failure_kind_meets_every_action_in_a_run() -> None:
    met = set()
    for case in cases():
        if case["kind"] == "run":
            for policy in case["config"].get("retry_policies", {}).values():
                happened = {event.get("error_kind") for event in case["events"]}
                met |= {(kind, policy[kind]["action"]) for kind in policy if kind in happened}
    assert {(kind, action) for kind in FAILURE_KINDS for action in ACTIONS} - met == set()


def test_every_action_word_follows_a_retry_in_a_run() -> None:
    runs = [case for case in cases() if case["kind"] == "run"]
    words = [
        action.get("then_action")
        for case in runs
        for policy in case["config"].get("retry_policies", {}).values()
        for action in policy.values()
    ]
    assert set(ACTIONS) - set(words) == set()
