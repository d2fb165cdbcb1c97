"""A gateway over a config that changes: keys, metrics and what may not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llm_policy_host import Contract, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.serving import Reloads, check_address, create_app
from llm_policy_host.web.errors import RefusedError

if TYPE_CHECKING:
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
