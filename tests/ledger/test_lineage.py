"""Which event may come when: each rule by name, and all of them against a second implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.chain import Chain
from llm_policy_host.ledger.schema import ROWS

from . import oracle
from .drafts import CORES, HEX, draft, opening, run_id, tried, whole_run

if TYPE_CHECKING:
    from llm_policy_host.ledger.event import Draft, Event


def chain_of(*drafts: Draft) -> Chain:
    chain = Chain()
    for each in drafts:
        chain.accept(each, 0)
    return chain


def refused(chain: Chain, event: Draft) -> tuple[str, str]:
    before = (chain.seq, chain.hash, dict(chain.lineage.open), dict(chain.lineage.subjects))
    with pytest.raises(LedgerError) as caught:
        chain.accept(event, 0)
    assert (chain.seq, chain.hash, chain.lineage.open, chain.lineage.subjects) == before
    return caught.value.code, caught.value.path


def begun(run: int = 1, **start: Any) -> list[Draft]:
    return [draft("RequestReceived", run, **start), draft("PolicyAdmitted", run)]


def test_a_run_goes_from_request_to_answer() -> None:
    chain = chain_of(*opening(), *whole_run(1, failures=2))
    assert chain.lineage.open == {}
    assert chain.seq == 5 + 11


def test_an_event_outside_its_run_is_refused() -> None:
    assert refused(chain_of(), draft("PolicyAdmitted", 1)) == ("lineage", "run")
    assert refused(chain_of(), draft("RequestReceived")) == ("schema", "run")
    assert refused(chain_of(), draft("HostStarted", 1)) == ("lineage", "run")


def test_a_run_has_one_terminal_event() -> None:
    chain = chain_of(*whole_run(1))
    for kind in ("RunCompleted", "RunFailed", "RunCancelled", "RequestRejected", "PolicyAdmitted"):
        assert refused(chain, draft(kind, 1)) == ("lineage", "run")
    assert refused(chain, draft("RequestReceived", 1)) == ("lineage", "run")


def test_a_proposal_has_one_outcome() -> None:
    chain = chain_of(*begun(), *tried(1, 1))
    assert refused(chain, draft("AttemptOutcome", 1)) == ("lineage", "type")
    chain = chain_of(*begun(), draft("AttemptProposed", 1))
    assert refused(chain, draft("AttemptOutcome", 1, core={"attempt": 2})) == ("lineage", "core.attempt")
    for kind in ("RunFailed", "RunCancelled", "AttemptProposed", "WaitScheduled"):
        assert refused(chain, draft(kind, 1)) == ("lineage", "type")


def test_the_cause_of_an_event_in_a_run_is_the_one_before() -> None:
    chain = chain_of(*begun(), *begun(2))
    for cause in (0, 1, 3, 4, 5):
        assert refused(chain, draft("AttemptProposed", 1, cause=cause)) == ("lineage", "cause")
    assert chain.accept(draft("AttemptProposed", 1), 0).cause == 2
    assert chain.accept(draft("AttemptOutcome", 1, cause=5), 0).cause == 5


def test_attempts_are_counted_from_one() -> None:
    chain = chain_of(*begun())
    assert refused(chain, draft("AttemptProposed", 1, core={"attempt": 2})) == ("lineage", "core.attempt")
    chain = chain_of(*begun(), *tried(1, 1, "timeout"))
    assert refused(chain, draft("AttemptProposed", 1)) == ("lineage", "core.attempt")
    assert refused(chain, draft("RunFailed", 1, core={"attempts": 2})) == ("lineage", "core.attempts")


def test_nothing_is_completed_that_nobody_answered() -> None:
    assert refused(chain_of(*begun()), draft("RunCompleted", 1, core={"attempts": 0})) == ("lineage", "type")
    chain = chain_of(*begun(), *tried(1, 1, "timeout"))
    assert refused(chain, draft("RunCompleted", 1)) == ("lineage", "type")
    flow = chain_of(*begun(core={"is_flow": True}))
    assert flow.accept(draft("RunCompleted", 1, core={"attempts": 0}), 0).cause == 2


def test_an_approval_is_decided_by_the_one_that_was_asked() -> None:
    chain = chain_of(*begun(), draft("ApprovalRequested", 1))
    assert refused(chain, draft("ApprovalDecided", 1, core={"approval": "a2"})) == (
        "lineage",
        "core.approval",
    )
    assert refused(chain, draft("AttemptProposed", 1)) == ("lineage", "type")
    assert refused(chain, draft("ApprovalDecided", 1, by="driver")) == ("authority", "by")
    chain.accept(draft("ApprovalDecided", 1), 0)
    chain.accept(draft("AttemptProposed", 1), 0)


def test_an_idempotency_key_of_a_tenant_begins_one_run() -> None:
    chain = chain_of(*whole_run(1, idem=HEX))
    assert refused(chain, draft("RequestReceived", 2, idem=HEX)) == ("duplicate", "idem")
    chain.accept(draft("RequestReceived", 2, idem=HEX, tenant="other"), 0)
    assert chain.lineage.idem == {("team", HEX): run_id(1), ("other", HEX): run_id(2)}


def test_a_parent_is_a_flow_of_the_same_tenant_under_way() -> None:
    chain = chain_of(*begun(core={"is_flow": True}), *begun(2))
    assert refused(chain, draft("RequestReceived", 3, parent=run_id(2))) == ("lineage", "parent")
    assert refused(chain, draft("RequestReceived", 3, parent=run_id(9))) == ("lineage", "parent")
    assert refused(chain, draft("RequestReceived", 3, parent=run_id(1), tenant="b")) == ("lineage", "parent")
    assert chain.accept(draft("RequestReceived", 3, parent=run_id(1)), 0).cause == 2
    chain.accept(draft("RequestReceived", 4, core={"is_flow": True}), 0)
    assert refused(chain, draft("RequestReceived", 5, parent=run_id(4))) == ("lineage", "parent")
    assert refused(chain, draft("PolicyAdmitted", 3)) == ("lineage", "run")
    chain.accept(draft("PolicyAdmitted", 3, parent=run_id(1)), 0)


def test_the_cause_of_a_part_is_its_flows_last_event() -> None:
    chain = chain_of(*opening(), *begun(core={"is_flow": True}))
    for cause in (0, 1, 6, 8):
        start = draft("RequestReceived", 2, parent=run_id(1), cause=cause)
        assert refused(chain, start) == ("lineage", "cause")
    for part in (2, 3):
        assert chain.accept(draft("RequestReceived", part, parent=run_id(1)), 0).cause == 7
    assert chain.accept(draft("RequestReceived", 4, parent=run_id(1), cause=7), 0).cause == 7


@pytest.mark.parametrize("end", ["RunCompleted", "RunFailed", "RunCancelled"])
def test_a_flow_ends_after_its_parts(end: str) -> None:
    chain = chain_of(*begun(core={"is_flow": True}))
    over = draft(end, 1, core={"attempts": 0})
    parts = [[each._replace(parent=run_id(1)) for each in whole_run(part)] for part in (2, 3)]
    for one, other in zip(*parts, strict=True):
        chain.accept(one, 0)
        assert refused(chain, over) == ("lineage", "type")
        chain.accept(other, 0)
    chain.accept(draft("RequestReceived", 4, parent=run_id(1)), 0)
    assert refused(chain, over) == ("lineage", "type")
    chain.accept(draft("RequestRejected", 4, parent=run_id(1)), 0)
    assert chain.accept(over, 0).cause == 2


def test_a_flow_asks_nobody_itself_and_none_of_its_parts_waits_for_a_person() -> None:
    chain = chain_of(*begun(core={"is_flow": True}))
    assert refused(chain, draft("AttemptProposed", 1)) == ("lineage", "type")
    assert refused(chain, draft("ApprovalRequested", 1)) == ("lineage", "type")
    for each in begun(2, parent=run_id(1)):
        chain.accept(each._replace(parent=run_id(1)), 0)
    assert refused(chain, draft("ApprovalRequested", 2, parent=run_id(1))) == ("lineage", "type")
    chain.accept(draft("AttemptProposed", 2, parent=run_id(1)), 0)


def test_what_is_named_was_opened_once_and_not_closed() -> None:
    assert refused(chain_of(), draft("KeyRevoked")) == ("lineage", "core.key_id")
    chain = chain_of(*opening())
    assert refused(chain, draft("KeyMinted")) == ("lineage", "core.key_id")
    chain.accept(draft("SessionClosed"), 0)
    assert refused(chain, draft("ModeChanged")) == ("lineage", "core.session")
    assert refused(chain, draft("SessionOpened")) == ("lineage", "core.session")
    assert refused(chain, draft("RequestReceived", 1, core={"session": "s1"})) == ("lineage", "core.session")
    below = {"account": "team/a", "parent": "staff"}
    assert refused(chain, draft("AccountOpened", core=below)) == ("lineage", "core.parent")


def test_an_ended_run_is_remembered_for_as_many_as_the_lineage_is_told() -> None:
    chain = Chain()
    chain.lineage._remembered = 2
    for number in range(1, 6):
        for each in whole_run(number):
            chain.accept(each, 0)
    assert refused(chain, draft("RequestReceived", 5)) == ("lineage", "run")
    chain.accept(draft("RequestReceived", 1), 0)


@pytest.mark.parametrize("kind", ROWS)
def test_only_who_may_emits(kind: str) -> None:
    for by in ("host", "gateway", "driver", "operator", "keyholder", "nobody", ""):
        if by in ROWS[kind].by:
            continue
        with pytest.raises(LedgerError, match=rf"`{by}` may not emit {kind}") as caught:
            Chain().accept(draft(kind, by=by), 0)
        assert caught.value.code == "authority"


RUNS = st.sampled_from([None, 1, 1, 1, 2, 2, 3])


@st.composite
def wild(draw: st.DrawFn) -> Draft:
    """Draw an event that may be anywhere: few names, so that rules are met often."""
    kind = draw(st.sampled_from([*CORES, *[name for name, row in ROWS.items() if row.is_in_run]]))
    core: dict[str, Any] = {}
    for key in CORES[kind].keys() & {"attempt", "attempts"}:
        core[key] = draw(st.integers(0 if key == "attempts" else 1, 3))
    if kind == "AttemptOutcome":
        core["kind"] = draw(st.sampled_from([None, "timeout"]))
    if kind in ("ApprovalRequested", "ApprovalDecided"):
        core["approval"] = draw(st.sampled_from(["a1", "a2"]))
    if kind == "RequestReceived":
        core["is_flow"] = draw(st.sampled_from([None, False, True]))
        core["session"] = draw(st.sampled_from([None, None, "s1"]))
    if kind == "AccountOpened":
        core["account"], core["parent"] = draw(st.sampled_from([("team", None), ("b", "team")]))
    run = draw(RUNS) if kind == "HostStarted" else (draw(RUNS) if ROWS[kind].is_in_run else None)
    parent = draw(st.sampled_from([None, None, None, 1, 1] if run in (2, 3) else [None, None, None, 1]))
    return draft(
        kind,
        run,
        core=core,
        tenant=draw(st.sampled_from(["team", "team", "team", "other"])),
        parent=None if parent is None or not ROWS[kind].is_in_run else run_id(parent),
        idem=draw(st.sampled_from([None, HEX])) if kind == "RequestReceived" else None,
        cause=draw(st.sampled_from([None, None, None, 0, 1, 2, 3])),
    )


def expected(history: list[Draft], chain: Chain, wrong: dict[str, Any]) -> Draft | None:
    """Give an event that goes on with the oldest open run, with some of it wrong: wild ones seldom get far."""
    runs = chain.lineage.open.values()
    run = next((each for each in runs if not each.is_flow or each.place == "received"), None)
    if run is None:
        return None
    mine = [each for each in history if each.run == run.id]
    tries = sum(each.type == "AttemptProposed" for each in mine)
    for kind in ("PolicyAdmitted", "AttemptProposed", "AttemptOutcome"):
        core = {"attempt": tries + (kind == "AttemptProposed")} if "attempt" in CORES[kind] else {}
        made = draft(kind, core=core, run=None)._replace(run=run.id, tenant=run.tenant, parent=run.parent)
        if oracle.may_follow(history, made):
            return made._replace(**wrong)
    return None


WRONG = st.fixed_dictionaries(
    {},
    optional={
        "cause": st.integers(0, 6),
        "tenant": st.sampled_from(["team", "other"]),
        "parent": st.sampled_from([run_id(1), run_id(2)]),
        "idem": st.just(HEX),
    },
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(st.one_of(wild(), st.just({}), WRONG), max_size=40))
def test_the_rules_agree_with_the_oracle(has_flow: bool, events: list[Draft | dict[str, Any]]) -> None:  # noqa: FBT001 - drawn
    chain = Chain()
    history: list[Draft] = []
    for each in [*(begun(core={"is_flow": True}) if has_flow else ()), *events]:
        event = expected(history, chain, each) if isinstance(each, dict) else each
        if event is None:
            continue
        may_follow = oracle.may_follow(history, event)
        made = taken(chain, event)
        assert (made is not None) is may_follow, (history, event)
        if made is not None:
            history.append(oracle.filled(history, event))
            assert all(getattr(made, name) == value for name, value in history[-1]._asdict().items())


def taken(chain: Chain, event: Draft) -> Event | None:
    """Give what an event became; None where a rule of lineage refuses it."""
    try:
        return chain.accept(event, 0)
    except LedgerError as error:
        if error.code not in ("lineage", "duplicate", "schema"):
            raise
        return None
