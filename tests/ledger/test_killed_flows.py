"""Flows whose process was killed: they go on, or end and say why, and nobody is paid twice (spec 5)."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.pasts import past_runs
from tests.contracts.vendor import whole
from tests.ledger.flow_rig import CHAIN_LENGTH, FORK, Rig, chain, playing
from tests.web.vendor import chat_body, selling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contracts.vendor import Asked, Reply


def _reply(asked: Asked) -> Reply:
    text = asked.data["messages"][-1]["content"] + asked.path[1]
    return whole(200, json.dumps(chat_body(text, usage=(len(text), 2))).encode())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp("flows")
    with selling(_reply) as vendor, playing() as player:
        providers = {name: {"base_url": f"{vendor.origin}/{name}"} for name in "abc"}
        served = [{"provider": name, "price_in": 1, "price_out": 2} for name in providers]
        config = {
            "providers": providers,
            "models": {"m": {"served_by": served, "capabilities": {"context": 1000}}},
            "profiles": {"default": {}},
            "host": {
                "ledger": {"file": "ledger.db", "durability": "strict", "account": "team"},
                "accounts": {"team": {"usd": 1, "calls": 1000, "tokens": 1_000_000}},
                "content": {"level": "sealed", "key": {"env": "CONTENT_KEY"}},
                "gateway": {"flows": {"fork": FORK, "chain": chain(CHAIN_LENGTH), "pair": chain(2)}},
            },
        }
        (directory / "policy.yaml").write_text(json.dumps(config))
        yield Rig(vendor, directory, player)


def killed_at(rig: Rig, name: str, kill: list[Any]) -> tuple[list[bytes], dict[str, Any]]:
    """Run a flow that is killed and let another process go on; give what the first left, and how it ended."""
    rig.fresh()
    assert rig.turn("run", flow=name, kill=kill) == {"killed": 9}
    left = rig.lines()
    told = rig.turn("resume")
    assert rig.lines()[: len(left)] == left, "every good event is still there"
    return left, told


def pending(left: list[bytes]) -> int:
    """Count the proposals without an outcome."""
    kinds = Counter(read(line).type for line in left)
    return kinds["AttemptProposed"] - kinds["AttemptOutcome"]


def whole_run(rig: Rig, name: str) -> tuple[int, str]:
    """Run a flow to its end; give how many events that are, and the answer."""
    rig.fresh()
    told = rig.turn("run", flow=name)
    assert told["ok"], told
    rig.check()
    return len(rig.lines()), told["text"]


def check_every_boundary(rig: Rig, name: str, step: int = 1, first: int = 1) -> Counter[str]:
    """Kill a flow behind each of its events; count how the resumed flows ended."""
    count, text = whole_run(rig, name)
    ends: Counter[str] = Counter()
    for at in range(first, count, step):
        left, told = killed_at(rig, name, ["event", at])
        assert len(left) == at
        flows = [run for run in past_runs(map(read, left)).values() if run.is_flow]
        rig.check()
        if not flows or flows[0].admitted is None:
            assert told["error"] == "no open flow", told
            assert not rig.vendor.asked
            ends["not begun"] += 1
        elif told["ok"]:
            assert told["text"] == text
            ends["ok"] += 1
        else:
            assert told["error"] == "in_doubt", told
            assert pending(left), "only a call that may have been made is in doubt"
            ends["in doubt"] += 1
    return ends


def test_a_flow_killed_behind_any_event_goes_on_or_is_in_doubt_and_pays_nobody_twice(rig: Rig) -> None:
    """Two nodes, every boundary; `flow_player` dies by SIGKILL as soon as the event lies in the database."""
    ends = check_every_boundary(rig, "pair")
    assert ends["in doubt"] == 2, "one behind each proposal, and nowhere else"
    assert ends["ok"] >= 10
    assert ends["not begun"] >= 5


@pytest.mark.heavy
def test_parallel_nodes_killed_behind_any_event_go_on_or_are_in_doubt(rig: Rig) -> None:
    ends = check_every_boundary(rig, "fork")
    # behind how many events a call is under way, is for the pace of two nodes to say
    assert ends["ok"] >= 8
    assert ends["in doubt"] >= 3


@pytest.mark.heavy
def test_a_long_flow_killed_behind_any_event_goes_on_or_is_in_doubt(rig: Rig) -> None:
    ends = check_every_boundary(rig, "chain")
    assert ends["in doubt"] == CHAIN_LENGTH
    assert ends["ok"] >= 4 * CHAIN_LENGTH - 1


def test_a_flow_killed_behind_node_7_of_20_goes_on_at_8(rig: Rig) -> None:
    _, text = whole_run(rig, "chain")
    completed = [event.seq for event in rig.events() if event.type == "RunCompleted"]
    _, told = killed_at(rig, "chain", ["event", completed[6]])
    assert (told["ok"], told["text"]) == (True, text)
    assert len(rig.vendor.asked) == CHAIN_LENGTH
    assert rig.vendor.asked[7].data["messages"][-1]["content"] == "q" + "a" * 7
    rig.check()
    runs = past_runs(rig.events())
    (one,) = [run for run in runs.values() if run.is_flow]
    assert one.run == told["run"]
    assert [part.node for part in one.parts] == [f"n{number}" for number in range(1, CHAIN_LENGTH + 1)]


def test_an_answer_that_is_kept_is_used_though_its_outcome_is_not_in_the_ledger(rig: Rig) -> None:
    """Killed when the answer lies on the disk and before AttemptOutcome: charged in full, asked once."""
    _, text = whole_run(rig, "pair")
    left, told = killed_at(rig, "pair", ["kept", 2])
    assert pending(left) == 1
    assert (told["ok"], told["text"]) == (True, text)
    assert len(rig.vendor.asked) == 2
    rig.check()
    outcomes = [event for event in rig.events() if event.type == "AttemptOutcome"]
    assert [event.core.get("kind") for event in outcomes] == ["in_doubt", None]
    proposals = [event for event in rig.events() if event.type == "AttemptProposed"]
    assert outcomes[0].obs["settled"] == proposals[0].core["hold"]


def test_a_flow_that_is_killed_again_while_it_goes_on_goes_on_again(rig: Rig) -> None:
    _, text = whole_run(rig, "chain")
    completed = [event.seq for event in rig.events() if event.type == "RunCompleted"]
    rig.fresh()
    assert rig.turn("run", flow="chain", kill=["event", completed[2] + 1]) == {"killed": 9}
    for _ in range(3):
        assert rig.turn("resume", kill=["event", len(rig.lines()) + 22]) == {"killed": 9}
    told = rig.turn("resume")
    if told["error"] == "in_doubt":
        pytest.fail("no kill of these is behind a proposal")
    assert (told["ok"], told["text"]) == (True, text)
    rig.check()
    assert len(rig.vendor.asked) == CHAIN_LENGTH


def test_a_flow_that_has_ended_or_is_in_doubt_is_not_resumed(rig: Rig) -> None:
    whole_run(rig, "pair")
    assert rig.turn("resume")["error"] == "no open flow"
    proposed = next(event.seq for event in rig.events() if event.type == "AttemptProposed")
    killed_at(rig, "pair", ["event", proposed])
    assert rig.turn("resume")["error"] == "no open flow"
    (one,) = [run for run in past_runs(rig.events()).values() if run.is_flow]
    assert (one.end, one.error) == ("RunFailed", "in_doubt")
    rig.check()


def test_of_two_who_go_on_at_once_one_does_and_no_node_runs_twice(rig: Rig) -> None:
    """The ledger takes a node's key once, whoever drives the flow; the other one does not end it."""
    whole_run(rig, "pair")
    admitted = next(event.seq for event in rig.events() if event.type == "PolicyAdmitted")
    rig.fresh()
    assert rig.turn("run", flow="pair", kill=["event", admitted]) == {"killed": 9}
    ends: Any = rig.turn("twice")
    assert None in ends
    assert any("has it already" in str(end) for end in ends)
    assert len(rig.vendor.asked) == 2
    rig.check()


def test_the_command_line_lists_what_was_cut_off_and_goes_on_with_it(rig: Rig) -> None:
    _, text = whole_run(rig, "chain")
    completed = [event.seq for event in rig.events() if event.type == "RunCompleted"]
    rig.fresh()
    config = str(rig.directory / "policy.yaml")
    given = ["flow", "run", config, "chain", "q", "--param", "max_tokens=10"]
    assert rig.turn("command", arguments=given, kill=["event", completed[6]]) == {"killed": 9}
    listed = json.loads(rig.turn("command", arguments=["flow", "list", "-c", config, "--json"])["out"])
    assert [each["name"] for each in listed["flows"]] == ["chain", "fork", "pair"]
    (cut,) = listed["open"]
    assert (cut["flow"], cut["answered"], cut["begun"]) == ("chain", 7, 7)
    told = rig.turn("command", arguments=["flow", "resume", cut["run"][:12], "-c", config])
    assert (told["code"], told["out"]) == (0, text + "\n")
    again = rig.turn("command", arguments=["flow", "resume", cut["run"], "-c", config])
    assert again["code"] == 2
    assert "has ended (RunCompleted)" in again["err"]
    assert len(rig.vendor.asked) == CHAIN_LENGTH
    rig.check()


def test_a_flow_whose_texts_are_not_kept_ends_at_the_next_start(rig: Rig) -> None:
    rig.fresh()
    config = json.loads((rig.directory / "policy.yaml").read_text())
    del config["host"]["content"]
    plain = rig.directory / "plain.yaml"
    plain.write_text(json.dumps(config))
    command = ["flow", "run", str(plain), "pair", "q", "--param", "max_tokens=10"]
    rig.turn("command", arguments=command)
    completed = next(event.seq for event in rig.events() if event.type == "RunCompleted")
    rig.fresh()
    assert rig.turn("command", arguments=command, kill=["event", completed]) == {"killed": 9}
    first = rig.events()[-1]
    assert (
        rig.turn("command", arguments=["run", str(plain), "another", "--param", "max_tokens=10"])["code"] == 0
    )
    ends = {run.run: (run.end, run.error) for run in past_runs(rig.events()).values() if run.is_flow}
    assert ends == {first.parent: ("RunFailed", "not_resumable")}
    rig.check()


def test_a_flow_that_is_not_there_is_told_with_the_nearest(rig: Rig) -> None:
    told = rig.turn("command", arguments=["flow", "run", str(rig.directory / "policy.yaml"), "chian", "q"])
    assert told["code"] == 2
    assert "no flow `chian` in `host.gateway.flows` (did you mean `chain`?)" in told["err"]
