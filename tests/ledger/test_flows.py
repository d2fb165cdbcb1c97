"""Flows over the driver and the ledger: nodes at once, fail-stop, and what a killed process leaves (spec 2.6, 5)."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import subprocess
import sys
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import Contract, Host, UsageError
from llm_policy_host.bookkeeping import memory_ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.kept import answer_bytes, flow_bytes, read_answer, read_flow
from llm_policy_host.ledger.pasts import past_runs
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.opening import open_file
from llm_policy_host.values import Call, Cost, Origin, Response, Secret, Usage
from tests.contracts.vendor import whole
from tests.web.vendor import Vendor, chat_body, selling

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.ledger.event import Event
    from tests.contracts.vendor import Asked, Reply

ROOT = Path(__file__).parents[2]
FAIL = ["always", {"action": "next_candidate"}]
CONTENT_KEY = "0123456789abcdef0123456789abcdef"


def term(*providers: str) -> list[Any]:
    """A policy of some providers, in the catalog's order."""
    filters = ["or", *(["provider_eq", each] for each in providers)]
    return ["policy", filters, ["zero"], ["ordered"], ["id"], FAIL]


def llm(policy: Any, *inputs: str, **more: Any) -> dict[str, Any]:
    return {"kind": "llm", "inputs": list(inputs), "policy": policy, **more}


def flow(**nodes: Any) -> list[Any]:
    last = next(reversed(nodes))
    return ["flow", {"q": {"kind": "input"}, **nodes, "end": {"kind": "output", "inputs": [last]}}]


FORK = flow(
    left=llm(term("a"), "q"),
    right=llm(term("b"), "q"),
    join=llm(term("c"), "left", "right"),
)


def virtual_host(scripts: Mapping[str, Any], flows: Any = None, **more: Any) -> Host:
    """A host of scripted providers in virtual time, whose ledger lies in memory."""
    clock = VirtualClock(1_000_000)
    count = iter(range(10_000))
    ids = lambda: f"run-{next(count):026d}".translate(str.maketrans("0123456789", "abcdefghij"))  # noqa: E731
    data = {
        "providers": {name: {"api_kind": "scripted"} for name in scripts},
        "models": {
            "m": {"served_by": [{"provider": name, "price_in": 1, "price_out": 1} for name in scripts]}
        },
        "profiles": {"default": {}},
        "host": {"scripts": dict(scripts), "gateway": {"flows": flows or {}}, **more},
    }
    return Host.from_data(data, clock=clock, environment={}, ledger=memory_ledger(clock, ids))


def ask(term_: Any, **more: Any) -> Contract:
    return Contract(prompt="q", flow_ir=term_, params={"max_tokens": 10}, **more)


def events(host: Host) -> list[Event]:
    assert host.bookkeeping.ledger is not None
    return [read(line) for line in host.bookkeeping.ledger.log.store.lines()]


def in_runs(found: list[Event]) -> list[tuple[int, str, str]]:
    """When each event of a run came, from the first, its type and its node."""
    nodes = {event.run: event.core.get("node", "flow") for event in found if event.type == "RequestReceived"}
    told = [event for event in found if event.run]
    return [(event.ts - told[0].ts, event.type, nodes[event.run]) for event in told]


def script(answer: str, latency_ms: int) -> list[dict[str, Any]]:
    return [{"answer": answer, "latency_ms": latency_ms}]


# Nodes at once -----------------------------------------------------------------------------------


async def test_nodes_that_are_ready_run_at_once_and_a_node_waits_for_its_inputs() -> None:
    scripts = {"a": script("A", 700), "b": script("B", 400), "c": script("C({prompt})", 100)}
    async with virtual_host(scripts) as host:
        result = await host.run(ask(FORK))
        found = in_runs(events(host))
    assert result.response is not None
    assert result.response.text == "C([input 1]\nA\n\n[input 2]\nB)"
    proposed = [(at, node) for at, kind, node in found if kind == "AttemptProposed"]
    assert sorted(at for at, _ in proposed) == [0, 0, 700]
    assert found[-1] == (800, "RunCompleted", "flow")
    # the longest way, not the sum: what stood beside it happened meanwhile
    assert (result.upstream_ms, result.trace.total_latency_ms) == (800, 800)


async def test_each_node_is_a_run_whose_parent_is_the_flow() -> None:
    scripts = {"a": script("A", 1), "b": script("B", 2), "c": script("C", 3)}
    async with virtual_host(scripts) as host:
        result = await host.run(ask(FORK))
        found = [event for event in events(host) if event.run]
    starts = [event for event in found if event.type == "RequestReceived"]
    assert starts[0].run == result.run_id
    assert starts[0].core["is_flow"]
    assert [event.parent for event in starts[1:]] == [result.run_id] * 3
    assert sorted(event.core["node"] for event in starts[1:]) == ["n1", "n2", "n3"]
    admitted = next(event for event in found if event.run == result.run_id and event.type == "PolicyAdmitted")
    assert {event.cause for event in starts[1:]} == {admitted.seq}
    assert [node["run"] for node in result.trace.raw["nodes"]] == [event.run for event in starts[1:]]


@pytest.mark.parametrize("latencies", [(700, 400), (400, 700), (500, 500)])
async def test_who_ends_first_changes_no_decision_and_no_nodes_own_events(latencies: tuple[int, int]) -> None:
    """All that a node's run says but its times is what it says where nodes run one by one."""

    async def told(left_ms: int, right_ms: int) -> tuple[Any, Any]:
        scripts = {"a": script("A", left_ms), "b": script("B", right_ms), "c": script("C", 5)}
        async with virtual_host(scripts) as host:
            result = await host.run(ask(FORK, seed=7))
            own: dict[str, list[Any]] = {}
            names: dict[str, str] = {}
            for event in events(host):
                if event.run is None:
                    continue
                if event.type == "RequestReceived":
                    names[event.run] = str(event.core.get("node"))
                core = {key: value for key, value in event.core.items() if key not in ("ctx", "deadline_ms")}
                is_end = "decision_digest" in core
                own.setdefault(names[event.run], []).append((event.type, *([] if is_end else [core])))
        assert result.response is not None
        return result.response.text, own

    assert await told(*latencies) == await told(1, 1)


async def test_a_flow_in_virtual_time_exports_byte_for_byte_the_same() -> None:
    async def export() -> list[bytes]:
        async with virtual_host({"a": script("A", 9), "b": script("B", 3), "c": script("C", 1)}) as host:
            await host.run(ask(FORK, seed=1))
            return [event.line for event in events(host)]

    assert await export() == await export()


# Fail-stop ---------------------------------------------------------------------------------------


async def test_the_first_failure_ends_the_flow_and_cancels_who_is_under_way() -> None:
    scripts = {
        "a": script("A", 900),
        "b": [{"failure": "server_error", "latency_ms": 300}],
        "c": script("C", 1),
    }
    async with virtual_host(scripts) as host:
        result = await host.run(ask(FORK))
        found = in_runs(events(host))
        assert host.clock.now_ms() == 1_000_300
    assert (result.ok, result.error) == (False, "exhausted: server_error")
    ends = {node: (at, kind) for at, kind, node in found if kind.startswith("Run")}
    nodes = {node for _, _, node in found}
    assert len(nodes) == 3, "the node behind them never began"
    assert sorted(kind for _, kind in ends.values()) == ["RunCancelled", "RunFailed", "RunFailed"]
    assert found[-1] == (300, "RunFailed", "flow")


async def test_of_two_failures_in_one_moment_the_first_in_canonical_order_is_told() -> None:
    scripts = {
        "a": [{"failure": "server_error", "latency_ms": 300}],
        "b": [{"failure": "timeout", "latency_ms": 300}],
        "c": script("C", 1),
    }
    told = set()
    for one, other in (("a", "b"), ("b", "a")):
        term_ = flow(
            left=llm(term(one), "q"), right=llm(term(other), "q"), join=llm(term("c"), "left", "right")
        )
        async with virtual_host(scripts) as host:
            told.add((await host.run(ask(term_))).error)
    assert told == {"exhausted: server_error"}


async def test_a_caller_who_leaves_cancels_every_node() -> None:
    scripts = {"a": script("A", 900), "b": script("B", 900), "c": script("C", 1)}
    async with virtual_host(scripts) as host:
        task = asyncio.ensure_future(host.run(ask(FORK)))
        await host.clock.sleep_ms(100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found = in_runs(events(host))
    assert [kind for _, kind, _ in found if kind.startswith("Run")] == ["RunCancelled"] * 3


# The form `audit` --------------------------------------------------------------------------------


def audited(**roles: Any) -> dict[str, Any]:
    return {"checked": {"audit": roles}}


async def test_an_audit_is_by_another_provider_than_the_draft_and_its_policy_is_told() -> None:
    scripts = {name: script(f"{name.upper()}", 1) for name in ("a", "b")}
    async with virtual_host(scripts, audited(draft=term("a", "b"))) as host:
        plan = host.flows["checked"]
        result = await host.run(ask(plan.term))
        found = events(host)
    asked = [event.core["provider_id"] for event in found if event.type == "AttemptProposed"]
    assert asked == ["a", "b", "a"]
    assert result.ok
    # the auditor's policy is the one that was lowered: without the drafter
    nodes = {event.run: event.core.get("node") for event in found if event.type == "RequestReceived"}
    ids = {nodes[event.run]: event.core["policy_id"] for event in found if event.type == "PolicyAdmitted"}
    first = term("a", "b")
    lowered = ["policy", ["and", ["not", ["provider_eq", "a"]], first[1]], *first[2:]]
    assert ids["n2"] == host._identity(lowered)
    assert ids["n1"] == host._identity(first)
    assert ids[None] == plan.identity


async def test_an_audit_follows_who_answered_and_not_who_was_asked_first() -> None:
    scripts = {"a": [{"failure": "server_error"}, {"answer": "A"}], "b": script("B", 1)}
    async with virtual_host(scripts, audited(draft=term("a", "b"))) as host:
        result = await host.run(ask(host.flows["checked"].term))
        asked = [event.core["provider_id"] for event in events(host) if event.type == "AttemptProposed"]
    assert result.ok
    assert asked[:3] == ["a", "b", "a"]


async def test_where_nobody_else_is_there_to_audit_the_flow_fails() -> None:
    async with virtual_host({"a": script("A", 1)}, audited(draft=term("a"))) as host:
        result = await host.run(ask(host.flows["checked"].term))
    assert (result.ok, result.error) == (False, "no_candidates")


async def test_an_audit_takes_profiles_by_name_and_independence_is_a_part_of_the_identity() -> None:
    scripts = {name: script(name, 1) for name in ("a", "b")}
    async with virtual_host(scripts, audited(draft="default", audit=term("b"))) as host:
        result = await host.run(ask(host.flows["checked"].term))
        plain = flow(draft=llm(term("a"), "q"), audit=llm(term("b"), "draft"))
        bound = flow(draft=llm(term("a"), "q"), audit=llm(term("b"), "draft", independent_of="draft"))
        other = virtual_host(scripts, {"plain": plain, "bound": bound})
    assert result.ok
    assert other.flows["plain"].identity != other.flows["bound"].identity


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"audit": {}}, "has a `draft`"),
        ({"audit": {"draft": "defualt"}}, "no profile `defualt`"),
        ({"audit": {"draft": "default", "revize": "default"}}, "may have `audit` and `revise`"),
        (flow(x=llm(term("a"), "q", independent_of="q")), "nobody answers this input"),
        (
            flow(x=llm(term("a"), "q"), y=llm(term("a"), "q", independent_of="x")),
            "is none of the node's inputs",
        ),
        (flow(x=llm(term("a"), "q"), y=llm(term("a"), "x", independent_of=7)), "the id of an input"),
        (
            flow(x=llm(term("a"), "q"), y=llm(["top"], "x", independent_of="x")),
            "only a node with inputs and a policy",
        ),
    ],
)
def test_a_form_that_is_none_is_refused_with_its_place(form: Any, words: str) -> None:
    with pytest.raises(Exception, match=r"host\.gateway\.flows\.checked") as caught:
        virtual_host({"a": script("A", 1)}, {"checked": form})
    assert words in str(caught.value)


# What a killed process leaves --------------------------------------------------------------------

CHAIN_LENGTH = 20


def chain(length: int) -> list[Any]:
    """Nodes one behind the other: each one's question is the answer before it."""
    names = ["q", *(f"step{number:02}" for number in range(1, length + 1))]
    return flow(**{name: llm(term("a"), before) for before, name in itertools.pairwise(names)})


@dataclass
class Rig:
    """A vendor, a config of three providers there with a real ledger, and a process that dies on demand."""

    vendor: Vendor
    directory: Path
    player: subprocess.Popen[str]

    def turn(self, what: str, **more: Any) -> dict[str, Any]:
        """Let a new process run or resume."""
        assert self.player.stdin is not None
        assert self.player.stdout is not None
        file = str(self.directory / "policy.yaml")
        self.player.stdin.write(json.dumps({"what": what, "file": file, **more}) + "\n")
        self.player.stdin.flush()
        told: dict[str, Any] = json.loads(self.player.stdout.readline())
        return told

    def fresh(self) -> None:
        """Begin anew, without a ledger."""
        for path in self.directory.glob("*.db*"):
            path.unlink()
        self.vendor.asked.clear()

    def lines(self) -> list[bytes]:
        with closing(open_file(self.directory / "ledger.db")) as store:
            return list(store.lines())

    def events(self) -> list[Event]:
        return [read(line) for line in self.lines()]

    def asked(self) -> Counter[str]:
        """How often each question was asked: nobody may be asked twice."""
        return Counter(f"{asked.path} {asked.data['messages']}" for asked in self.vendor.asked)

    def check(self, open_runs: int = 0) -> None:
        """Every line is good, each paid call was made once, and the balances are what the outcomes say."""
        with closing(open_file(self.directory / "ledger.db")) as store:
            folds = Folds()
            verdict = verify(store.lines(), store.blob_get, folds)
        assert verdict.fault is None, verdict.fault
        assert verdict.open_runs == open_runs
        assert max(self.asked().values(), default=0) <= 1
        found = self.events()
        outcomes = [event for event in found if event.type == "AttemptOutcome"]
        assert len(self.vendor.asked) <= len(outcomes)
        if not any(event.type == "AccountOpened" for event in found):
            return
        balance = folds.accounts.balance("team", found[-1].ts)
        held = {name: amount for name, amount in balance.held.items() if amount}
        assert held == {}
        for resource in ("calls", "tokens", "usd_micro"):
            assert balance.used.get(resource, 0) == sum(
                each.obs["settled"].get(resource, 0) for each in outcomes
            )


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


@contextmanager
def playing() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.ledger.flow_player"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "CONTENT_KEY": CONTENT_KEY}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as player:
        yield player


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
    assert ends["ok"] >= 12
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


# What is refused, and what is kept nowhere -------------------------------------------------------


async def test_nothing_goes_on_without_a_ledger_or_a_flow() -> None:
    host = virtual_host({"a": script("A", 1)})
    async with host:
        done = await host.run(ask(flow(x=llm(term("a"), "q"))))
        assert done.run_id is not None
        with pytest.raises(UsageError, match="no flow `run-x` is in the ledger"):
            await host.resume("run-x")
        with pytest.raises(UsageError, match=r"has ended \(RunCompleted\)"):
            await host.resume(done.run_id)
    bare = Host.from_data(
        {"providers": {"a": {"api_kind": "scripted"}}, "models": {"m": {"served_by": [{"provider": "a"}]}}}
    )
    async with bare:
        with pytest.raises(UsageError, match="nothing to go on from"):
            await bare.resume("run-x")


def test_a_flow_that_came_with_a_callers_key_is_kept_nowhere() -> None:
    asked = ask(FORK)
    assert flow_bytes(asked, FORK) is not None
    assert flow_bytes(dataclasses.replace(asked, auth_override={"a": Secret("k")}), FORK) is None


def test_what_is_kept_of_a_flow_and_an_answer_is_what_it_was() -> None:
    origin = Origin(tenant="team", content="sealed")
    asked = ask(FORK, seed=3, passthrough={"user": "u"}, deadline_ms=5, origin=origin)
    data = flow_bytes(asked, FORK)
    assert data is not None
    assert read_flow(data, Origin(tenant="team")) == dataclasses.replace(asked, messages=[])
    response = Response(text="t", finish_reason="stop", model="m", usage=Usage(1, 2, 3, 4, 5))
    call = Call("a", "m", "m-1")
    result = read_answer(answer_bytes(response, call, Cost(0.25, "computed")), "run-1")
    assert (result.response, result.cost, result.run_id) == (response, Cost(0.25, "computed"), "run-1")
    assert result.chosen == {"provider_id": "a", "model_family": "m"}
