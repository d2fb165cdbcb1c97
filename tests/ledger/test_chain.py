"""One flipped byte anywhere is named by its line; a line has one form, and a place."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from typing import Any

import pytest

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.chain import Chain
from llm_policy_host.ledger.event import NO_HASH, Draft, blob_digest
from llm_policy_host.ledger.verify import Fault, verify
from llm_policy_host.store.export import ended_lines

from .drafts import BLOB, draft, opening, whole_run

LINE_KEYS = [
    *("by", "cause", "core", "hash", "idem", "obs", "parent", "prev"),
    *("refs", "run", "seq", "tenant", "ts", "type", "v"),
]


def lines_of(*drafts: Draft) -> list[bytes]:
    chain = Chain()
    return [chain.accept(each, 1_000 + count).line for count, each in enumerate(drafts)]


def small() -> list[bytes]:
    return lines_of(*opening(), *whole_run(1, failures=1), draft("RequestReceived", 2))


def relinked(lines: list[bytes], place: int, **changes: Any) -> list[bytes]:
    """Change a line and mend the chain from there on, as a forger with the right tools would."""
    made, prev = lines[:place], json.loads(lines[place])["prev"]
    for count, line in enumerate(lines[place:]):
        data = {**json.loads(line), "prev": prev, **({} if count else changes)}
        data.pop("hash")
        prev = hashlib.sha256(prev.encode() + dumped(data)).hexdigest()
        made.append(dumped({**data, "hash": prev}))
    return made


def dumped(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_line_is_what_the_specification_says() -> None:
    prev = NO_HASH
    for seq, line in enumerate(small(), 1):
        data = json.loads(line)
        assert list(data) == LINE_KEYS
        assert line == dumped(data)
        stated = data.pop("hash")
        assert stated == hashlib.sha256(prev.encode() + dumped(data)).hexdigest()
        assert (data["prev"], data["seq"], data["v"]) == (prev, seq, 1)
        prev = stated


def test_a_reader_is_where_the_writer_was() -> None:
    writer, reader = Chain(), Chain()
    for each in (*opening(), *whole_run(1, failures=1), draft("RequestReceived", 2)):
        event = writer.accept(each, 7)
        assert reader.follow(event.line) == event
    assert (reader.seq, reader.hash) == (writer.seq, writer.hash)
    assert reader.lineage.open.keys() == writer.lineage.open.keys()
    assert reader.lineage.subjects == writer.lineage.subjects


def judged(data: bytes) -> Fault | None:
    """Judge an export's bytes."""
    return verify(ended_lines(BytesIO(data))).fault


def test_every_flipped_byte_is_named_by_its_line() -> None:
    good = b"\n".join(small()) + b"\n"
    assert judged(good) is None
    line = 1
    for place, byte in enumerate(good):
        for flipped in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, 10, 0} - {byte}:
            fault = judged(good[:place] + bytes([flipped]) + good[place + 1 :])
            assert fault is not None, (place, flipped)
            assert fault.line == line, (place, flipped, str(fault))
        line += byte == 10


def test_an_export_that_is_cut_off_is_named_by_its_last_line() -> None:
    good = b"\n".join(small()) + b"\n"
    for length in range(1, len(good)):
        fault = judged(good[:length])
        assert (fault is None) is good[:length].endswith(b"\n")
        assert fault is None or fault.line == good[:length].count(b"\n") + 1


def test_lines_that_are_gone_doubled_or_moved_are_named() -> None:
    lines = small()
    for place in range(len(lines)):
        gone = [*lines[:place], *lines[place + 1 :]]
        fault = verify(gone, head=json.loads(lines[-1])["hash"]).fault
        assert fault is not None
        assert fault.line == place + 1
        doubled = verify([*lines[: place + 1], *lines[place:]]).fault
        assert doubled is not None
        assert (doubled.line, doubled.code) == (place + 2, "chain")


def test_the_end_of_another_ledger_is_no_end_of_this_one() -> None:
    ours = small()
    others = relinked(ours, 0, ts=999)
    for place in range(1, len(ours)):
        fault = verify([*ours[:place], *others[place:]]).fault
        assert fault is not None
        assert (fault.line, fault.path) == (place + 1, "prev")


FORGERIES: list[tuple[int, dict[str, Any], str]] = [
    (0, {"by": "gateway"}, "authority"),
    (0, {"v": 2}, "form"),
    (0, {"v": True}, "form"),
    (0, {"ts": -1}, "form"),
    (0, {"ts": "now"}, "form"),
    (0, {"seq": True}, "form"),
    (0, {"seq": 2}, "chain"),
    (0, {"by": ["host"]}, "form"),
    (0, {"run": {}}, "form"),
    (0, {"type": "Started"}, "schema"),
    (0, {"tenant": ""}, "schema"),
    (0, {"core": {}}, "schema"),
    (0, {"core": None}, "schema"),
    (0, {"note": "free text"}, "form"),
    (5, {"cause": 6}, "lineage"),
    (5, {"cause": True}, "form"),
    (5, {"cause": 1.0}, "form"),
    (5, {"cause": 0}, "lineage"),
    (6, {"cause": None}, "lineage"),
    (6, {"cause": 5}, "lineage"),
    (6, {"tenant": "other"}, "lineage"),
    (6, {"type": "AttemptProposed"}, "schema"),
    (8, {"core": {"attempt": 2, "kind": "timeout"}}, "lineage"),
    (
        6,
        {"by": "driver", "type": "WaitScheduled", "core": {"until_offset_ms": 1}, "obs": {}, "refs": {}},
        "lineage",
    ),
]


@pytest.mark.parametrize(("place", "changes", "code"), FORGERIES)
def test_a_forged_line_with_a_whole_chain_is_named(place: int, changes: dict[str, Any], code: str) -> None:
    assert verify(relinked(small(), place)).fault is None
    fault = verify(relinked(small(), place, **changes)).fault
    assert fault is not None
    assert (fault.line, fault.code) == (place + 1, code)


@pytest.mark.parametrize("form", [b'{"by": "host"', b'{"by":"host","by":"host"', b'{"by":"\\u0068ost"'])
def test_another_form_of_the_same_event_is_refused(form: bytes) -> None:
    line = small()[0]
    data = json.loads(line)
    body = line.replace(b'"hash":"%b",' % data["hash"].encode(), b"").replace(b'{"by":"host"', form)
    digest = hashlib.sha256(NO_HASH.encode() + body).hexdigest()
    changed = body.replace(b',"idem"', b',"hash":"%b","idem"' % digest.encode(), 1)
    assert json.loads(changed) == {**data, "hash": digest}
    fault = verify([changed]).fault
    assert fault is not None
    assert (fault.line, fault.code, fault.detail) == (1, "form", "is not in its canonical form")


def test_blobs_are_held_against_their_names() -> None:
    data = b"a catalog"
    blobs = {blob_digest(data): data}
    named = draft("CatalogPublished", refs={"catalog": blob_digest(data)})
    lines = lines_of(*opening(), named, draft("CatalogPublished", refs={"catalog": BLOB}))
    assert verify(lines).fault is None
    fault = verify(lines, blobs.get).fault
    assert fault is not None
    assert (fault.line, fault.code, fault.path) == (7, "blob", "refs.catalog")
    assert verify(lines[:6], blobs.get).blobs == 1
    changed = verify(lines[:6], lambda _: b"another catalog")
    assert changed.fault is not None
    assert (changed.events, changed.fault.line) == (5, 6)


class Meter:
    """A fold that takes two requests."""

    def __init__(self) -> None:
        self.count = 0

    def check(self, draft: Draft, ts: int) -> None:
        assert ts >= 0
        if draft.type == "RequestReceived" and self.count == 2:
            raise LedgerError("conservation", "accounts", "spent")

    def apply(self, event: Any) -> None:
        self.check(event, event.ts)
        self.count += event.type == "RequestReceived"


def test_a_fold_is_asked_and_told_and_judges_lines_too() -> None:
    chain = Chain(Meter())
    drafts = [draft("RequestReceived", number) for number in range(3)]
    for each in drafts[:2]:
        chain.accept(each, 0)
    with pytest.raises(LedgerError, match="spent"):
        chain.accept(drafts[2], 0)
    assert (chain.seq, len(chain.lineage.open)) == (2, 2)
    fault = verify(lines_of(*drafts), fold=Meter()).fault
    assert fault is not None
    assert (fault.line, fault.code) == (3, "conservation")
