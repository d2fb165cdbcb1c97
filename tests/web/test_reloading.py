"""A gateway over a config that changes: keys, metrics and what may not change."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import Contract, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.serving import Reloads, check_address, create_app
from llm_policy_host.web.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    from llm_policy_host.web.app import App

KEYED = """\
providers: {a: {api_kind: scripted}}
models: {m: {served_by: [{provider: a, price_in: 1, price_out: 1}]}}
profiles: {any: {}}
host: {keys: {team: {sha256: "%s"}}}
"""
ONE = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # foo
TWO = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"  # bar


def made(path: Path) -> App:
    path.write_text(KEYED % ONE)
    host = Host.from_config(path, clock=VirtualClock(), environment={})
    return create_app(host, Reloads(path, lambda host: check_address("0.0.0.0", host)))  # noqa: S104 - asked about


async def test_keys_of_the_new_config_hold_and_old_ones_do_not(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    parts = made(path).gateway.parts
    assert parts.keys({b"authorization": b"Bearer foo"}) is not None
    path.write_text(KEYED % TWO)
    assert await parts.current.reloader.reload()  # type: ignore[attr-defined]
    assert parts.keys({b"authorization": b"Bearer bar"}) is not None
    with pytest.raises(RefusedError):
        parts.keys({b"authorization": b"Bearer foo"})


async def test_a_gateway_that_listens_to_a_network_takes_no_config_without_keys(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    parts = made(path).gateway.parts
    before = parts.current()
    path.write_text((KEYED % ONE).rpartition("host:")[0])
    assert not await parts.current.reloader.reload()  # type: ignore[attr-defined]
    assert parts.current() is before


async def test_attempts_of_a_new_host_are_counted_too_and_the_config_shows(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    parts = made(path).gateway.parts
    path.write_text(KEYED % TWO)
    assert await parts.current.reloader.reload()  # type: ignore[attr-defined]
    await parts.current().run(Contract(prompt="x", profile="any"))
    text = parts.metrics.text().decode()
    assert "llm_policy_config_generation 2.0" in text
    assert "llm_policy_config_refused 0.0" in text
    counted = [
        line
        for line in text.splitlines()
        if line.startswith("gen_ai_client_operation_duration_seconds_count{")
    ]
    assert [line.rpartition(" ")[2] for line in counted] == ["1.0"]
    assert 'gen_ai_provider_name="a"' in counted[0]
    await parts.current().close()  # type: ignore[attr-defined]


KEPT: dict[str, Any] = {
    "providers": {"a": {"api_kind": "scripted"}},
    "models": {"m": {"served_by": [{"provider": "a", "price_in": 1, "price_out": 1}]}},
    "profiles": {"any": {}},
    "host": {"ledger": {"file": "ledger.db", "account": "team"}, "accounts": {"team": {"calls": 90}}},
}


async def chat(app: App) -> int:
    """Ask over ASGI; give the status."""
    body = json.dumps(
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "model": "profile:any"}
    )
    messages = [{"type": "http.request", "body": body.encode(), "more_body": False}]
    told: list[int] = []

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else await asyncio.Future()

    async def send(message: MutableMapping[str, Any]) -> None:
        if "status" in message:
            told.append(message["status"])

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await app(scope, receive, send)
    return told[0]


async def test_a_request_that_waits_in_line_keeps_the_host_that_it_has_open(tmp_path: Path) -> None:
    path, clock = tmp_path / "policy.yaml", VirtualClock()
    path.write_text(json.dumps(KEPT))
    host = Host.from_config(path, clock=clock, environment={})
    app = create_app(host, Reloads(path, lambda _: None))
    parts, gate = app.gateway.parts, app.gateway.gate
    await host.prepare()
    ledger = host.bookkeeping.ledger
    assert ledger is not None
    gate.in_flight = parts.limits.max_in_flight
    asking = asyncio.ensure_future(chat(app))
    await clock.sleep_ms(1)
    assert gate.waiting == 1
    path.write_text(json.dumps({**KEPT, "host": {**KEPT["host"], "accounts": {"team": {"calls": 5}}}}))
    with clock.hold():
        assert await parts.current.reloader.reload()  # type: ignore[attr-defined]
    await clock.sleep_ms(2_000)
    gate.leave()
    assert await asking == 200
    await clock.sleep_ms(2_000)
    assert ledger.folds.accounts.balance("team", 0).limits == {"calls": 5}
    assert ledger._users == 1
    await parts.current().close()  # type: ignore[attr-defined]
