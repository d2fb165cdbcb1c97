"""The oracle agrees with the public conformance data of the language, where that is at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.oracle import observe_case
from tests.oracle.language import encode, normal_form

if TYPE_CHECKING:
    from tests.oracle.transport import Data

DATA = Path(__file__).parents[3] / "shared" / "conformance" / "sigma_pol_v2.json"
VECTORS = json.loads(DATA.read_text("utf-8"))["vectors"] if DATA.exists() else []


@pytest.mark.skipif(not VECTORS, reason=f"no public conformance data at {DATA.name}")
def test_the_public_data_is_replayed() -> None:
    assert VECTORS


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_oracle_agrees_with_the_public_data(vector: Data) -> None:
    expect = vector["expect"]
    seen = observe_case({**vector, "kind": "term"})
    assert seen["sort"] == expect["sort"]
    assert encode(normal_form(vector["term"])) == seen["normal_form"] == expect["encoding"]
    assert seen["fingerprint"] == expect["fingerprint"]
    if vector["kind"] != "encoding":
        _REPLAY[vector["kind"]](vector, expect)


def _pred(vector: Data, _expect: Data) -> None:
    verdicts = observe_case(vector)["verdicts"]
    for each, verdict in zip(vector["cases"], verdicts, strict=True):
        assert verdict["ok"] is each["expect_ok"]
        assert verdict.get("reason") == each.get("expect_reason")


def _policy(vector: Data, expect: Data) -> None:
    seen = observe_case(vector)
    assert [each["provider"] for each in seen["ordered"]] == expect["ordered"]
    assert [each["score"] for each in seen["ordered"]] == pytest.approx(expect["scores"], rel=0, abs=1e-12)
    rejected = [{key: each[key] for key in ("provider", "reason")} for each in seen["rejected"]]
    assert rejected == expect["rejected"]


def _xform(vector: Data, expect: Data) -> None:
    case = {key: vector.get(key) for key in ("request", "candidate", "ctx")}
    assert observe_case({**vector, "cases": [case]})["requests"] == [expect["request"]]


def _failplan(vector: Data, _expect: Data) -> None:
    for each in vector["cases"]:
        seen = observe_case({**vector, "kinds": [each["kind"]]})["actions"]
        assert seen[0]["action"] == each.get("expect_action", each.get("action"))


_REPLAY = {"pred": _pred, "policy": _policy, "xform": _xform, "failplan": _failplan}
