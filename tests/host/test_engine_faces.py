"""What the core tells beside planning: identities that stand for policies, explanations, flows, vocabularies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import Contract, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.language import IdentifiedFlow, Language, Refusal
from llm_policy_host.core.vm import Vm
from llm_policy_host.values import Inputs

from .test_wiring import LOCAL

if TYPE_CHECKING:
    from pathlib import Path

DATA = {
    "providers": {"a": {"api_kind": "scripted"}, "b": {"api_kind": "scripted"}},
    "models": {"m": {"served_by": [{"provider": "a", "price_in": 1}, {"provider": "b", "price_in": 2}]}},
    "profiles": {"cheap": {"scorer": ["neg", ["normalize", ["field", "price_in"]]]}},
}


def term(number: float = 0) -> list[Any]:
    return ["policy", ["top"], ["lit", number], ["argmax"], ["id"], ["always", {"action": "abort"}]]


def _host() -> Host:
    return Host.from_data(DATA, clock=VirtualClock())


def _local_host(tmp_path: Path) -> Host:
    path = tmp_path / "policy.lua"
    path.write_text(LOCAL % 'return candidate.provider_id == "b"')
    return Host.from_config(path, clock=VirtualClock())


@pytest.mark.parametrize("is_local", [False, True])
def test_an_admitted_identity_stands_for_its_term(tmp_path: Path, is_local: bool) -> None:  # noqa: FBT001
    host = _local_host(tmp_path) if is_local else _host()
    identity = host.engine.admit(term())
    assert isinstance(identity, str)
    assert host.engine.admit(term()) == identity
    told = host.engine.explain({"policy_ir": identity}, Inputs(0, 1))
    assert told["policy"]["id"] == identity
    assert [entry["provider_id"] for entry in told["ordered"]] == [
        entry.provider_id for entry in host.rank(Contract(policy_ir=term())).ordered
    ]


@pytest.mark.parametrize("is_local", [False, True])
def test_a_term_that_is_none_is_refused_with_its_code(tmp_path: Path, is_local: bool) -> None:  # noqa: FBT001
    host = _local_host(tmp_path) if is_local else _host()
    refused = host.engine.admit(["policies"])
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.path) == ("unknown_op", "$")
    deep: list[Any] = []
    for _ in range(5000):
        deep = ["not", deep]
    for hostile in (deep, {1: 2, "a": object()}, [float("nan")], None, [None], "sha256:0", 2**70):
        assert isinstance(host.engine.admit(hostile), Refusal)


def test_an_admitted_term_is_known_however_many_come_after() -> None:
    host = _host()
    identity = host.engine.admit(term())
    for number in range(1, 700):
        host.engine.admit(term(number))
    assert host.engine.admit(term()) == identity
    assert host.rank(Contract(policy_ir=identity)).ordered


def test_a_flow_is_told_in_canonical_order_with_its_sources() -> None:
    flow = [
        "flow",
        {
            "q": {"kind": "input"},
            "one": {"kind": "llm", "inputs": ["q"], "policy": term(), "system": "be brief"},
            "two": {"kind": "llm", "inputs": ["one", "q"], "policy": term(1), "template": "$2: $1"},
            "end": {"kind": "output", "inputs": ["two"]},
        },
    ]
    told = Language(Vm()).identify_flow(flow, {})
    assert isinstance(told, IdentifiedFlow)
    assert [node.id for node in told.nodes] == ["q", "one", "two", "end"]
    assert [list(node.sources) for node in told.nodes] == [[], [0], [1, 0], [2]]
    assert told.nodes[1].system == "be brief"
    assert told.identity.startswith("sha256:")


def test_a_flow_that_is_none_is_refused_with_its_path() -> None:
    refused = Language(Vm()).identify_flow(["flow", {"x": {"kind": "llm"}}], {})
    assert isinstance(refused, Refusal)
    assert refused.path.startswith("$.nodes")


def test_the_vocabulary_holds_what_a_config_declares() -> None:
    told = Language(Vm()).vocabulary(
        {"fields": {"quality": {"sort": "Num"}}, "params": ["mood"], "tier_order": ["x"]}
    )
    assert told.fields["quality"] == {"sort": "Num"}
    assert told.fields["tok_s"] == {"sort": "Num", "default": 0}
    assert "mood" in told.params
    assert list(told.tiers) == ["x"]
