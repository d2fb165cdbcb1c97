"""Each invariant of spec 5.7 holds of a ledger that runs wrote, and sees the violation that is planted."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.bookkeeping import counted_ids, memory_ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.hindsight.deciding import NOW_MS, Decider
from llm_policy_host.hindsight.invariants import INVARIANTS, Evidence
from llm_policy_host.hindsight.searching import search
from llm_policy_host.ledger.event import NO_HASH, Draft, blob_digest
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.values import Contract, Origin, Secret
from llm_policy_host.wiring import Host

from .corpus import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llm_policy_host.core.engine import LuaEngine
    from llm_policy_host.hindsight.history import Past
    from llm_policy_host.values import Plain, Step

Lines = list[dict[str, Any]]

HEX = "0" * 64
MARK = "a-canary-that-is-a-name"
CONFIG: dict[str, Any] = {
    "providers": {name: {"api_kind": "scripted"} for name in ("acme", "spare", "other")},
    "models": {
        "m": {"served_by": [{"provider": "acme"}, {"provider": "spare"}]},
        "n": {"served_by": [{"provider": "other"}]},
    },
    "profiles": {"default": {"filter": [{"family_in": ["m"]}], "selector": "ordered"}},
    "host": {
        "ledger": {"file": "unused.db"},
        "accounts": {"team": {"calls": 9}},
        "scripts": {"acme": [{"failure": "server_error"}, {"answer": "one"}, {"answer": "two"}]},
    },
}
ALL = [row.name for row in INVARIANTS]


@pytest.fixture(scope="module")
def written() -> tuple[list[bytes], Callable[[str], bytes | None]]:
    """Write a ledger: a key, an account, two runs, one of them with a failure."""
    clock = VirtualClock(1_700_000_000_000)
    ledger = memory_ledger(clock, counted_ids())
    rights = {"key_id": "k1", "rights": ["call"], "root_digest": HEX}
    ledger.log.append(Draft("KeyMinted", "operator", "local", core=rights))
    contract = Contract(
        messages=[{"role": "user", "content": "hi"}],
        seed=7,
        origin=Origin(by="gateway", tenant="team", accounts=("team",), key_id="k1"),
    )

    async def play() -> None:
        host = Host.from_data(CONFIG, clock=clock, ledger=ledger)
        ledger.enter()
        for _ in range(2):
            assert (await host.run(contract)).ok
        await host.close()

    asyncio.run(play())
    return list(ledger.log.store.lines()), ledger.log.store.blob_get


class Forged(MemoryStore):
    """A store with given lines and blobs."""

    def __init__(self, lines: list[bytes], blob_get: Callable[[str], bytes | None]) -> None:
        super().__init__()
        self._given, self._blob_get = lines, blob_get

    def lines(self, after_seq: int = 0) -> Iterator[bytes]:
        yield from self._given[after_seq:]

    def blob_get(self, digest: str) -> bytes | None:
        return self._blob_get(digest)


def forged(lines: list[bytes], edit: Callable[[Lines], None]) -> list[bytes]:
    """Edit the events, then number and chain them again, as a forger with the right tools would."""
    events: Lines = [json.loads(line) for line in lines]
    for event in events:
        event["was"] = event["seq"]
    edit(events)
    numbers = {event.get("was"): number for number, event in enumerate(events, 1)}
    made, prev = [], NO_HASH
    for number, event in enumerate(events, 1):
        data = {name: value for name, value in event.items() if name not in ("hash", "was")}
        data |= {"seq": number, "prev": prev, "cause": numbers.get(data["cause"], data["cause"])}
        body = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
        prev = hashlib.sha256(prev.encode() + body).hexdigest()
        made.append(json.dumps({**data, "hash": prev}, sort_keys=True, separators=(",", ":")).encode())
    return made


def first(events: Lines, kind: str, nth: int = 0) -> dict[str, Any]:
    return [event for event in events if event["type"] == kind][nth]


def violated(evidence: Evidence) -> dict[str, list[str]]:
    found = {row.name: [str(each) for each in row.find(evidence)] for row in INVARIANTS}
    return {name: each for name, each in found.items() if each}


def test_every_invariant_of_the_specification_has_a_row() -> None:
    assert [
        *("terminal", "outcome", "lineage", "authority", "chain", "conservation"),
        *("shortlist", "redecide", "canary", "secret", "order", "snapshot"),
    ] == ALL


def test_a_ledger_that_runs_wrote_violates_none(written: Any) -> None:
    lines, blob_get = written
    mended = forged(lines, lambda _events: None)
    assert mended == lines
    evidence = Evidence(Forged(lines, blob_get), canaries=[MARK], secrets={"key": Secret("sk-of-nobody")})
    assert violated(evidence) == {}
    assert len(list(evidence.pasts())) == 2


def test_the_random_corpus_violates_none() -> None:
    vm = Vm()
    for seed in range(8):
        world = World(seed, vm)
        world.play(5)
        assert violated(Evidence(world.ledger.log.store)) == {}


def _second_terminal(events: Lines) -> None:
    events.append(dict(first(events, "RunCompleted")))


def _attempt_after_the_end(events: Lines) -> None:
    events.append(dict(first(events, "AttemptProposed")))


def _second_outcome(events: Lines) -> None:
    events.insert(events.index(first(events, "AttemptOutcome")) + 1, dict(first(events, "AttemptOutcome")))


def _no_outcome(events: Lines) -> None:
    events.remove(first(events, "AttemptOutcome", 1))


def _outcome_of_nothing(events: Lines) -> None:
    first(events, "AttemptOutcome")["core"]["attempt"] = 5


def _other_cause(events: Lines) -> None:
    first(events, "AttemptProposed")["cause"] -= 1


def _no_admission(events: Lines) -> None:
    events.remove(first(events, "PolicyAdmitted"))


def _key_used_twice(events: Lines) -> None:
    for nth in range(2):
        first(events, "RequestReceived", nth)["idem"] = HEX


def _by_another(events: Lines) -> None:
    first(events, "PolicyAdmitted")["by"] = "operator"


def _free_text(events: Lines) -> None:
    first(events, "RequestReceived")["core"]["note"] = "words"


def _no_blob(events: Lines) -> None:
    first(events, "CatalogPublished")["refs"]["catalog"] = "sha256:" + HEX


def _held_too_much(events: Lines) -> None:
    first(events, "AttemptProposed")["core"]["hold"]["calls"] = 10


def _settled_too_much(events: Lines) -> None:
    first(events, "AttemptOutcome")["obs"]["settled"]["calls"] = 9


def _route_of_another_family(events: Lines) -> None:
    first(events, "AttemptProposed")["core"] |= {"provider_id": "other", "model_family": "n"}


def _key_without_the_right(events: Lines) -> None:
    first(events, "KeyMinted")["core"]["rights"] = ["embed"]


def _key_taken_back(events: Lines) -> None:
    minted = first(events, "KeyMinted")
    event = {**minted, "type": "KeyRevoked", "core": {"key_id": "k1"}, "ts": minted["ts"] - 60_001, "was": -1}
    events.insert(events.index(minted) + 1, event)


def _other_seed(events: Lines) -> None:
    first(events, "PolicyAdmitted")["core"]["seed"] = 8


def _other_failure(events: Lines) -> None:
    first(events, "AttemptOutcome")["core"]["kind"] = "bad_request"


def _other_digest(events: Lines) -> None:
    first(events, "RunCompleted")["core"]["trace_digest"] = HEX


def _no_digests(events: Lines) -> None:
    for name in ("decision_digest", "trace_digest"):
        del first(events, "RunCompleted")["core"][name]


def _text_as_a_name(events: Lines) -> None:
    first(events, "RequestReceived")["core"]["api"] = MARK


def _snapshot_of_another_chain(events: Lines) -> None:
    core = {"at_seq": 2, "at_hash": HEX}
    events.append(
        {
            **events[0],
            "type": "SnapshotTaken",
            "by": "host",
            "core": core,
            "refs": {},
            "cause": None,
            "was": -1,
        }
    )


PLANTED: list[tuple[Callable[[Lines], None], set[str]]] = [
    (_second_terminal, {"terminal", "lineage"}),
    (_attempt_after_the_end, {"terminal", "lineage"}),
    (_second_outcome, {"outcome", "lineage"}),
    (_no_outcome, {"outcome", "lineage"}),
    (_outcome_of_nothing, {"outcome", "lineage"}),
    (_other_cause, {"lineage"}),
    (_no_admission, {"lineage"}),
    (_key_used_twice, {"lineage"}),
    (_by_another, {"authority"}),
    (_free_text, {"chain"}),
    (_no_blob, {"chain"}),
    (_held_too_much, {"conservation"}),
    (_settled_too_much, {"conservation"}),
    (_route_of_another_family, {"shortlist", "redecide", "order"}),
    (_key_without_the_right, {"shortlist"}),
    (_key_taken_back, {"shortlist"}),
    (_other_seed, {"redecide", "order"}),
    (_other_failure, {"redecide", "order"}),
    (_other_digest, {"redecide", "order"}),
    (_no_digests, {"redecide", "order"}),
    (_text_as_a_name, {"canary"}),
    (_snapshot_of_another_chain, {"snapshot"}),
]


@pytest.mark.parametrize(("edit", "rows"), PLANTED)
def test_a_planted_violation_is_seen_though_the_chain_is_mended(
    written: Any, edit: Callable[[Lines], None], rows: set[str]
) -> None:
    lines, blob_get = written
    evidence = Evidence(Forged(forged(lines, edit), blob_get), canaries=[MARK])
    assert violated(evidence).keys() == rows


def test_a_run_that_was_ended_when_nobody_drove_it_claims_no_digests(written: Any) -> None:
    lines, blob_get = written

    def interrupt(events: Lines) -> None:
        _no_digests(events)
        outcome, end = first(events, "AttemptOutcome", 1), first(events, "RunCompleted")
        outcome["core"]["kind"] = "in_doubt"
        end["type"], end["core"] = "RunFailed", {**end["core"], "error": "in_doubt"}

    evidence = Evidence(Forged(forged(lines, interrupt), blob_get))
    assert violated(evidence) == {}

    def elsewhere(events: Lines) -> None:
        interrupt(events)
        first(events, "AttemptProposed", 1)["core"]["provider_id"] = "acme"

    assert violated(Evidence(Forged(forged(lines, elsewhere), blob_get))).keys() == {"redecide", "order"}


def test_each_flipped_byte_is_seen_by_its_line(written: Any) -> None:
    lines, blob_get = written
    for number in range(len(lines)):
        changed = bytearray(lines[number])
        changed[len(changed) // 2] ^= 1
        store = Forged([*lines[:number], bytes(changed), *lines[number + 1 :]], blob_get)
        found = violated(Evidence(store))
        assert [text.split(":")[0] for text in found["chain"]] == [f"line {number + 1}"]


def test_a_changed_blob_is_seen(written: Any) -> None:
    lines, blob_get = written
    found = violated(Evidence(Forged(lines, lambda digest: (blob_get(digest) or b"") + b" ")))
    assert "chain" in found


SECRET = "sk-a-secret-of-the-config/+%"


@pytest.mark.parametrize(
    "form",
    [
        lambda text: text.encode(),
        lambda text: json.dumps({"a": text}).encode(),
        lambda text: text.encode().hex().encode(),
        lambda text: base64.b64encode(b"Basic x" + text.encode() + b"yz"),
        lambda text: base64.b64encode(b"user:" + text.encode()),
        lambda text: base64.b64encode(text.encode()),
        lambda text: text.encode("utf-16-le"),
        lambda text: b"x" * ((1 << 20) - 9) + text.encode(),
    ],
)
@pytest.mark.parametrize("place", ["blob", "control", "beside"])
def test_a_secret_is_seen_in_every_form_and_place(
    written: Any, form: Callable[[str], bytes], place: str, tmp_path: Path
) -> None:
    lines, blob_get = written
    data, file = form(SECRET), tmp_path / "file"
    file.write_bytes(data if place != "blob" else b"")
    blobs = {blob_digest(data): data}
    planted = forged(
        lines, lambda events: first(events, "CatalogPublished")["refs"].update(catalog=blob_digest(data))
    )
    store = Forged(
        planted if place == "blob" else lines, lambda digest: blobs.get(digest) or blob_get(digest)
    )
    files = {place: [file]}
    evidence = Evidence(
        store, files.get("control", ()), files.get("beside", ()), (), {"providers.acme.auth": Secret(SECRET)}
    )
    found = violated(evidence)
    assert found.keys() == {"secret"}
    assert SECRET not in str(found)
    assert "providers.acme.auth" in found["secret"][0]


def test_what_is_beside_the_control_plane_may_hold_content_but_no_secret(
    written: Any, tmp_path: Path
) -> None:
    lines, blob_get = written
    (tmp_path / "content.db").write_text(MARK)
    store = Forged(lines, blob_get)
    assert violated(Evidence(store, others=[tmp_path / "content.db"], canaries=[MARK])) == {}
    assert violated(Evidence(store, control=[tmp_path / "content.db"], canaries=[MARK])).keys() == {"canary"}


def test_a_text_is_found_wherever_pieces_are_cut() -> None:
    data = b"..." + SECRET.encode() + b"..."
    for at in range(len(data)):
        assert search({"it": SECRET}, [data[:at], data[at:]]) == ["it"]
    assert search({"it": SECRET}, [data[:10], data[11:]]) == []


class Timely(Decider):
    """Decides by the clock."""

    def begin(self, past: Past, policy: Plain = None) -> tuple[LuaEngine, Step]:
        if self._now() != NOW_MS:
            op, _, *rest = self.shelf.plain(past.refs["policy"])
            policy = [op, ["provider_eq", "spare"], *rest]
        return super().begin(past, policy)


def test_a_decision_that_follows_the_clock_is_seen(written: Any) -> None:
    lines, blob_get = written
    store = Forged(lines, blob_get)
    evidence = Evidence(store, decide=lambda moments: Timely(store.blob_get, moments=moments))
    assert violated(evidence).keys() == {"order"}


class Lossy:
    """An engine that forgets, or takes whatever it is given."""

    def __init__(self, engine: LuaEngine, fault: str) -> None:
        self._engine, self._fault = engine, fault
        self._lost = False

    def restore_state(self, state: Any) -> None:
        if state["v"] != 1 and self._fault == "takes":
            return
        if state["v"] != 1 and self._fault == "half":
            self._lost = True
            raise UsageError("another version")
        self._engine.restore_state(state)
        self._lost = self._fault == "forgets"

    def dump_state(self) -> Any:
        state: Any = self._engine.dump_state()
        return {**state, "prices": {"lost": 1}} if self._lost else state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.parametrize("fault", ["forgets", "takes", "half"])
def test_a_state_that_is_not_restored_as_it_was_is_seen(written: Any, fault: str) -> None:
    lines, blob_get = written
    store = Forged(lines, blob_get)

    class Forgetful(Decider):
        def begin(self, past: Past, policy: Plain = None) -> tuple[Any, Step]:
            engine, step = super().begin(past, policy)
            return Lossy(engine, fault), step

    evidence = Evidence(store, decide=lambda moments: Forgetful(store.blob_get, moments=moments))
    assert violated(evidence).keys() == {"snapshot"}
