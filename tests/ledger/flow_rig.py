"""A vendor, a config with a real ledger, and a process that runs flows and batches there and dies on demand."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.opening import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.ledger.event import Event
    from tests.web.vendor import Vendor

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


@contextmanager
def playing() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.ledger.flow_player"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "CONTENT_KEY": CONTENT_KEY}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as player:
        yield player
