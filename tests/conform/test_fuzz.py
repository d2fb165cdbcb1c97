"""The search finds what differs, cuts it down to what matters, and always the same for a seed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.conform.case_file import written
from llm_policy_host.conform.fuzz import differing, drawn, has_text, smallest
from llm_policy_host.conform.shrink import shrunk
from llm_policy_host.core.grammar import grammar_of
from llm_policy_host.core.vm import Vm
from tests.oracle import observe_case
from tests.property.generator import GRAMMAR, random_cases

from .doubles import InProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 7


def test_the_grammar_of_the_core_is_the_one_of_the_oracle() -> None:
    core = grammar_of(Vm("lua54"))
    assert core.rows == GRAMMAR.rows
    assert core.sorts == GRAMMAR.sorts
    assert core.tiers == GRAMMAR.tiers
    for mine, others in zip(core.vocabulary(), GRAMMAR.vocabulary(), strict=True):
        assert sorted(mine) == sorted(others)


def test_what_is_drawn_follows_from_the_seed_and_has_every_kind() -> None:
    cases = drawn(GRAMMAR, SEED, 120)
    assert cases == drawn(GRAMMAR, SEED, 120)
    assert cases != drawn(GRAMMAR, SEED + 1, 120)
    assert len(cases) == 120
    kinds = {
        "term",
        "pred",
        "xform",
        "failplan",
        "policy",
        "random",
        "number",
        "json",
        "profile",
        "flow",
        "runs",
    }
    assert {case["kind"] for case in cases} == kinds
    assert all(map(has_text, cases))


def test_those_who_agree_have_no_finds() -> None:
    assert differing([InProcess("a"), InProcess("b")], drawn(GRAMMAR, SEED, 60)) == []


def test_a_find_is_cut_down_to_what_makes_it_differ() -> None:
    players = [InProcess("a"), InProcess("liar", lie_at='"normalize"'), InProcess("b")]
    finds = differing(players, random_cases(SEED, 100, "term"))
    assert finds
    for find in finds[:3]:
        least = smallest(find, players)
        assert least.case["term"] == ["normalize", ["zero"]]
        assert set(least.answers) == {"a", "liar"}
        assert least.answers["liar"] == "{}"


def test_a_find_is_a_case_ready_to_be_filled() -> None:
    players = [InProcess("a"), InProcess("liar", lie_at='"chain"')]
    find = differing(players, [case for case in drawn(GRAMMAR, SEED, 300) if case["kind"] == "policy"])[0]
    case = json.loads(written(smallest(find, players).case))
    assert case["kind"] == "policy"
    assert case["name"].startswith("policy_")
    assert case["about"] == "Shows everywhere the same; found between a and liar."
    assert "expect" not in case
    assert observe_case(case)
    assert "!error" not in players[0].replay([json.dumps(case)])[0]


def test_a_difference_that_only_one_raises_stays_one() -> None:
    players = [InProcess("a"), InProcess("liar", lie_at='"seed"', lie="!error: of its own")]
    find = differing(players, [case for case in drawn(GRAMMAR, SEED, 60) if case["kind"] == "random"])[0]
    least = smallest(find, players)
    assert least.answers["liar"] == "!"
    assert not least.answers["a"].startswith("!")


def test_what_both_raise_is_no_difference_whatever_they_say() -> None:
    players = [
        InProcess("a", lie_at="kind", lie="!error: one"),
        InProcess("b", lie_at="kind", lie="!error: two"),
    ]
    assert differing(players, drawn(GRAMMAR, SEED, 24)) == []


def test_a_slow_player_gets_a_share_and_still_finds() -> None:
    slow = InProcess("slow", lie_at='"texts"', is_slow=True)
    cases = drawn(GRAMMAR, SEED, 300)
    finds = differing([InProcess("a"), slow], cases)
    assert finds
    assert len(slow.asked) == 60
    assert {find.case["kind"] for find in finds} == {"number"}


def test_a_player_that_loses_lines_differs() -> None:
    class Short(InProcess):
        def replay(self, lines: Any) -> list[str]:
            return super().replay(lines)[:-1]

    finds = differing([InProcess("a"), Short("short"), InProcess("b")], drawn(GRAMMAR, SEED, 12))
    assert [find.answers["short"] for find in finds] == ["(no answer)"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=80) | st.dictionaries(st.text(max_size=3), inner, max_size=5),
    max_leaves=100,
)


@given(JSON, st.sampled_from(["[", "1", "a", "true"]))
@settings(max_examples=60, deadline=None)
def test_what_is_cut_down_still_has_what_is_looked_for(value: Any, word: str) -> None:
    case = {"kind": "term", "name": "x", "term": [value, [True, 1, "a"]]}

    def keep(cuts: Sequence[Any]) -> list[bool]:
        return [word in json.dumps(cut.get("term")) for cut in cuts]

    least = shrunk(case, keep)
    assert keep([least]) == [True]
    assert len(json.dumps(least)) <= len(json.dumps(case))
    assert len(json.dumps(least["term"])) <= 8


def test_a_long_list_is_cut_by_pieces() -> None:
    rounds: list[int] = []

    def keep(cuts: Sequence[Any]) -> list[bool]:
        rounds.append(len(cuts))
        return [["bot"] in cut.get("term", []) for cut in cuts]

    long = {"kind": "term", "name": "x", "term": ["and", *[["top"]] * 3000, ["bot"], *[["top"]] * 1000]}
    assert shrunk(long, keep)["term"] == [["bot"]]
    assert max(rounds) < 1500
    assert len(rounds) < 100
