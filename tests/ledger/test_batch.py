"""`llm-policy batch`: in the order of the lines, under one envelope, and each contract is paid once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.ledger.pasts import past_runs
from tests.contracts.vendor import whole
from tests.ledger.flow_rig import Rig, playing, term
from tests.web.vendor import chat_body, selling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contracts.vendor import Asked, Reply

LINES = ["one", {"prompt": "two"}, "three", "one", {"prompt": "four", "profile": "other"}]


def reply(asked: Asked) -> Reply:
    text = asked.data["messages"][-1]["content"]
    if text == "fail":
        return whole(400, b'{"error": {"message": "no"}}')
    return whole(200, json.dumps(chat_body(f"{asked.path[1]}:{text}")).encode())


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with selling(reply) as vendor, playing() as player:
        providers = {name: {"base_url": f"{vendor.origin}/{name}"} for name in "ab"}
        served = [{"provider": name, "price_in": 1, "price_out": 2} for name in providers]
        config = {
            "providers": providers,
            "models": {"m": {"served_by": served, "capabilities": {"context": 1000}}},
            "profiles": {"default": {"policy_ir": term("a", "b")}, "other": {"policy_ir": term("b")}},
            "host": {
                "ledger": {"file": "ledger.db", "durability": "strict"},
                "accounts": {"team": {"usd": 1, "calls": 1000, "tokens": 1_000_000}},
                "content": {"level": "plain", "key": {"env": "CONTENT_KEY"}},
            },
        }
        (tmp_path / "policy.yaml").write_text(json.dumps(config))
        write(tmp_path, LINES)
        yield Rig(vendor, tmp_path, player)


def write(directory: Path, lines: list[Any]) -> None:
    (directory / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def play(rig: Rig, *options: str, **more: Any) -> Any:
    given = ["batch", "in.jsonl", "-c", "policy.yaml", "--param", "max_tokens=10", "--json", *options]
    paths = {"in.jsonl", "policy.yaml", "out.jsonl", "envelope.json"}
    given = [str(rig.directory / each) if each in paths else each for each in given]
    told = rig.turn("command", arguments=given, **more)
    return told if "killed" in told else {**told, **json.loads(told["out"] or "{}")}


def results(rig: Rig, name: str = "in.jsonl.results.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (rig.directory / name).read_text().split("\n") if line]


def texts(rig: Rig) -> list[Any]:
    return [row["response"] and row["response"]["text"] for row in results(rig)]


ANSWERS = ["a:one", "a:two", "a:three", "a:one", "b:four"]


def test_results_stand_in_the_order_of_the_lines_and_a_second_time_asks_nobody(rig: Rig) -> None:
    told = play(rig, "--account", "team")
    assert (told["code"], told["answered"], told["failed"]) == (0, 5, 0)
    assert texts(rig) == ANSWERS
    assert [row["line"] for row in results(rig)] == [1, 2, 3, 4, 5]
    again = play(rig, "--account", "team")
    assert (again["code"], again["answered"], again["done_before"]) == (0, 0, 5)
    assert len(rig.vendor.asked) == 5
    assert {event.core.get("account") for event in rig.events() if event.type == "RequestReceived"} == {
        "team"
    }
    assert texts(rig) == ANSWERS


def test_new_lines_are_asked_and_old_ones_are_not(rig: Rig) -> None:
    play(rig)
    write(rig.directory, ["five", *reversed(LINES)])
    told = play(rig)
    assert (told["answered"], told["done_before"]) == (1, 5)
    assert texts(rig) == ["a:five", *reversed(ANSWERS)]


def test_a_batch_killed_behind_any_of_its_events_pays_for_no_contract_twice(rig: Rig) -> None:
    """Four contracts at once; what the journal lost is in the ledger, and its answer was kept."""
    play(rig)
    count = len(rig.lines())
    for at in range(6, count, 3):
        rig.fresh()
        for path in rig.directory.glob("in.jsonl.results*"):
            path.unlink()
        assert play(rig, kill=["event", at]) == {"killed": 9}
        told = play(rig)
        rows = results(rig)
        assert told["failed"] == sum(row.get("error") == "in_doubt" for row in rows)
        # the same line stands there twice: it is asked for twice, and no more
        assert max(rig.asked().values()) <= 2
        assert len(rig.vendor.asked) <= 5
        for row, answer in zip(rows, ANSWERS, strict=True):
            assert row["error"] == "in_doubt" if not row["ok"] else row["response"]["text"] == answer


def test_where_the_results_are_lost_the_answers_come_from_what_was_kept(rig: Rig) -> None:
    play(rig)
    (rig.directory / "in.jsonl.results.jsonl").unlink()
    assert play(rig)["answered"] == 5
    assert texts(rig) == ANSWERS
    for path in (*rig.directory.glob("content.db*"), rig.directory / "in.jsonl.results.jsonl"):
        path.unlink()
    told = play(rig)
    assert (told["code"], told["failed"]) == (1, 5)
    assert {row["error"] for row in results(rig)} == {"answer_not_kept"}
    assert len(rig.vendor.asked) == 5


def test_a_contract_that_failed_is_tried_again_and_a_torn_line_counts_for_nothing(rig: Rig) -> None:
    write(rig.directory, ["one", "fail"])
    told = play(rig)
    assert (told["code"], told["answered"], told["failed"]) == (1, 1, 1)
    results_file = rig.directory / "in.jsonl.results.jsonl"
    part = rig.directory / "in.jsonl.results.jsonl.part"
    part.write_text(results_file.read_text() + '{"key": "tor')
    results_file.unlink()
    told = play(rig)
    assert (told["answered"], told["done_before"], told["failed"]) == (0, 1, 1)
    fails = [run for run in past_runs(rig.events()).values() if run.error is not None]
    assert len({run.idem for run in fails}) == 2
    assert not part.exists()


def test_what_ends_a_line_elsewhere_ends_none_of_a_batch(rig: Rig) -> None:
    asked = [f"a{end}b" for end in ("\u2028", "\u2029", "\x85", "\x0c", "\r")]
    (rig.directory / "in.jsonl").write_text(
        "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in asked)
    )
    assert play(rig)["answered"] == len(asked)
    assert texts(rig) == [f"a:{each}" for each in asked]
    results_file = rig.directory / "in.jsonl.results.jsonl"
    part = rig.directory / "in.jsonl.results.jsonl.part"
    part.write_bytes(results_file.read_bytes() + '{"key": "ä'.encode()[:-1])
    results_file.unlink()
    for path in rig.directory.glob("*.db*"):
        path.unlink()
    assert play(rig)["done_before"] == len(asked)
    assert play(rig)["done_before"] == len(asked)
    assert len(rig.vendor.asked) == len(asked)


def test_an_envelope_holds_for_whoever_decides(rig: Rig) -> None:
    own = {"prompt": "own", "policy_ir": term("a", "b")}
    write(rig.directory, [*LINES, own])
    (rig.directory / "envelope.json").write_text(json.dumps(["provider_eq", "b"]))
    told = play(rig, "--envelope", "envelope.json")
    assert told["code"] == 0
    assert {asked.path[1] for asked in rig.vendor.asked} == {"b"}
    (rig.directory / "envelope.json").write_text(json.dumps(["not", ["provider_eq", "b"]]))
    told = play(rig, "--envelope", "envelope.json")
    assert (told["answered"], told["failed"]) == (5, 1)
    assert [row["error"] for row in results(rig) if not row["ok"]] == ["no_candidates"]


@pytest.mark.parametrize(
    ("envelope", "words"),
    [(["zero"], "a Pred is wanted"), (["provider_is", "a"], "the envelope: refused: unknown_op")],
)
def test_an_envelope_that_is_none_is_refused(rig: Rig, envelope: Any, words: str) -> None:
    (rig.directory / "envelope.json").write_text(json.dumps(envelope))
    told = play(rig, "--envelope", "envelope.json")
    assert told["code"] in (2, 4)
    assert words in told["error"]
    assert not rig.vendor.asked


def test_a_file_that_holds_other_things_is_not_overwritten(rig: Rig) -> None:
    (rig.directory / "out.jsonl").write_text('{"mine": 1}\n')
    told = play(rig, "-o", "out.jsonl")
    assert told["code"] == 2
    assert "out.jsonl:1: is no result of a batch" in told["error"]
    assert (rig.directory / "out.jsonl").read_text() == '{"mine": 1}\n'
    assert not rig.vendor.asked
