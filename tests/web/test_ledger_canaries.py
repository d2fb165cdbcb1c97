"""With a ledger, too, prompts, answers and keys are in nothing that is written or shown (spec 5.6)."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.ledger.keys import mint, narrow
from tests.contracts.vendor import whole

from .caller import CHAT, ask, get
from .ledgered import ROOT, Bank, bearer
from .vendor import answer, kept, selling, stream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contracts.vendor import Asked, Reply

    from .caller import Answer

PROMPT, ANSWER, NAMED = "prompt-canary-quokka", "answer-canary-numbat", "order-canary-bilby"


def _sell(asked: Asked) -> Reply:
    """Answer, or fail with all that was sent."""
    if asked.path.startswith("/spare"):
        shown = {"error": {"message": f"no! {asked.body.decode()} {ANSWER}"}}
        return kept(whole(400, json.dumps(shown).encode()))
    return stream([ANSWER, " and more"]) if asked.data.get("stream") else answer(ANSWER)


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_no_byte_of_prompts_answers_or_keys_is_kept_or_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    told: list[Answer] = []
    with selling(_sell) as vendor, caplog.at_level(logging.DEBUG):
        host = {"accounts": {"team": {"calls": 6}}, "ledger": {"file": "ledger.db", "mode": mode}}
        bank = Bank(tmp_path, vendor.origin, {**host, "ledger": {"file": "ledger.db"}})
        key = bank.mint("team")
        small = narrow(key, [("calls", 1)])
        bank.host = host
        with bank.serving() as gateway:

            def chat(key: str, **more: object) -> None:
                headers = {**bearer(key), "idempotency-key": more.pop("named", NAMED)}
                body = {"messages": [{"role": "user", "content": PROMPT}], **more}
                told.append(ask(gateway.url + CHAT, body, headers=headers))  # type: ignore[arg-type]

            chat(key)
            chat(key)
            chat(key, named=f"{NAMED}-2", stream=True)
            chat(key, named=f"{NAMED}-2", stream=True)
            chat(key, named=f"{NAMED}-2")
            chat(key, named=f"{NAMED}-3", model="pin:spare/small")
            for place in range(3):
                chat(small, named=f"{NAMED}-4{place}")
            chat(mint(ROOT[::-1].encode(), "x", ["call"]))
            chat(narrow(key, [("expires_ms", 1)]))
            chat(narrow(key, [("rights", ["embed"])]), named=f"{NAMED}-5")
            shown = [
                get(gateway.url + path, headers=bearer(key)).text
                for path in ("/metrics", "/v1/usage", "/v1/usage?by=key", "/x/health/routes")
            ]
        statuses = [answer.status for answer in told]
    assert statuses == [200, 200, 200, 200, 422, 400, 200, 402, 402, 401, 401, 403]
    assert PROMPT in told[5].text, "the caller's own fault is told him in the vendor's words"
    written, logged = bank.data, caplog.text.encode()
    pages = "".join([*shown, *(json.dumps(dict(answer.headers)) for answer in told)]).encode()
    errors = b"".join(answer.text.encode() for answer in told if answer.status not in (200, 400))
    for canary in (PROMPT, ANSWER, NAMED, key, small, key.rpartition(".")[2], ROOT):
        for where, data in (("ledger", written), ("log", logged), ("pages", pages), ("errors", errors)):
            assert canary.encode() not in data, where
